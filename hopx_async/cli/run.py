"""``hopx-async run``: commands at once, their output as prefixed lines, a summary."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TextIO

import anyio

from hopx_async.errors import HopxError, SpawnError
from hopx_async.model import CommandSpec, Exit
from hopx_async.protocol.events import Exited, Lost, Stderr, Stdout, Truncated
from hopx_async.providers.local import local
from hopx_async.sandbox import Sandbox

__all__ = ["MAX_LINE", "LineCutter", "Writer", "exit_status", "run_all", "visible"]

#: A line longer than this, in bytes, is printed in pieces.
MAX_LINE = 64 * 1024
_TIMED_OUT, _NOT_KNOWN, _NOT_STARTED, _SIGNALED = 124, 125, 127, 128
_CAUGHT = (signal.SIGINT, signal.SIGTERM)
# What a terminal may obey instead of showing: controls, and what turns the direction of text.
_TRICKS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_COLOURS = re.compile(r"(\x1b\[[0-9;:]*m)")
_PLAIN = "\x1b[0m"


async def run_all(
    commands: Sequence[str],
    *,
    timeout: float | None,  # noqa: ASYNC109  # the far side's limit
) -> int:
    """Run *commands* at once, print their output line by line, and return the exit status.

    Raises:
        InvalidArgument: If a command or the timeout breaks a rule; nothing was started.
    """
    for command in commands:
        CommandSpec.make(command, timeout=timeout)
    fates: list[Exit | HopxError | None] = [None] * len(commands)
    width = len(str(len(commands)))

    async def follow(sandbox: Sandbox, index: int) -> None:
        label = f"[{index + 1:>{width}}]"
        try:
            fates[index] = await _follow(sandbox, commands[index], label, timeout)
        except BrokenPipeError:
            interruption.happen(signal.SIGPIPE)
        except HopxError as error:
            fates[index] = error

    door = local(workspace=Path.cwd())
    async with _Interruption() as interruption, door as sandbox:
        interruption.sandbox = sandbox
        with interruption.scope:
            async with anyio.create_task_group() as group:
                for index in range(len(commands)):
                    group.start_soon(follow, sandbox, index)
    if interruption.number is not None:
        return _interrupted(interruption.number)
    for index, (command, fate) in enumerate(zip(commands, fates, strict=True)):
        line = f"[{index + 1:>{width}}] {_shortened(command)}: {fate}"
        print(visible(line), file=sys.stderr)
    return next((status for fate in fates if (status := exit_status(fate)) != 0), 0)


async def _follow(
    sandbox: Sandbox,
    command: str,
    label: str,
    timeout: float | None,  # noqa: ASYNC109  # the far side's limit
) -> Exit:
    handle = await sandbox.commands.start(command, timeout=timeout)
    out, err = Writer(sys.stdout, label), Writer(sys.stderr, label)
    async for event in handle.events():
        if isinstance(event, Stdout):
            out.feed(event.data)
        elif isinstance(event, Stderr):
            err.feed(event.data)
        elif isinstance(event, Truncated):
            lost = event.stdout_bytes + event.stderr_bytes
            err.say(f"({lost} bytes were freed before they were read)")
        elif isinstance(event, (Exited, Lost)):
            out.close()
            err.close()
    return await handle.wait()


def exit_status(fate: Exit | HopxError | None) -> int:
    """Return a shell's exit status for how a command ended."""
    if not isinstance(fate, Exit):
        return _NOT_STARTED if isinstance(fate, SpawnError) else _NOT_KNOWN
    if fate.reason == "timed_out":
        return _TIMED_OUT
    if fate.signal is not None:
        return _SIGNALED + getattr(signal, fate.signal, 0)
    if fate.exit_code is not None:
        return fate.exit_code if fate.reason == "exited" else fate.exit_code or 1
    return _NOT_KNOWN


def visible(text: str, *, colours: bool = False) -> str:
    r"""Return *text* with every character spelt out that a terminal might obey.

    Tabs stay; so do colours if asked for, and they end with the text.

    >>> print(visible("\x1b]0;title\x07 \x1b[2J"))
    \x1b]0;title\x07 \x1b[2J
    """
    if not colours:
        return _TRICKS.sub(_spelt, text)
    parts = _COLOURS.split(text)
    parts[::2] = [_TRICKS.sub(_spelt, part) for part in parts[::2]]
    return "".join(parts) + (_PLAIN if len(parts) > 1 else "")


def _spelt(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


class LineCutter:
    """Cuts bytes into lines; holds less than a line of `MAX_LINE` bytes.

    A longer line is handed on in pieces, none of which ends within a character of UTF-8.
    """

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._emit = emit
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Add bytes; whole lines are handed on, without their newline."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(self._cut(line))
        self._rest = self._cut(rest)

    def close(self) -> None:
        """Hand on what stands behind the last newline."""
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(rest)

    def _cut(self, line: bytes) -> bytes:
        while len(line) > MAX_LINE:
            place = MAX_LINE
            while place > MAX_LINE - 4 and line[place] & 0xC0 == 0x80:
                place -= 1
            self._emit(line[:place])
            line = line[place:]
        return line


class Writer:
    """Writes one stream of a command as prefixed lines.

    Into a file or a pipe go the bytes as they are. On a terminal, what could move the
    cursor or change the title is spelt out; colours stay, up to the end of their line.
    """

    def __init__(self, file: TextIO, label: str) -> None:
        self._text = file  # which would close the other when it goes
        self._file: BinaryIO = file.buffer
        self._terminal = file.isatty()
        self._label = label.encode() + b" "
        self._cutter = LineCutter(self._write)

    def feed(self, data: bytes) -> None:
        """Write the lines that *data* completes."""
        self._cutter.feed(data)
        self._file.flush()

    def say(self, text: str) -> None:
        """Write a line of our own."""
        self._write(text.encode())
        self._file.flush()

    def close(self) -> None:
        """Write what stands behind the last newline."""
        self._cutter.close()
        self._file.flush()

    def _write(self, line: bytes) -> None:
        if self._terminal:
            line = visible(line.decode(errors="replace").rstrip("\r"), colours=True).encode()
        self._file.write(self._label + line + b"\n")


class _Interruption:
    """SIGINT and SIGTERM as the cancellation of a scope; a second one loses patience.

    Attributes:
        number: The first signal, None if there was none.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.sandbox: Sandbox | None = None
        self.number: signal.Signals | None = None
        self._closing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _CAUGHT:
            loop.add_signal_handler(number, self.happen, number)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._closing is not None:
            await self._closing
        loop = asyncio.get_running_loop()
        for number in _CAUGHT:
            loop.remove_signal_handler(number)

    def happen(self, number: signal.Signals) -> None:
        """End the commands; asked again, end them at once."""
        again = self.number is not None
        self.number = self.number or number
        self.scope.cancel()
        if again and number in _CAUGHT and self._closing is None and self.sandbox is not None:
            self._closing = asyncio.create_task(self.sandbox.aclose(grace=0))


def _interrupted(number: signal.Signals) -> int:
    if number is signal.SIGPIPE:
        # Nobody reads any more: what Python still holds must not be tried again at its exit.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for file in (sys.stdout, sys.stderr):
            os.dup2(nowhere, file.fileno())
        os.close(nowhere)
    else:
        print("interrupted: all commands are ended", file=sys.stderr)
    return _SIGNALED + number


def _shortened(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 60 else line[:57] + "..."
