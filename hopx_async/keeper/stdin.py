"""The keeper's end of a command's stdin: what is sent, once and in order, however often asked."""

from __future__ import annotations

import collections
import contextlib
import os
import select

from hopx_async.protocol.lifecycle import STDIN_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hopx_async.keeper.loop import Loop

    Answer = Callable[[str | None, int], object]

__all__ = ["Stdin"]

# Who asked earlier is answered with what was written so far: they have mostly gone.
_MOST_WAITERS = 8
# What the terminal's line discipline takes for the end of the input.
_END_OF_TRANSMISSION = b"\x04"


class Stdin:
    """The writing end of one command's stdin.

    At most `STDIN_BYTES` wait for the command to read; whoever sends more is answered when
    there is room, and told how much was taken.

    Attributes:
        offset: How many bytes were taken so far.

    Args:
        loop: Where it waits for the command to read.
        fd: The writing end, which never blocks; closed by this object.
        terminal: Whether the end is a character to be typed.
    """

    __slots__ = (
        "_broken", "_data", "_ending", "_fd", "_loop", "_terminal", "_waiters", "_waiting",
        "offset",
    )  # fmt: skip

    def __init__(self, loop: Loop, fd: int, *, terminal: bool = False) -> None:
        self._loop = loop
        self._fd: int | None = fd
        self._terminal = terminal
        self.offset = 0
        self._data = b""
        self._ending = False
        self._broken = False
        self._waiting = False
        # Who waits for an answer: the offset told, and the bytes that must not wait any more.
        self._waiters: collections.deque[tuple[int, Answer]] = collections.deque()

    def take(self, offset: int | None, data: bytes, eof: bool, answer: Answer) -> None:
        """Take *data*, which begins at *offset*, as far as it is new and there is room for it.

        Args:
            offset: None only asks for the offset.
            data: At most `STDIN_BYTES`.
            eof: Whether the end follows behind *data*.
            answer: Called with None and the offset behind what was taken once that is with the
                command, or with the word of a problem and the offset.
        """
        if offset is None:
            answer(None, self.offset)
            return
        if offset > self.offset:
            answer("stdin_gap", self.offset)
            return
        new = data[self.offset - offset :]
        # What was taken may not have been read: that a repeated call is not told, either.
        if (new and self._ending) or (data and self._broken):
            answer("stdin_closed", self.offset)
            return
        taken = new[: STDIN_BYTES - len(self._data)]
        self._data += taken
        self.offset += len(taken)
        if eof and len(taken) == len(new):
            self._end_behind()
        self._waiters.append((self.offset, answer))
        self._write()
        if len(self._waiters) > _MOST_WAITERS:
            _, oldest = self._waiters.popleft()
            oldest(None, self.offset - len(self._data))

    def close(self) -> None:
        """Close it, as the command has ended; who waits is told. May be called again."""
        self._data = b""
        self._broken = True
        self._close()
        while self._waiters:
            self._waiters.popleft()[1]("stdin_closed", self.offset)

    def _end_behind(self) -> None:
        if not self._ending:
            self._ending = True
            if self._terminal:
                self._data += _END_OF_TRANSMISSION

    def _write(self) -> None:
        if self._data and self._fd is not None:
            try:
                self._data = self._data[os.write(self._fd, self._data) :]
            except BlockingIOError:
                pass
            except OSError:
                # Nobody holds the other end any more.
                self.close()
                return
        self._wait(bool(self._data))
        if not self._data:
            if self._ending:
                self._close()
            while self._waiters:
                offset, answer = self._waiters.popleft()
                answer(None, offset)

    def _wait(self, waiting: bool) -> None:
        if self._fd is None or waiting == self._waiting:
            return
        self._waiting = waiting
        if waiting:
            self._loop.add(self._fd, lambda _events: self._write(), select.EPOLLOUT)
        else:
            self._loop.remove(self._fd)

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                self._loop.close(fd)
