"""The keeper's end of what a command writes to: a pipe, or a terminal."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class _Taker(Protocol):
        """Who takes what is read."""

        def output(self, kind: int, data: memoryview) -> None: ...
        def pipe_ended(self, pipe: Pipe) -> None: ...


__all__ = ["READ_BYTES", "Pipe"]

#: The most that is read of one pipe in a turn of the loop, so that a hot one is fair to others.
READ_BYTES = 1024 * 1024
# A read of so much says that the stream is hot and deserves a big pipe.
_HOT_READ = 32 * 1024
_F_SETPIPE_SZ = 1031


class Pipe:
    """The reading end of one of a command's outputs; called with what it is ready for.

    (It is its own handler: bound methods of the pipes would be a tenth of a keeper's memory.)

    Args:
        taker: Its command.
        buffer: Where every read goes; shared.
        fd: The descriptor, which never blocks.
        kind: The kind of record that its data become.
        terminal: Whether it is the master of a terminal, which is read in small pieces and says
            by an error that nobody holds the other end.
    """

    __slots__ = ("_big", "_buffer", "_taker", "_terminal", "fd", "kind")

    def __init__(
        self, taker: _Taker, buffer: memoryview, fd: int, kind: int, *, terminal: bool = False
    ) -> None:
        self._taker = taker
        self._buffer = buffer
        self.fd = fd
        self.kind = kind
        self._terminal = terminal
        self._big = terminal

    def __call__(self, events: int) -> None:
        """Read what is there, once."""
        buffer = self._buffer
        try:
            size = os.readv(self.fd, [buffer])
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            size = 0
        if size:
            if size >= _HOT_READ and not self._big:
                self._grow()
            self._taker.output(self.kind, buffer[:size])
            # With no writer left, a read that leaves room has taken the last byte of a pipe.
            if self._terminal or size == len(buffer) or not events & select.EPOLLHUP:
                return
        self._taker.pipe_ended(self)

    def _grow(self) -> None:
        self._big = True
        # It works with a small pipe, too, if the user's quota of pipe pages is used up.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.fd, _F_SETPIPE_SZ, READ_BYTES)
