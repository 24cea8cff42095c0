"""The embedded agent: what it is given, what it refuses, and what is left of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import BusyError, InvalidArgument, Unsupported


async def environment_of(sandbox: hopx.Sandbox, **options: Any) -> dict[str, str]:
    """Return the environment that a command sees."""
    result = await sandbox.commands.run(["env", "-0"], check=True, **options)
    pairs = (item.partition("=") for item in result.stdout.split("\0") if item)
    return {name: value for name, _, value in pairs}


async def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands see a few variables, none of the client's secrets, and what start adds."""
    monkeypatch.setenv("HOPX_API_KEY", "hunter2")
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    async with hopx.local(inherit_env=("CUDA_*", "HOPX_API_KEY")) as sandbox:
        seen = await environment_of(sandbox, env={"A": "b", "LANG": None}, process_id="mine")
        agent = (await sandbox.statistics())["agent"]["pid"]
        there = await anyio.Path(f"/proc/{agent}/environ").read_bytes()
    assert "hunter2" not in seen.values()
    assert b"hunter2" not in there
    assert set(seen) - {"PWD", "SHLVL", "_", "TZ"} == {
        *("A", "CUDA_VISIBLE_DEVICES", "HOME", "HOPX_PROCESS_ID", "HOPX_SCOPE"),
        *("PATH", "TERM", "TMPDIR", "USER"),
    } - ({"USER"} - set(seen))
    assert (seen["A"], seen["HOPX_PROCESS_ID"]) == ("b", "mine")
    assert seen["HOPX_SCOPE"].endswith(f"{sandbox.sandbox_id}/mine")


async def test_scopes_are_appended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox inside a command of another keeps the outer scope in front."""
    monkeypatch.setenv("HOPX_SCOPE", "outer/one")
    async with hopx.local() as sandbox:
        seen = await environment_of(sandbox, process_id="two")
    assert seen["HOPX_SCOPE"] == f"outer/one:{sandbox.sandbox_id}/two"


async def test_commands_run_in_a_workspace_that_goes() -> None:
    """Without a workspace, a fresh directory is made, is HOME, and is removed at the end."""
    async with hopx.local() as sandbox:
        result = await sandbox.commands.run("pwd; echo $HOME; mkdir sub; touch sub/file")
        where, home = result.stdout.split()
        inside = await sandbox.commands.run("ls", working_dir="sub")
    assert where == home
    assert inside.stdout == "file\n"
    assert not Path(where).exists()


async def test_a_given_workspace_stays(tmp_path: Path) -> None:
    """A workspace of the user's is used as it is, and kept."""
    async with hopx.local(workspace=tmp_path) as sandbox:
        await sandbox.commands.run("touch made", check=True)
    assert (tmp_path / "made").exists()


async def test_a_kept_state_directory_keeps_the_past(tmp_path: Path) -> None:
    """Opened again on the same state directory, the sandbox lists its commands with outputs."""
    state = tmp_path / "state"
    async with hopx.local(state_dir=state) as sandbox:
        handle = await sandbox.commands.start("echo kept; exit 4", name="past")
        fate = await handle.wait()
        ref = handle.ref
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "token").stat().st_mode & 0o777 == 0o600
    async with hopx.local(state_dir=state) as again:
        found = await again.commands.get(ref)
        assert await found.wait() == fate
        assert (await found.result()).stdout == "kept\n"
        assert [info.name for info in await again.commands.list()] == ["past"]


async def test_secrets_stand_nowhere(tmp_path: Path) -> None:
    """A value of env is in no log, listing, repr or argument of a process; nor is the token."""
    state = tmp_path / "state"
    async with hopx.local(state_dir=state) as sandbox:
        handle = await sandbox.commands.start("read x; exit 1", env={"KEY": "hunter2"})
        running = await sandbox.commands.start(["sleep", "300"], env={"KEY": "hunter2"})
        await handle.wait()
        token = (state / "token").read_text().strip()
        shown = f"{handle!r} {await handle.info()!r} {await sandbox.statistics()} {sandbox!r}"
        arguments = b" ".join(
            (entry / "cmdline").read_bytes()
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and (entry / "cmdline").exists()
        )
        files = b"".join(
            path.read_bytes()
            for path in state.rglob("*")
            if path.is_file() and path.name not in {"token", "secret", "reserve"}
        )
        await running.kill(grace=0)
    assert b"KEY" in files
    for secret in ("hunter2", token):
        assert secret not in shown
        assert secret.encode() not in arguments
        assert secret.encode() not in files


async def test_a_state_directory_has_one_holder(tmp_path: Path) -> None:
    """A second sandbox on the same state directory is refused, with the holder's pid."""
    async with hopx.local(state_dir=tmp_path / "state"):
        with pytest.raises(BusyError, match=r"state is held by .*process \d+"):
            await hopx.local(state_dir=tmp_path / "state")


async def test_a_state_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """A state directory that is writable by others is refused by name, before anything starts."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(InvalidArgument) as caught:
        await hopx.local(state_dir=state)
    assert caught.value.parameter == "state_dir"
    assert str(state) in str(caught.value)
    assert list(state.iterdir()) == []


async def test_detached_is_true_or_false(tmp_path: Path) -> None:
    """ "no" is not taken for yes."""
    with pytest.raises(InvalidArgument, match="detached='no'"):
        hopx.local(state_dir=tmp_path / "state", detached="no")  # type: ignore[arg-type]


async def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A state directory that is none is refused by name."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="state_dir"):
        await hopx.local(state_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("parameter", "arguments"),
    [
        ("workspace", {"workspace": "/nonexistent"}),
        ("detached", {"detached": True}),
        ("grace", {"grace": -1}),
        ("retention_bytes", {"retention_bytes": 10}),
        ("inherit_env", {"inherit_env": "CUDA_*"}),
        ("give_up_after", {"give_up_after": 0}),
    ],
)
def test_bad_arguments_are_refused_at_the_call(parameter: str, arguments: dict[str, Any]) -> None:
    """local names what breaks a rule before anything is started."""
    with pytest.raises(InvalidArgument) as caught:
        hopx.local(**arguments)
    assert caught.value.parameter == parameter


def test_other_platforms_are_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """local elsewhere than on Linux names remote()."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unsupported, match="remote"):
        hopx.local()


@pytest.mark.parametrize("moment", [0, 1, 2, 5, 10, 20, 40])
async def test_opening_can_be_cancelled_at_any_moment(moment: int) -> None:
    """A door that is cancelled while it opens leaves no process and no file."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_after, scope, moment)
            sandbox = await hopx.local()
            await sandbox.aclose()


async def _cancel_after(scope: anyio.CancelScope, turns: int) -> None:
    for _ in range(turns):
        await anyio.sleep(0.005)
    scope.cancel()


async def test_an_exec_failure_is_told(tmp_path: Path) -> None:
    """Programs and directories that are not there or cannot be run are told by errno and name."""
    plain = tmp_path / "plain"
    plain.write_text("echo hi\n")
    async with hopx.local() as sandbox:
        for command, options, number in (
            (["/nonexistent"], {}, 2),
            (["nonexistent-program"], {}, 2),
            ([str(plain)], {}, 13),
            ("true", {"working_dir": "/nonexistent"}, 2),
            ("true", {"working_dir": str(plain)}, 20),
        ):
            with pytest.raises(hopx.SpawnError) as caught:
                await sandbox.commands.start(command, **options)  # type: ignore[arg-type]
            assert caught.value.errno == number
            assert os.strerror(number) in str(caught.value)
        plain.chmod(0o755)
        assert (await sandbox.commands.run([str(plain)])).stdout == "hi\n"


NOTEBOOK = """
import pytest, pytest_asyncio
import hopx_async as hopx

@pytest_asyncio.fixture
async def sandbox():
    async with hopx.local() as sandbox:
        yield sandbox

@pytest.mark.asyncio
async def test_a_fixture_holds_a_sandbox(sandbox):
    assert (await sandbox.commands.run("echo hi")).stdout == "hi\\n"

@pytest.mark.asyncio
async def test_an_error_arrives_bare():
    with pytest.raises(ZeroDivisionError):
        async with hopx.local() as sandbox:
            await sandbox.commands.start("sleep 100")
            1 / 0
"""


def test_a_pytest_asyncio_fixture_holds_a_sandbox(pytester: pytest.Pytester) -> None:
    """A fixture of pytest-asyncio opens in one task and closes in another."""
    pytester.makepyfile(NOTEBOOK)
    result = pytester.runpytest_subprocess("-p", "asyncio", "-p", "no:anyio")
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "arguments",
    [
        *({"state_dir": value} for value in ("", 5, b"state", "a\0b")),
        *({"workspace": value} for value in ("", 5, "a\0b", "/nowhere")),
        *({"inherit_env": value} for value in ("PATH", [5], 5)),
    ],
    ids=str,
)
def test_paths_that_are_none_are_refused(arguments: dict[str, Any]) -> None:
    """A path is a text without NUL that is not empty, a name is a text; the error names it."""
    with pytest.raises(InvalidArgument, match=next(iter(arguments))):
        hopx.local(**arguments)
