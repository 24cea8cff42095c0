"""``hopx-async exec --pty``: the terminal here, lent to a command that runs elsewhere."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import ModuleType

import anyio
import anyio.to_thread

from hopx_async.cli.intake import Intake, intake
from hopx_async.cli.interrupt import PATIENCE
from hopx_async.errors import InvalidArgument, StdinClosed, Unsupported
from hopx_async.handle import CommandHandle
from hopx_async.spec import TERMINAL_SIZE

__all__ = ["Terminal"]

# Most keys that are read at a time; a paste is more than one turn.
_KEYS = 4096
# Most keys that are kept while nothing gets there; the terminal holds what comes after them.
_KEPT_BYTES = 64 * 1024
# Seconds after which keys that have not got there are taken to hang.
_HANGING_SECONDS = 1.0
_DESPAIR = b"\x03" * 3


class Terminal:
    """The terminal that stdin is: its keys go to a command, the command's bytes to stdout.

    Raises:
        InvalidArgument: If stdin is no terminal.
        Unsupported: If this platform has none of this kind.
    """

    def __init__(self) -> None:
        self._modes = _modules()
        self._keys = _descriptor()
        self._kept = self._modes[0].tcgetattr(self._keys)
        self._typed = b""

    def size(self) -> tuple[int, int]:
        """Return its rows and columns; the usual ones where it does not tell."""
        columns, rows = os.get_terminal_size(self._keys)
        return (rows, columns) if rows and columns else TERMINAL_SIZE

    async def lend(self, handle: CommandHandle) -> None:
        """Send each key and each new size to a command, until cancelled.

        Meanwhile the terminal is raw: Ctrl-C and its like are bytes for the command. It is as
        it was when this ends, however that is. While keys do not get there, three times Ctrl-C
        in a row ends this program. Cancelling it is safe: a key that was read and not sent is lost.

        Raises:
            BrokenPipeError: If the terminal has gone.
            HopxError: As for `CommandHandle.send_stdin` and `CommandHandle.resize`.
        """
        with self._raw() as changed, intake(self._keys) as typed:
            async with anyio.create_task_group() as group:
                group.start_soon(self._follow_size, handle, changed)
                await self._pass_keys(handle, typed)

    async def show(self, data: bytes) -> None:
        """Write output as it is; a terminal that takes nothing holds up nobody else.

        If cancelled, a part of *data* may still be written.

        Raises:
            BrokenPipeError: If nobody reads it any more.
        """
        await anyio.to_thread.run_sync(_write, data, abandon_on_cancel=True)

    @contextmanager
    def _raw(self) -> Generator[asyncio.Event]:
        """Make it raw; yields what is set whenever it may have another size."""
        termios, tty = self._modes
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        changed.set()  # it may have been resized since the command was started

        def resumed() -> None:
            tty.setraw(self._keys, termios.TCSANOW)  # the shell had it meanwhile
            changed.set()

        # SIGQUIT would end this program without a finally.
        loop.add_signal_handler(signal.SIGQUIT, os.kill, os.getpid(), signal.SIGTERM)
        loop.add_signal_handler(signal.SIGWINCH, changed.set)
        loop.add_signal_handler(signal.SIGCONT, resumed)
        try:
            # TCSANOW: what was typed ahead is not thrown away, nor anything waited for.
            tty.setraw(self._keys, termios.TCSANOW)
            yield changed
        finally:
            loop.remove_signal_handler(signal.SIGCONT)
            loop.remove_signal_handler(signal.SIGWINCH)
            loop.remove_signal_handler(signal.SIGQUIT)
            with suppress(termios.error):  # it has gone
                termios.tcsetattr(self._keys, termios.TCSANOW, self._kept)

    async def _follow_size(self, handle: CommandHandle, changed: asyncio.Event) -> None:
        while True:
            await changed.wait()
            changed.clear()
            await handle.resize(*self.size())

    async def _pass_keys(self, handle: CommandHandle, typed: Intake) -> None:
        try:
            while True:
                keys, self._typed = self._typed or await _read(typed), b""
                async with anyio.create_task_group() as group:
                    group.start_soon(self._listen_to_despair, typed)
                    await handle.send_stdin(keys)
                    group.cancel_scope.cancel()
        except* StdinClosed:
            pass
        await anyio.sleep_forever()  # it is ending: what it says last is still shown

    async def _listen_to_despair(self, typed: Intake) -> None:
        await anyio.sleep(_HANGING_SECONDS)
        while len(self._typed) < _KEPT_BYTES:
            self._typed += await _read(typed)
            if self._typed.endswith(_DESPAIR):
                for _ in range(PATIENCE + 1):  # as if it were typed without --pty
                    os.kill(os.getpid(), signal.SIGINT)
                return


async def _read(typed: Intake) -> bytes:
    with _gone_is_broken():
        keys = await typed.read(_KEYS)
    if not keys:
        raise BrokenPipeError(errno.EPIPE, "the terminal has gone")
    return keys


def _modules() -> tuple[ModuleType, ModuleType]:
    try:
        import termios  # only here: the rest can be imported anywhere
        import tty
    except ImportError:
        raise Unsupported(f"--pty needs a terminal as Unix has it, not {sys.platform}") from None
    return termios, tty


def _descriptor() -> int:
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        descriptor = -1  # there is none
    if descriptor < 0 or not os.isatty(descriptor):
        raise InvalidArgument("--pty", "True", "stdin is no terminal here; leave it out")
    return descriptor


def _write(data: bytes) -> None:
    rest = memoryview(data)
    with _gone_is_broken():
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]


@contextmanager
def _gone_is_broken() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise BrokenPipeError(errno.EPIPE, "the terminal has gone") from error
