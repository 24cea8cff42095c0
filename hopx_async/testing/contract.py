"""What every far side must do, as checks: run them on a transport or an agent of your own.

Each check takes an open `Sandbox` and raises ``AssertionError`` where the far
side breaks the contract.  `CHECKS` lists them all::

    @pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
    async def test_contract(check):
        async with my_door() as sandbox:
            await check(sandbox)

A far side that cannot do everything keeps those that `checks_for` names for its capabilities.
One that has no shell is given `SCRIPTS`: what the commands of these checks do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel

from hopx_async.errors import (
    BadCursor,
    BusyError,
    CommandFailed,
    CommandNotFound,
    CommandTimedOut,
    ConflictError,
    InvalidArgument,
    OutputTooLarge,
    SpawnError,
)
from hopx_async.handle import CommandHandle
from hopx_async.model import CommandRef
from hopx_async.protocol.events import Event, Exited, Started, Stderr, Stdout
from hopx_async.sandbox import Sandbox
from hopx_async.testing import contract_input
from hopx_async.testing.contract_environment import ENVIRONMENT_CHECKS, ENVIRONMENT_SCRIPTS
from hopx_async.testing.contract_files import FILE_CHECKS
from hopx_async.testing.contract_needs import NEED_CHECKS, checks_for
from hopx_async.testing.expecting import raises
from hopx_async.testing.memory import ScriptedCommand

__all__ = [
    "CHECKS",
    "SCRIPTS",
    "Check",
    "a_cancelled_run_leaves_nothing",
    "a_cancelled_start_leaves_nothing",
    "a_program_that_is_not_there_is_told",
    "a_reader_that_never_reads_delays_nobody",
    "a_time_limit_ends_the_command",
    "checks_for",
    "commands_are_listed",
    "events_are_whole_and_in_order",
    "every_cursor_resumes",
    "leaving_a_stream_loses_nothing",
    "output_does_not_wait",
    "reading_can_be_cancelled",
    "results_are_whole",
    "signals_reach_the_command",
    "starting_is_idempotent",
    "two_readers_of_one_stream_are_refused",
    "unknown_things_are_told",
    "wait_can_be_cancelled",
]

Check = Callable[[Sandbox], Awaitable[None]]

_STEPS = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 3"
_SLEEP = "exec sleep 3600"
_LARGE = "head -c 300000 /dev/zero"
_MISSING = ("/nonexistent/program", "argument")


async def _steps(command: ScriptedCommand) -> int:
    for number in (1, 2, 3):
        await command.stdout(b"out %d\n" % number)
        await command.stderr(b"err %d\n" % number)
    return 3


async def _sleep(_: ScriptedCommand) -> int:
    await anyio.sleep(3600)
    return 0


async def _large(command: ScriptedCommand) -> int:
    await command.stdout(bytes(300_000))
    return 0


#: What the commands of the checks do, for a far side without a shell.
SCRIPTS: dict[str, Callable[[ScriptedCommand], Awaitable[int]]] = {
    _STEPS: _steps,
    _SLEEP: _sleep,
    _LARGE: _large,
    **contract_input.SCRIPTS,
    **ENVIRONMENT_SCRIPTS,
}


async def _all_events(handle: CommandHandle, **options: Any) -> list[Event]:
    return [event async for event in handle.events(**options)]


def _streams(events: list[Event]) -> tuple[bytes, bytes]:
    out = b"".join(event.data for event in events if isinstance(event, Stdout))
    err = b"".join(event.data for event in events if isinstance(event, Stderr))
    return out, err


async def events_are_whole_and_in_order(sandbox: Sandbox) -> None:
    """Started comes first, every byte in order, exactly one end, last."""
    handle = await sandbox.commands.start(_STEPS)
    events = await _all_events(handle)
    assert isinstance(events[0], Started)
    assert events[0].pid == handle.pid
    assert isinstance(events[-1], Exited)
    assert sum(isinstance(event, (Started, Exited)) for event in events) == 2
    assert events[-1].exit.exit_code == 3
    assert events[-1].exit.reason == "exited"
    assert _streams(events) == (b"out 1\nout 2\nout 3\n", b"err 1\nerr 2\nerr 3\n")


async def every_cursor_resumes(sandbox: Sandbox) -> None:
    """Reading on behind any event yields exactly the rest, also by another handle."""
    handle = await sandbox.commands.start(_STEPS)
    events = await _all_events(handle)
    again = await sandbox.commands.get(handle.ref)
    for index, event in enumerate(events):
        assert await _all_events(again, after=event.cursor) == events[index + 1 :]


async def leaving_a_stream_loses_nothing(sandbox: Sandbox) -> None:
    """A stream that is left and one that goes on from its cursor make up the whole."""
    handle = await sandbox.commands.start(_STEPS)
    first: list[Event] = []
    async for event in handle.events():
        first.append(event)
        if len(first) == 2:
            break
    rest = await _all_events(handle, after=first[-1].cursor)
    assert first + rest == await _all_events(handle)


async def wait_can_be_cancelled(sandbox: Sandbox) -> None:
    """A wait that is cancelled leaves the command, and a later wait gets the exit."""
    handle = await sandbox.commands.start(_SLEEP)
    with anyio.move_on_after(0.01) as scope:
        await handle.wait()
    assert scope.cancelled_caught
    assert (await handle.info()).status == "running"
    fate = await handle.kill()
    assert fate.reason == "killed"
    assert await handle.wait() == fate


async def reading_can_be_cancelled(sandbox: Sandbox) -> None:
    """A stream whose reader was cancelled goes on where it was."""
    handle = await sandbox.commands.start(_SLEEP)
    events = handle.events()
    assert isinstance(await anext(events), Started)
    with anyio.move_on_after(0.01) as scope:
        await anext(events)
    assert scope.cancelled_caught
    await handle.kill(grace=0)
    assert isinstance(await anext(events), Exited)


async def two_readers_of_one_stream_are_refused(sandbox: Sandbox) -> None:
    """The second task in one stream gets BusyError; the first is not disturbed."""
    handle = await sandbox.commands.start(_SLEEP)
    events = handle.events()
    await anext(events)
    async with anyio.create_task_group() as group:
        group.start_soon(anext, events)
        await anyio.lowlevel.checkpoint()
        await raises(BusyError, anext(events))
        await handle.kill(grace=0)


async def starting_is_idempotent(sandbox: Sandbox) -> None:
    """The same id and spec give the same command; another spec is a conflict."""
    first = await sandbox.commands.start(_STEPS, process_id="the-same")
    again = await sandbox.commands.start(_STEPS, process_id="the-same")
    assert (first.process_id, first.pid) == (again.process_id, again.pid)
    await first.wait()
    await raises(ConflictError, sandbox.commands.start(_SLEEP, process_id="the-same"))
    assert len(await sandbox.commands.list()) == 1


async def unknown_things_are_told(sandbox: Sandbox) -> None:
    """An id that nobody started, a cursor of another command, a ref of another sandbox."""
    handle = await sandbox.commands.start(_STEPS)
    other = await sandbox.commands.start(_STEPS)
    await raises(CommandNotFound, sandbox.commands.get("nobody"))
    await raises(InvalidArgument, sandbox.commands.get("../../etc/passwd"))
    await raises(InvalidArgument, sandbox.commands.get(CommandRef("elsewhere", "x")))
    cursor = (await _all_events(handle))[0].cursor
    for bad in (cursor, "L1.0.0.0.00000000", "M1.2.3", "", "x" * 100):
        try:
            other.events(after=bad)
        except BadCursor as error:
            assert error.parameter == "after"  # noqa: PT017  # no pytest in the library
        else:
            raise AssertionError(f"{bad!r} was taken for a cursor")


async def a_program_that_is_not_there_is_told(sandbox: Sandbox) -> None:
    """A start of a missing program raises SpawnError, also when it is repeated."""
    for _ in range(2):
        error = await raises(SpawnError, sandbox.commands.start(_MISSING, process_id="gone"))
        assert (error.errno, error.filename) == (2, _MISSING[0])
    info = await (await sandbox.commands.get("gone")).info()
    assert info.exit is not None
    assert (info.status, info.exit.reason) == ("failed", "spawn_failed")


async def a_time_limit_ends_the_command(sandbox: Sandbox) -> None:
    """A command beyond its timeout ends as timed_out, told apart from a failure."""
    handle = await sandbox.commands.start(_SLEEP, timeout=0.05)
    fate = await handle.wait()
    assert (fate.reason, fate.status, fate.ok) == ("timed_out", "failed", False)
    await raises(CommandTimedOut, handle.wait(check=True))


async def signals_reach_the_command(sandbox: Sandbox) -> None:
    """A signal's name travels; terminate is a kill; an ended command is no error."""
    handle = await sandbox.commands.start(_SLEEP)
    assert await handle.send_signal("INT")
    fate = await handle.wait()
    assert (fate.reason, fate.signal, fate.exit_code) == ("signaled", "SIGINT", None)
    assert not await handle.terminate()
    assert await handle.kill() == fate
    other = await sandbox.commands.start(_SLEEP)
    assert await other.terminate()
    assert (await other.wait()).reason == "killed"
    await raises(InvalidArgument, other.send_signal("SIGNONSENSE"))


async def results_are_whole(sandbox: Sandbox) -> None:
    """run and result return the output and the end; check raises; a bound is kept."""
    result = await sandbox.commands.run(_STEPS)
    assert (result.stdout, result.exit_code) == ("out 1\nout 2\nout 3\n", 3)
    assert (result.stderr_bytes, result.ok) == (b"err 1\nerr 2\nerr 3\n", False)
    error = await raises(CommandFailed, sandbox.commands.run(_STEPS, check=True))
    assert error.exit.exit_code == 3
    assert error.tail.count(b"\n") == 6
    await raises(OutputTooLarge, sandbox.commands.run(_LARGE, max_bytes=1000))
    assert len((await sandbox.commands.run(_LARGE, check=True)).stdout_bytes) == 300_000


async def output_does_not_wait(sandbox: Sandbox) -> None:
    """output is what is there by now, with the cursor behind it."""
    handle = await sandbox.commands.start(_STEPS)
    await handle.wait()
    snapshot = await handle.output()
    assert snapshot.stdout == "out 1\nout 2\nout 3\n"
    assert await _all_events(handle, after=snapshot.cursor) == []
    running = await sandbox.commands.start(_SLEEP)
    assert (await running.output()).stdout_bytes == b""
    await running.kill(grace=0)


async def a_cancelled_run_leaves_nothing(sandbox: Sandbox) -> None:
    """run that is cancelled ends its command before it returns."""
    with anyio.move_on_after(0.05):
        await sandbox.commands.run(_SLEEP)
    assert [info for info in await sandbox.commands.list() if info.status == "running"] == []


async def a_cancelled_start_leaves_nothing(sandbox: Sandbox) -> None:
    """start that is cancelled after sending ends what it has started."""
    for turns in range(6):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_after, scope, turns)
                await sandbox.commands.start(_SLEEP, tags={"turns": str(turns)})
        if scope.cancelled_caught:
            left = await sandbox.commands.list(status="running", tags={"turns": str(turns)})
            assert left == [], f"cancelled after {turns} turns of the loop"
        for info in await sandbox.commands.list(status="running"):
            await sandbox.commands.kill(info.process_id, grace=0)


async def _cancel_after(scope: anyio.CancelScope, turns: int) -> None:
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    scope.cancel()


async def commands_are_listed(sandbox: Sandbox) -> None:
    """list tells names, tags and statuses, oldest first, and shows no value of env."""
    one = await sandbox.commands.start(
        _STEPS, name="one", tags={"kind": "test", "n": "1"}, env={"SECRET": "hunter2"}
    )
    two = await sandbox.commands.start(_SLEEP, name="two", tags={"kind": "test"})
    await one.wait()
    listed = await sandbox.list_processes()
    assert [info.process_id for info in listed] == [one.process_id, two.process_id]
    assert [info.status for info in listed] == ["failed", "running"]
    assert listed[0].env_names == ("SECRET",)
    assert "hunter2" not in repr(listed)
    assert [info.name for info in await sandbox.commands.list(tags={"n": "1"})] == ["one"]
    assert [info.name for info in await sandbox.commands.list(status="running")] == ["two"]
    assert [info.name for info in await sandbox.commands.list(name="two")] == ["two"]
    assert (await sandbox.kill_process(two.process_id)).reason == "killed"


async def a_reader_that_never_reads_delays_nobody(sandbox: Sandbox) -> None:
    """A stream that nobody reads holds back neither its command nor other streams."""
    handle = await sandbox.commands.start(_LARGE)
    idle = handle.events()
    assert (await handle.wait()).ok
    out, _ = _streams(await _all_events(handle))
    assert len(out) == 300_000
    out, _ = _streams([event async for event in idle])
    assert len(out) == 300_000


#: Every check, in the order of this file, then those of what commands are given.
CHECKS: tuple[Check, ...] = (
    events_are_whole_and_in_order,
    every_cursor_resumes,
    leaving_a_stream_loses_nothing,
    wait_can_be_cancelled,
    reading_can_be_cancelled,
    two_readers_of_one_stream_are_refused,
    starting_is_idempotent,
    unknown_things_are_told,
    a_program_that_is_not_there_is_told,
    a_time_limit_ends_the_command,
    signals_reach_the_command,
    results_are_whole,
    output_does_not_wait,
    a_cancelled_run_leaves_nothing,
    a_cancelled_start_leaves_nothing,
    commands_are_listed,
    a_reader_that_never_reads_delays_nobody,
    *contract_input.CHECKS,
    *ENVIRONMENT_CHECKS,
    *FILE_CHECKS,
    *NEED_CHECKS,
)
