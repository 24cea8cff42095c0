"""sandbox.files, on a memory sandbox that can be broken, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

import hopx_async as hopx
from hopx_async import files as module
from hopx_async.testing import MemoryAgent, VirtualTimeLoop, memory
from tests.support.virtual import opened

Call = Callable[[hopx.Files], Coroutine[Any, Any, object]]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def agent() -> MemoryAgent:
    """Return an agent without commands."""
    return MemoryAgent({})


def calls(tmp_path: Path) -> dict[str, Call]:
    """Return every call, by name."""
    (tmp_path / "here").write_bytes(b"here")
    return {
        "read": lambda files: files.read("f"),
        "read_text": lambda files: files.read_text("f"),
        "write": lambda files: files.write("new", b"x"),
        "write_mode": lambda files: files.write("new", b"x", mode=0o600),
        "list": lambda files: files.list(),
        "exists": lambda files: files.exists("f"),
        "mkdir": lambda files: files.mkdir("d"),
        "upload": lambda files: files.upload(tmp_path / "here", "new"),
        "download": lambda files: files.download("f", tmp_path / "there"),
        "remove": lambda files: files.remove("f"),
    }


async def test_calls_outlast_what_passes(tmp_path: Path) -> None:
    """While the far side is away, calls wait; what is answered late is answered."""
    far = agent()
    async with opened(far) as sandbox:
        for name, call in calls(tmp_path).items():
            far.files.put("/workspace/f", b"data")
            far.refuse()
            async with anyio.create_task_group() as group:
                group.start_soon(call, sandbox.files, name=name)
                await anyio.sleep(20)
                far.heal()


async def test_lost_answers_are_asked_for_again(tmp_path: Path) -> None:
    """What is the same when repeated is repeated; a removal says that it may be done."""
    far = agent()
    async with opened(far) as sandbox:
        for name, call in calls(tmp_path).items():
            far.files.put("/workspace/f", b"data")
            far.lose_answers(1)
            if name == "remove":
                with pytest.raises(hopx.ConnectionLost):
                    await call(sandbox.files)
                assert not far.files.exists("/workspace/f")
            else:
                await call(sandbox.files)
        far.lose_answers(1)
        with pytest.raises(hopx.ConnectionLost):
            await sandbox.files.write("once", b"x", overwrite=False)

    assert (tmp_path / "there").read_bytes() == b"data"
    assert far.files.get("/workspace/new") == b"here"


async def test_calls_can_be_cancelled(tmp_path: Path) -> None:
    """A call that is cancelled while nobody answers leaves everything usable."""
    far = agent()
    async with opened(far) as sandbox:
        far.files.put("/workspace/f", b"data")
        for call in calls(tmp_path).values():
            far.stall()
            with anyio.move_on_after(1) as scope:
                await call(sandbox.files)
            assert scope.cancelled_caught
            far.heal()
            assert await sandbox.files.read("f") == b"data"

    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]


async def test_in_the_end_it_is_given_up(tmp_path: Path) -> None:
    """Nobody there for so long is AgentUnreachable, and the next call tries anew."""
    far = agent()
    async with opened(far, give_up_after=60.0) as sandbox:
        far.files.put("/workspace/f", b"data")
        far.refuse()
        for call in calls(tmp_path).values():
            with pytest.raises(hopx.AgentUnreachable):
                await call(sandbox.files)
        far.heal()
        assert await sandbox.files.read("f") == b"data"


async def test_a_closed_sandbox_has_no_files(tmp_path: Path) -> None:
    """Every call says that it is closed, those that wait at that moment, too."""
    far = agent()
    async with opened(far) as sandbox:
        far.stall()
        failures: list[Exception] = []

        async def fail() -> None:
            try:
                await sandbox.files.read("f")
            except hopx.ClosedError as error:
                failures.append(error)

        far.refuse()
        far.heal()
        far.refuse()
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            await anyio.sleep(1)
            await sandbox.aclose()
        assert len(failures) == 1
        for call in calls(tmp_path).values():
            with pytest.raises(hopx.ClosedError):
                await call(sandbox.files)
        with pytest.raises(hopx.ClosedError):
            sandbox.files.watch("f")


async def test_a_far_side_without_files_says_so(tmp_path: Path) -> None:
    """What it cannot do is refused before anything is sent."""
    far = agent()
    async with opened(far) as sandbox:
        bare = attrs.evolve(sandbox.capabilities, files=False, watch=False)
        files = hopx.Files(sandbox.files._client, bare)
        far.stall()
        for call in calls(tmp_path).values():
            with pytest.raises(hopx.Unsupported, match="memory has no files"):
                await call(files)
        with pytest.raises(hopx.Unsupported, match="memory cannot watch files"):
            files.watch("f")


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (lambda files: files.read(""), "path"),
        (lambda files: files.read("f", max_bytes=-1), "max_bytes"),
        (lambda files: files.read_text("f", "klingon"), "encoding"),
        (lambda files: files.write("a\0", b""), "path"),
        (lambda files: files.write("a", 7), "data"),
        (lambda files: files.write("a", b"", mode=0o7777), "mode"),
        (lambda files: files.write("a", b"", overwrite=None), "overwrite"),
        (lambda files: files.write("a", bytes(16 * 1024 * 1024 + 1), mode=0o600), "data"),
        (lambda files: files.list(7), "path"),
        (lambda files: files.exists(None), "path"),
        (lambda files: files.mkdir(b"d"), "path"),
        (lambda files: files.remove(""), "path"),
        (lambda files: files.upload(7, "a"), "local_path"),
        (lambda files: files.upload("a", ""), "path"),
        (lambda files: files.download("a", ""), "local_path"),
        (lambda files: files.download("a", "/"), "local_path"),
        (lambda files: files.download("", "a"), "path"),
    ],
)
async def test_bad_arguments_are_refused_unsent(call: Call, parameter: str) -> None:
    """What breaks a rule is named before anything is sent."""
    far = agent()
    async with opened(far) as sandbox:
        far.stall()  # whatever is sent waits for ever
        with pytest.raises(hopx.InvalidArgument) as caught:
            await call(sandbox.files)

        assert caught.value.parameter == parameter


async def test_directories_above_are_made_when_a_fault_may_be_their_lack() -> None:
    """HopX's agent may say 500 to a file in no directory; a fault that stays is raised."""
    far = agent()
    async with opened(far) as sandbox:
        store = sandbox.files._client.files()
        answers: list[hopx.HopxError] = [hopx.AgentFault("open: no such file or directory")]
        upload = store.upload

        async def faulty(path: str, pieces: Any, size: int) -> None:
            if answers:
                raise answers.pop()
            await upload(path, pieces, size)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "upload", faulty)
            await sandbox.files.write("d/e/f", b"x")
            assert far.files.get("/workspace/d/e/f") == b"x"
            answers = [hopx.AgentFault("a bug")]
            with pytest.raises(hopx.AgentFault, match="a bug"):
                await sandbox.files.write("d/e/f", b"y")
            answers = [hopx.AgentFault("no room", status=507)]
            with pytest.raises(hopx.AgentFault, match="no room"):
                await sandbox.files.write("new/f", b"y")
    assert not far.files.exists("/workspace/new")


async def test_a_listing_that_never_ends_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A far side that names page after page is not followed for ever."""
    monkeypatch.setattr(module, "_MAX_PAGES", 3)
    far = agent()
    async with opened(far) as sandbox:
        for number in range(301):
            far.files.put(f"/workspace/{number:03}", b"")
        with pytest.raises(hopx.RemoteProtocolError, match="does not end"):
            await sandbox.files.list()


async def test_files_of_the_test_kit_are_there_for_scripts() -> None:
    """A script finds what was written, and what it makes can be read."""
    far: MemoryAgent

    async def sort(_: Any) -> int:
        lines = far.files.get("/workspace/in").splitlines(keepends=True)
        far.files.put("/workspace/out", b"".join(sorted(lines)))
        return 0

    far = MemoryAgent({"sort in > out": sort})
    async with memory(agent=far) as sandbox:
        await sandbox.files.write("in", "b\na\n")
        await sandbox.commands.run("sort in > out", check=True)
        assert await sandbox.files.read_text("out") == "a\nb\n"
