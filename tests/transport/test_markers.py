"""Markers end to end: the link's contract over a far side that can only run programs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.client import AgentClient
from hopx_async.errors import ConnectionLost
from hopx_async.protocol import marker_logs, rate
from hopx_async.protocol.marker_logs import ROOM
from hopx_async.testing import contract
from hopx_async.testing.contract import CHECKS, Check
from hopx_async.transport.markers import MarkerTransport
from hopx_async.transport.shell import ShellAnswer
from tests.support.shells import LocalShell, Marked, marked_sandbox, quick

PLAIN = [check for check in CHECKS if check.__module__ == contract.__name__]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll often: what is tested is not how long a poll waits."""
    monkeypatch.setattr(rate, "FIRST_TICK", 0.02)
    monkeypatch.setattr(rate, "LAST_TICK", 0.05)


@pytest.mark.parametrize("check", PLAIN, ids=lambda check: check.__name__)
async def test_markers_keep_the_contract(check: Check, tmp_path: Path) -> None:
    """Whatever needs no input holds here as it does on our own agent."""
    async with marked_sandbox(tmp_path) as marked:
        await check(marked.sandbox)


async def test_output_is_whole_and_in_order(tmp_path: Path) -> None:
    """Some megabytes of two streams, binary ones, over several segments and polls."""
    script = (
        "for i in 1 2 3 4 5; do head -c 700001 /dev/urandom | tee -a copy;"
        " head -c 30001 /dev/urandom | tee -a errors >&2; done; exit 7"
    )
    async with marked_sandbox(tmp_path) as marked:
        handle = await marked.sandbox.commands.start(script)
        result = await handle.result(max_bytes=8 * 1024 * 1024)
        assert result.stdout_bytes == (tmp_path / "copy").read_bytes()
        assert result.stderr_bytes == (tmp_path / "errors").read_bytes()
        assert (result.exit.reason, result.exit_code) == ("exited", 7)


async def test_another_process_goes_on_from_a_cursor(tmp_path: Path) -> None:
    """A second client finds the command by its id and resumes at a cursor, to the byte."""
    async with marked_sandbox(tmp_path) as marked:
        handle = await marked.sandbox.commands.start("seq 3; sleep 0.2; seq 4 6", process_id="one")
        first = await anext(handle.lines())
        other = Marked(marked.root, tmp_path, LocalShell(), quick())
        try:
            again = await other.sandbox.commands.get("one")
            assert (await again.info()).command == "seq 3; sleep 0.2; seq 4 6"
            rest = [line.text async for line in again.lines(after=first.cursor)]
            assert [first.text, *rest] == ["1", "2", "3", "4", "5", "6"]
            assert (await again.wait()).ok
        finally:
            await other.sandbox.aclose()


async def test_values_travel_in_the_environment_alone(tmp_path: Path) -> None:
    """A value is in no argument and in no file of the marker; odd names and values arrive."""
    env = {"SECRET": "ge heim\n'\"$x", "odd.name-ü": "1", "PATH": os.environ["PATH"], "GONE": None}
    async with marked_sandbox(tmp_path) as marked:
        result = await marked.sandbox.commands.run(
            'printf %s "$SECRET"; env | grep odd; echo ${GONE-unset}', env=env
        )
        assert result.stdout == f"{env['SECRET']}odd.name-ü=1\nunset\n"
        assert not any("ge heim" in one for request in marked.shell.requests for one in request)
        for path in marked.root.rglob("*"):
            if path.is_file() and path.suffix != ".pl" and path.name != "0" * 16:
                assert b"geheim" not in path.read_bytes()
        log = next(marked.root.glob("c/*/" + "0" * 16)).read_bytes()
        assert log.count(b"ge heim") == 1  # what it printed itself


@pytest.mark.leaves_orphans
async def test_a_kill_reaches_what_has_escaped(tmp_path: Path) -> None:
    """Processes of other sessions, with an empty environment, end as well."""
    async with marked_sandbox(tmp_path) as marked:
        handle = await marked.sandbox.commands.start(
            "env -i setsid sleep 4001 & (setsid sleep 4002 &) ;"
            " trap '' TERM; sleep 4003; sleep 4004"
        )
        exit_ = await handle.kill(grace=0.2)
        assert (exit_.reason, exit_.signal) == ("killed", "SIGKILL")
        found = [
            path.parent.name
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if b"sleep\x00400" in _read(path)
        ]
        assert found == []
        assert (await handle.kill()) == exit_


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def test_limits_end_the_command_and_say_so(tmp_path: Path) -> None:
    """A time limit and a limit of silence are told apart, from each other and from failure."""
    async with marked_sandbox(tmp_path) as marked:
        commands = marked.sandbox.commands
        timed, idle = await asyncio.gather(
            commands.start("sleep 4005", timeout=0.3),
            commands.start("echo a; sleep 4006", idle_timeout=0.3),
        )
        assert (await timed.wait()).reason == "timed_out"
        assert (await idle.wait()).reason == "idle_timed_out"
        assert (await commands.run("kill -9 $$")).exit.reason == "signaled"
        assert (await commands.run("exit 137")).exit_code == 137


@pytest.mark.leaves_orphans
async def test_a_supervisor_that_is_killed_is_lost(tmp_path: Path) -> None:
    """Its command is ended, its output is whole up to then, and no exit code is invented."""
    async with marked_sandbox(tmp_path) as marked:
        handle = await marked.sandbox.commands.start("echo out; sleep 4007")
        assert (await anext(handle.lines())).text == "out"
        [supervisor] = marked.supervisors()
        directory = next(marked.root.glob("c/*"))
        os.kill(supervisor, signal.SIGKILL)
        # Nobody looks into a directory that has changed a moment ago.
        os.utime(directory, (1.0, 1.0))
        exit_ = await handle.wait()
        assert (exit_.reason, exit_.exit_code, exit_.signal) == ("lost", None, None)
        assert (await handle.result()).stdout == "out\n"
        assert not any(b"sleep\x004007" in _read(p) for p in Path("/proc").glob("[0-9]*/cmdline"))


async def test_what_only_our_agent_can_do_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """The error names the option, and nothing was asked of the far side for it."""
    async with marked_sandbox(tmp_path) as marked:
        await marked.sandbox.commands.run("true")
        before = len(marked.shell.requests)
        refused: list[dict[str, Any]] = [{"stdin": True}, {"pty": True}, {"overflow": "wait"}]
        for options in refused:
            with pytest.raises(hopx.Unsupported, match=next(iter(options))):
                await marked.sandbox.commands.start("touch ran", **options)
        assert len(marked.shell.requests) == before
        assert not (tmp_path / "ran").exists()


async def test_many_handles_cost_one_request_a_tick(tmp_path: Path) -> None:
    """Five hundred live waits are asked after together, in an answer that stays small."""
    async with marked_sandbox(tmp_path) as marked:
        commands = marked.sandbox.commands
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        handles = await asyncio.gather(*(commands.start(f"read x < {gate}") for _ in range(60)))
        waits = [asyncio.create_task(handle.wait()) for handle in handles for _ in range(9)]
        await asyncio.sleep(0)
        requests, polls = len(marked.shell.requests), marked.transport.polls_made
        while marked.transport.polls_made < polls + 3:
            await asyncio.sleep(0.01)
        made = len(marked.shell.requests) - requests
        assert made <= marked.transport.polls_made - polls + 1
        assert max(len(answer.stdout) for answer in marked.shell.answers[-made:]) < ROOM
        for handle in handles:
            await handle.terminate()
        assert all(exit_.reason == "killed" for exit_ in await asyncio.gather(*waits))


async def test_too_many_handles_for_one_poll_are_all_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where three times as many commands run as a poll asks about, each is asked about in turn."""
    monkeypatch.setattr(marker_logs, "MAX_WATCHED", 2)
    async with marked_sandbox(tmp_path) as marked:
        commands = marked.sandbox.commands
        handles = [
            await commands.start("sleep 4013", process_id=f"c{number}") for number in "012345"
        ]
        waits = [asyncio.create_task(handle.wait()) for handle in handles]
        polled, enough, run = marked.transport.polls_made, asyncio.Event(), marked.shell.run

        async def counted(*args: Any, **options: Any) -> Any:
            if marked.transport.polls_made >= polled + 20:
                enough.set()
            return await run(*args, **options)

        monkeypatch.setattr(marked.shell, "run", counted)
        await enough.wait()
        asked = [argv[-1] for argv in marked.shell.requests if "tick" in argv][-12:]
        assert all(any(f"{handle.process_id}:" in one for one in asked) for handle in handles)
        for handle in handles:
            await handle.kill(grace=0)
        await asyncio.gather(*waits)


async def test_faults_run_nothing_twice_and_lose_nothing(tmp_path: Path) -> None:
    """One request in five goes wrong; every command runs once, with its output and its code."""
    await run_with_faults(tmp_path, commands=30, faults=20)


@pytest.mark.soak
async def test_many_commands_with_faults(tmp_path: Path) -> None:
    """Three hundred commands with one request in ten gone wrong."""
    await run_with_faults(tmp_path, commands=300, faults=10)


async def run_with_faults(tmp_path: Path, *, commands: int, faults: int) -> None:
    """Run so many commands and kill a fifth of them, over a shell with faults."""
    shell = LocalShell(faults=faults, seed=7)
    async with marked_sandbox(tmp_path, shell) as marked:
        start = marked.sandbox.commands.start

        async def one(number: int) -> None:
            end = "sleep 4008" if number % 5 == 0 else f"exit {number % 200}"
            script = f"echo x >> ran{number}; echo out {number}; echo err {number} >&2; {end}"
            handle = await start(script, process_id=f"c{number}")
            if number % 5 == 0:
                lines = handle.lines()
                seen = {(await anext(lines)).text, (await anext(lines)).text}
                assert seen == {f"out {number}", f"err {number}"}
                assert (await handle.kill(grace=0)).reason == "killed"
            result = await handle.result()
            assert (result.stdout, result.stderr) == (f"out {number}\n", f"err {number}\n")
            assert result.exit_code == (None if number % 5 == 0 else number % 200)

        await asyncio.gather(*(one(number) for number in range(commands)))
        for number in range(commands):
            assert (tmp_path / f"ran{number}").read_text() == "x\n"


async def test_calls_can_be_cancelled(tmp_path: Path) -> None:
    """Whoever leaves a start, a wait or a kill leaves nothing that hangs."""
    async with marked_sandbox(tmp_path) as marked:
        commands = marked.sandbox.commands
        handle = await commands.start("sleep 4009")
        for call in (handle.wait, handle.info, lambda: handle.kill(grace=5.0), commands.list):
            with anyio.move_on_after(0):
                await call()
        with anyio.move_on_after(0):
            await commands.start("sleep 4010")
        assert (await handle.kill(grace=0)).reason == "killed"


async def test_a_far_side_that_is_gone_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers for long: calls say so, and the next one tries anew."""
    monkeypatch.setattr("hopx_async.transport.marker_host.PATIENCE", 0.05)

    class Gone(LocalShell):
        async def run(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            raise ConnectionLost("nobody is there")

    transport = MarkerTransport(Gone(), "sbx", root=str(tmp_path / "r"), budget=quick())
    client = AgentClient(transport, "sbx", give_up_after=0.2)
    with pytest.raises(hopx.AgentUnreachable):
        await client.call("hello")
    await client.aclose()


async def test_whoever_waits_for_one_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes away while somebody waits: the policy gives up, and the next call tries anew."""
    monkeypatch.setattr("hopx_async.transport.marker_host.PATIENCE", 0.05)

    class Going(LocalShell):
        gone = False

        async def run(self, *args: Any, **more: Any) -> ShellAnswer:
            if self.gone:
                raise ConnectionLost("nobody is there")
            return await super().run(*args, **more)

    shell = Going()
    async with marked_sandbox(tmp_path, shell, give_up_after=0.3) as marked:
        handle = await marked.sandbox.commands.start("sleep 4011")
        shell.gone = True
        with pytest.raises(hopx.AgentUnreachable):
            await handle.wait()
        shell.gone = False
        assert (await handle.kill(grace=0)).reason == "killed"
