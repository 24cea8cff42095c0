"""The calls of a sandbox with markers: what is told of commands, and what only our agent can do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

import hopx_async as hopx
from hopx_async.errors import CommandNotFound, InvalidArgument, RemoteProtocolError, Unsupported
from hopx_async.protocol import records
from hopx_async.transport import marker_calls
from hopx_async.transport.marker_host import program
from hopx_async.transport.shell import ShellAnswer
from tests.support.shells import LocalShell, marked_sandbox


async def test_another_spec_is_a_conflict(tmp_path: Path) -> None:
    """The same again is the same command; another one is refused, and nothing of it runs."""
    async with marked_sandbox(tmp_path) as marked:
        start = marked.sandbox.commands.start
        first = await start("echo x >> ran", process_id="one", env={"A": "1"})
        again = await start("echo x >> ran", process_id="one", env={"A": "1"})
        assert again.pid == first.pid
        with pytest.raises(hopx.ConflictError, match="one"):
            await start("echo x >> ran", process_id="one", env={"A": "2"})
        await first.wait()
        assert (tmp_path / "ran").read_text() == "x\n"


async def test_lists_are_paged_and_filtered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All commands are listed, over several pages; name, tags and status choose."""
    monkeypatch.setattr("hopx_async.transport.marker_calls._PAGE", 2)
    async with marked_sandbox(tmp_path) as marked:
        commands = marked.sandbox.commands
        for number in range(5):
            await commands.run(
                f"exit {number % 2}", process_id=f"c{number}", name=f"n{number}", tags={"t": "x"}
            )
        assert [info.process_id for info in await commands.list()] == [f"c{n}" for n in range(5)]
        assert [info.process_id for info in await commands.list(name="n3")] == ["c3"]
        assert [info.process_id for info in await commands.list(status="failed")] == ["c1", "c3"]
        assert await commands.list(tags={"t": "y"}) == []
        info = (await commands.list(name="n3"))[0]
        assert (info.exit and info.exit.exit_code, dict(info.tags)) == (1, {"t": "x"})


async def test_signals_arrive_once(tmp_path: Path) -> None:
    """A signal has an id: asked for twice it is delivered once."""
    async with marked_sandbox(tmp_path) as marked:
        handle = await marked.sandbox.commands.start(
            "trap 'echo got' USR1; exec 9<> <(:); echo ready; while :; do read -t 1 -u 9; done"
        )
        lines = handle.lines()
        await anext(lines)
        params = {"process_id": handle.process_id, "signal_id": "s1", "name": "SIGUSR1"}
        for _ in range(2):
            answer = await marked.client.call("signal", **params, cause=None)
            assert answer == {"delivered": True}
        await anext(lines)
        assert await handle.terminate()
        assert [line.text async for line in lines] == []
        assert (await handle.wait()).reason == "killed"
        assert not await handle.send_signal("SIGUSR1")


async def test_unknown_commands_and_calls_are_told(tmp_path: Path) -> None:
    """An id that is none is refused before it is asked for."""
    async with marked_sandbox(tmp_path) as marked:
        for method in ("info", "kill"):
            with pytest.raises(CommandNotFound):
                await marked.client.call(method, process_id="nobody")
        with pytest.raises(CommandNotFound):
            await marked.client.call("signal", process_id="x", signal_id="1", name="SIGTERM")
        with pytest.raises(InvalidArgument, match="process_id"):
            await marked.client.call("info", process_id="../../etc")
        with pytest.raises(Unsupported, match=r"sandbox\.env: this sandbox runs HopX's own agent"):
            await marked.sandbox.env.get_all()
        statistics = await marked.sandbox.statistics()
        assert statistics["agent"]["requests"] == len(marked.shell.requests)
        assert marked.sandbox.capabilities.agent == "stock"


async def test_nothing_of_strangers_is_run(tmp_path: Path) -> None:
    """A directory, or a program in it, that others can write is refused, and a link as well."""
    async with marked_sandbox(tmp_path) as marked:
        await marked.sandbox.commands.run("true")
        [program] = marked.root.glob("*.pl")
        program.write_text("print qq(theirs\\n); exit 0;")
        program.chmod(0o666)
        host = marked.transport._host
        host._patience = 0.0
        with pytest.raises(RemoteProtocolError, match=r"\.pl is not ours"):
            await host.ask("list", ("-", "1"))
        program.unlink()
        marked.root.chmod(0o777)
        with pytest.raises(RemoteProtocolError, match="root is not ours"):
            await host.ask("list", ("-", "1"))
        marked.root.chmod(0o700)
        marked.root.rename(tmp_path / "moved")
        marked.root.symlink_to(tmp_path / "moved")
        with pytest.raises(RemoteProtocolError, match="root is not ours"):
            await host.ask("list", ("-", "1"))
        marked.root.unlink()
        (tmp_path / "moved").rename(marked.root)
        await marked.client.call("list")


async def test_what_has_ended_long_ago_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first, too many of them or too old, and also by a client that lives long."""
    monkeypatch.setattr(records, "KEEP_COMMANDS", 3)
    monkeypatch.setattr(marker_calls, "TIDY_AFTER", 2)
    async with marked_sandbox(tmp_path) as marked:
        commands = marked.sandbox.commands
        for number in range(6):
            await commands.run("true", process_id=f"c{number}")
            os.utime(
                marked.root / "c" / f"c{number}" / "exit", (number, time.time() - 100 + number)
            )
        await marked.client.call("hello")
        await marked.transport._host.tidy()
        assert [info.process_id for info in await commands.list()] == ["c3", "c4", "c5"]
        monkeypatch.setattr(records, "KEEP_SECONDS", 96.5)
        for number in range(6, 9):
            await commands.run("true", process_id=f"c{number}")
        left = [info.process_id for info in await commands.list()]
        assert left[-1] == "c8"
        assert "c3" not in left


async def test_an_answer_that_is_cut_is_asked_for_in_parts(tmp_path: Path) -> None:
    """Starts, lists, questions and output arrive where the far side keeps only so much."""

    class Short(LocalShell):
        async def run(self, *args: Any, **more: Any) -> ShellAnswer:
            answer = await super().run(*args, **more)
            return attrs.evolve(answer, stdout=answer.stdout[:20_000])

    async with marked_sandbox(tmp_path, Short()) as marked:
        commands = marked.sandbox.commands
        script = f"head -c 50000 /dev/zero; exit 3 # {'x' * 1000}"
        names = [f"c{number:02}" for number in range(12)]
        handles = await asyncio.gather(*(commands.start(script, process_id=n) for n in names))
        results = await asyncio.gather(*(handle.result() for handle in handles))
        assert all(result.stdout_bytes == bytes(50_000) for result in results)
        assert {result.exit_code for result in results} == {3}
        assert [info.process_id for info in await commands.list()] == names


def test_the_program_compiles() -> None:
    """Perl finds no fault in it, not even a doubtful place."""
    done = subprocess.run(
        ["perl", "-c", "-"], input=program(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "- syntax OK\n")


def supervise(root: Path, process_id: str) -> subprocess.CompletedProcess[str]:
    """Let a supervisor come for a command that was claimed before."""
    told = "my ($out, $in); pipe($out, $in); supervise(qq($root/c/) . $ID, $ID, $in, {"
    told += "cwd => '/', command => ['touch', qq($root/ran)], env => {}, keep => 1e9,"
    told += " timeout => 0, idle => 0, drain => 0, grace => 0, merge => 1});"
    text = program().replace("say_line('end');", told.replace("$ID", f"'{process_id}'"))
    command = ["perl", "-e", text, "list", str(root), "-", "0"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


async def test_who_was_given_up_is_not_run_any_more(tmp_path: Path) -> None:
    """A kill says that a claim without a supervisor is lost; one that comes late finds that."""
    async with marked_sandbox(tmp_path) as marked:
        commands = marked.sandbox.commands
        await commands.run("true", process_id="model")
        log = (marked.root / "c" / "model" / ("0" * 16)).read_bytes()
        spec = records.HEADER.size + 24  # behind the first record, a base
        size = int.from_bytes(log[spec + 4 : spec + 8], "little")
        for name in ("claim", "other"):
            (marked.root / "c" / name).mkdir(mode=0o700)
            claimed = log[: spec + size].replace(b"model", name.encode())
            (marked.root / "c" / name / ("0" * 16)).write_bytes(claimed)
        # One that comes in time is waited for: nobody has started it yet when the kill begins.
        killing = asyncio.create_task(marked.client.call("kill", process_id="other", grace=0.0))
        while not (marked.root / "c" / "other" / "cause").exists():
            await asyncio.sleep(0.01)
        done = await asyncio.to_thread(supervise, marked.root, "other")
        assert done.stderr == ""
        answer = await killing
        assert answer["exit"]["reason"] == "killed"
        os.utime(marked.root / "c" / "claim", (1.0, 1.0))
        answer = await marked.client.call("kill", process_id="claim", grace=0.0)
        assert answer["exit"]["reason"] == "lost"
        (marked.root / "ran").unlink(missing_ok=True)
        done = await asyncio.to_thread(supervise, marked.root, "claim")
        assert (done.returncode, done.stderr) == (0, "")
        assert not (marked.root / "ran").exists()
