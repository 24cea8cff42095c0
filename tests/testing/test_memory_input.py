"""Input of scripts: what is sent can be read, and users can test interactive programs."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from hopx_async import Limits
from hopx_async.errors import InvalidArgument, StdinClosed, Unsupported
from hopx_async.protocol.lifecycle import STDIN_BYTES
from hopx_async.testing import ScriptedCommand, VirtualTimeLoop, memory
from hopx_async.testing.memory_input import MemoryInput


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def _calculator(command: ScriptedCommand) -> int:
    while line := await command.read_line():
        await command.stdout(b"%d\n" % sum(map(int, line.split())))
    return 0


async def test_a_script_answers_line_by_line() -> None:
    """A script reads lines as they are sent, in whatever pieces, and the end."""
    async with memory({"add": _calculator}) as sandbox:
        job = await sandbox.commands.start("add", stdin=True)
        lines = job.lines()
        await job.send_stdin("1 2 ")
        await job.send_stdin("3\n4")
        assert (await anext(lines)).text == "6"
        await job.close_stdin()
        assert (await anext(lines)).text == "4"
        assert (await job.wait()).ok


async def test_a_script_sees_its_terminal() -> None:
    """A script sees the size, the new size and what is typed; the end is Ctrl-D."""
    seen: list[Any] = []

    async def script(command: ScriptedCommand) -> int:
        seen.append(command.terminal_size)
        seen.append(await command.read_stdin(1))
        seen.append(command.terminal_size)
        seen.append(await command.read_stdin())
        await command.stderr(b"error")
        return 0

    async with memory({"x": script}) as sandbox:
        job = await sandbox.commands.start("x", pty=True)
        await anyio.sleep(1)
        assert await job.resize(5, 6)
        await job.send_stdin(b"q")
        await job.close_stdin()
        result = await job.result()
    assert seen == [(24, 80), b"q", (5, 6), b"\x04"]
    assert result.stdout == "error"


async def test_a_signal_that_is_waited_for_ends_nothing() -> None:
    """A script that waits for a signal gets it and goes on."""

    async def script(command: ScriptedCommand) -> int:
        await command.signalled("SIGINT")
        return 7

    async with memory({"x": script}) as sandbox:
        job = await sandbox.commands.start("x")
        await anyio.sleep(1)
        await job.send_signal("INT")
        assert (await job.wait()).exit_code == 7


async def test_input_is_taken_once_and_bounded() -> None:
    """What is repeated falls away, a gap is refused, and a sender waits for its reader."""
    pipe = MemoryInput({"process_id": "a", "stdin": True})
    assert await pipe.take(0, b"abc", eof=False) == 3
    assert await pipe.take(0, b"abcd", eof=False) == 4
    with pytest.raises(InvalidArgument):
        await pipe.take(5, b"x", eof=False)
    assert await pipe.take(4, bytes(STDIN_BYTES), eof=False) == 4 + STDIN_BYTES
    with anyio.move_on_after(1) as scope:
        await pipe.take(4 + STDIN_BYTES, b"x", eof=False)
    assert scope.cancelled_caught
    with anyio.move_on_after(1) as scope:
        assert await pipe.read(4) == b"abcd"
        await pipe.read(STDIN_BYTES)
        await pipe.read(1)
    assert scope.cancelled_caught
    assert await pipe.take(None, b"", eof=False) == 4 + STDIN_BYTES
    pipe.close()
    with pytest.raises(StdinClosed):
        await pipe.take(4 + STDIN_BYTES, b"x", eof=False)
    with pytest.raises(ValueError, match="no such call"):
        await pipe.call("dance", {})


async def test_scripts_have_no_limits() -> None:
    """Limits are refused before the start: nothing in memory could keep them."""
    async with memory({"add": _calculator}) as sandbox:
        assert not sandbox.capabilities.limits
        with pytest.raises(Unsupported):
            await sandbox.commands.start("add", limits=Limits(nice=1))
        assert await sandbox.commands.list() == []
