"""``hopx-async run``: commands at once, their output as prefixed lines, a summary."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from hopx_async.errors import HopxError, SpawnError
from hopx_async.model import Exit
from hopx_async.protocol.events import Exited, Lost, Stderr, Stdout, Truncated
from hopx_async.providers.local import local
from hopx_async.sandbox import Sandbox

__all__ = ["INTERRUPTED", "LineCutter", "exit_status", "run_all"]

#: The shell's word for a program that Ctrl-C ended.
INTERRUPTED = 130
_TIMED_OUT, _NOT_STARTED, _LOST = 124, 127, 125
_CAUGHT = (signal.SIGINT, signal.SIGTERM)
# A line longer than this is printed in pieces.
_MAX_LINE = 64 * 1024


async def run_all(
    commands: list[str],
    *,
    timeout: float | None,  # noqa: ASYNC109  # the far side's limit
) -> int:
    """Run *commands* at once, print their output line by line, and return the exit status.

    Raises:
        InvalidArgument: If a command or the timeout breaks a rule; nothing was started.
    """
    fates: list[Exit | HopxError | None] = [None] * len(commands)
    width = len(str(len(commands)))

    async def follow(sandbox: Sandbox, index: int) -> None:
        label = f"[{index + 1:>{width}}]"
        try:
            fates[index] = await _follow(sandbox, commands[index], label, timeout)
        except SpawnError as error:
            fates[index] = error

    with _Interruption() as interruption:
        async with local(workspace=Path.cwd()) as sandbox:
            interruption.sandbox = sandbox
            with interruption.scope:
                async with anyio.create_task_group() as group:
                    for index in range(len(commands)):
                        group.start_soon(follow, sandbox, index)
    if interruption.scope.cancelled_caught:
        print("interrupted: all commands are ended", file=sys.stderr)
        return INTERRUPTED
    for index, (command, fate) in enumerate(zip(commands, fates, strict=True)):
        print(f"[{index + 1:>{width}}] {_shortened(command)}: {fate}", file=sys.stderr)
    return next((status for fate in fates if (status := exit_status(fate)) != 0), 0)


async def _follow(
    sandbox: Sandbox,
    command: str,
    label: str,
    timeout: float | None,  # noqa: ASYNC109  # the far side's limit
) -> Exit:
    handle = await sandbox.commands.start(command, timeout=timeout)
    out = LineCutter(lambda line: print(f"{label} {line}", flush=True))
    err = LineCutter(lambda line: print(f"{label} {line}", file=sys.stderr, flush=True))
    async for event in handle.events():
        if isinstance(event, Stdout):
            out.feed(event.data)
        elif isinstance(event, Stderr):
            err.feed(event.data)
        elif isinstance(event, Truncated):
            lost = event.stdout_bytes + event.stderr_bytes
            print(f"{label} ({lost} bytes were freed before they were read)", file=sys.stderr)
        elif isinstance(event, (Exited, Lost)):
            out.close()
            err.close()
    return await handle.wait()


def exit_status(fate: Exit | HopxError | None) -> int:
    """Return a shell's exit status for how a command ended."""
    if not isinstance(fate, Exit):
        return _NOT_STARTED
    if fate.reason == "timed_out":
        return _TIMED_OUT
    if fate.signal is not None:
        return 128 + getattr(signal, fate.signal, 0)
    if fate.exit_code is not None:
        return fate.exit_code if fate.reason == "exited" else fate.exit_code or 1
    return _LOST


class LineCutter:
    """Cuts bytes into lines and hands each on as text; holds at most one line, bounded."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Add bytes; whole lines are handed on."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line.decode(errors="replace"))
        while len(self._rest) > _MAX_LINE:
            self._emit(self._rest[:_MAX_LINE].decode(errors="replace"))
            self._rest = self._rest[_MAX_LINE:]

    def close(self) -> None:
        """Hand on what stands behind the last newline."""
        if self._rest:
            self._emit(self._rest.decode(errors="replace"))
            self._rest = b""


class _Interruption:
    """SIGINT and SIGTERM as the cancellation of a scope; a second one loses patience."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.sandbox: Sandbox | None = None
        self._count = 0
        self._closing: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _CAUGHT:
            loop.add_signal_handler(number, self._caught)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in _CAUGHT:
            loop.remove_signal_handler(number)

    def _caught(self) -> None:
        self._count += 1
        self.scope.cancel()
        if self._count == 2 and self.sandbox is not None:
            self._closing = asyncio.create_task(self.sandbox.aclose(grace=0))


def _shortened(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 60 else line[:57] + "..."
