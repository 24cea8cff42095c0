"""What every far side that takes input must do: the part of the contract about stdin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

from hopx_async.errors import BusyError, StdinClosed, Unsupported
from hopx_async.handle import CommandHandle
from hopx_async.sandbox import Sandbox
from hopx_async.testing.memory import ScriptedCommand

__all__ = [
    "CHECKS",
    "SCRIPTS",
    "a_cancelled_send_is_finished_by_the_next",
    "a_silent_command_is_ended",
    "a_terminal_has_a_size",
    "input_arrives_once_and_in_order",
    "run_sends_its_input",
    "sending_to_nobody_is_refused",
    "two_senders_of_one_handle_are_refused",
]

_COPY = "exec cat"
_SLEEP = "exec sleep 3600"
# Reads what it is sent when it is sent a signal, so that a sender has to wait until then.
_LATE = "trap 'exec cat' USR1; echo ready; while :; do sleep 0.02; done"
_LARGE = 300_000


async def _copy(command: ScriptedCommand) -> int:
    while data := await command.read_stdin():
        await command.stdout(data)
    return 0


async def _sleep(_: ScriptedCommand) -> int:
    await anyio.sleep(3600)
    return 0


async def _late(command: ScriptedCommand) -> int:
    await command.stdout(b"ready\n")
    await command.signalled("SIGUSR1")
    return await _copy(command)


#: What the commands of these checks do, for a far side without a shell.
SCRIPTS: dict[str, Callable[[ScriptedCommand], Awaitable[int]]] = {
    _COPY: _copy,
    _SLEEP: _sleep,
    _LATE: _late,
}


def _pattern(size: int, seed: int = 0) -> bytes:
    return b"".join(b"%09d\n" % (seed + number) for number in range(size // 10))


async def input_arrives_once_and_in_order(sandbox: Sandbox) -> None:
    """What is sent arrives whole, from one handle and then another, up to its end."""
    handle = await sandbox.commands.start(_COPY, stdin=True)
    large = _pattern(_LARGE)
    await handle.send_stdin("grün\n")
    await handle.send_stdin(large)
    again = await sandbox.commands.get(handle.ref)
    await again.send_stdin(b"")
    await again.send_stdin(b"last")
    await again.close_stdin()
    await again.close_stdin()
    result = await handle.result(check=True)
    assert result.stdout_bytes == "grün\n".encode() + large + b"last"
    assert (await handle.info()).stdin


async def run_sends_its_input(sandbox: Sandbox) -> None:
    """run sends input while it reads output; none, some, and nothing at all."""
    large = _pattern(_LARGE)
    for given, expected in ((large, large), ("é", "é".encode()), (b"", b"")):
        result = await sandbox.commands.run(_COPY, input=given, check=True)
        assert result.stdout_bytes == expected
    # Without input its stdin is empty.
    assert (await sandbox.commands.run(_COPY)).stdout_bytes == b""


async def sending_to_nobody_is_refused(sandbox: Sandbox) -> None:
    """Without stdin, after close_stdin and after the end a send is refused; closing is not."""
    deaf = await sandbox.commands.start(_SLEEP)
    await _refused(deaf)
    closed = await sandbox.commands.start(_COPY, stdin=True)
    await closed.close_stdin()
    await _refused(closed)
    await closed.wait()
    await _refused(await sandbox.commands.get(closed.ref))
    await closed.close_stdin()
    blocked = await sandbox.commands.start(_SLEEP, stdin=True)
    async with anyio.create_task_group() as group:
        group.start_soon(_refused, blocked, bytes(_LARGE))
        await anyio.lowlevel.checkpoint()
        await blocked.kill(grace=0)
    await deaf.kill(grace=0)


async def two_senders_of_one_handle_are_refused(sandbox: Sandbox) -> None:
    """The second task in send_stdin gets BusyError; the first is not disturbed."""
    handle = await sandbox.commands.start(_LATE, stdin=True)
    await anext(handle.lines())
    data = _pattern(_LARGE)
    async with anyio.create_task_group() as group:
        group.start_soon(handle.send_stdin, data)
        await anyio.lowlevel.checkpoint()
        try:
            await handle.send_stdin(b"x")
        except BusyError:
            pass
        else:
            raise AssertionError("two tasks may send at once")
        await handle.send_signal("USR1")
    await handle.close_stdin()
    assert (await handle.result()).stdout_bytes == b"ready\n" + data


async def a_cancelled_send_is_finished_by_the_next(sandbox: Sandbox) -> None:
    """A send that is cancelled loses and repeats nothing: the next one goes on with it."""
    handle = await sandbox.commands.start(_LATE, stdin=True)
    await anext(handle.lines())
    data = _pattern(_LARGE)
    for number in range(3):
        with anyio.move_on_after(0.05) as scope:
            await handle.send_stdin(data if number == 0 else b"%d\n" % number)
        assert scope.cancelled_caught
    await handle.send_signal("USR1")
    await handle.send_stdin(b"3\n")
    await handle.close_stdin()
    assert (await handle.result()).stdout_bytes == b"ready\n" + data + b"1\n2\n3\n"


async def a_terminal_has_a_size(sandbox: Sandbox) -> None:
    """A terminal is told in the info, takes input and another size; a pipe has none."""
    handle = await sandbox.commands.start(_SLEEP, pty=(10, 20))
    info = await handle.info()
    assert (info.pty, info.stdin, info.merge_stderr) == ((10, 20), True, True)
    assert await handle.resize(30, 40)
    await handle.send_stdin(b"x")
    await handle.kill(grace=0)
    assert not await handle.resize(1, 1)
    plain = await sandbox.commands.start(_SLEEP)
    try:
        await plain.resize(1, 1)
    except Unsupported:
        pass
    else:
        raise AssertionError("a pipe has no size")
    await plain.kill(grace=0)


async def a_silent_command_is_ended(sandbox: Sandbox) -> None:
    """A command that prints nothing for its idle_timeout ends as idle_timed_out."""
    fate = (await sandbox.commands.run(_SLEEP, idle_timeout=0.05)).exit
    assert (fate.reason, fate.status, fate.ok) == ("idle_timed_out", "failed", False)


async def _refused(handle: CommandHandle, data: bytes = b"x") -> None:
    try:
        await handle.send_stdin(data)
    except StdinClosed as error:
        assert error.process_id == handle.process_id  # noqa: PT017  # no pytest in the library
    else:
        raise AssertionError("there was nobody to send to")


#: Every check, in the order of this file.
CHECKS: tuple[Callable[[Sandbox], Awaitable[None]], ...] = (
    input_arrives_once_and_in_order,
    run_sends_its_input,
    sending_to_nobody_is_refused,
    two_senders_of_one_handle_are_refused,
    a_cancelled_send_is_finished_by_the_next,
    a_terminal_has_a_size,
    a_silent_command_is_ended,
)
