"""Output held in memory, up to a bound, or cut in the middle."""

from __future__ import annotations

from hopx_async.protocol.events import Event, Stderr, Stdout, Truncated
from hopx_async.protocol.text import whole_characters

__all__ = ["Collector", "HeadTail", "TooMuch", "marker"]


class TooMuch(Exception):  # it never reaches a user: the handle raises in its place
    """A stream is longer than the bound. The argument is its name."""


def marker(cut_bytes: int) -> bytes:
    """Return what stands in an output from which *cut_bytes* were cut."""
    return b"\n[... %d bytes cut ...]\n" % cut_bytes


class HeadTail:
    """The first and the last bytes of a stream; what was in between is only counted.

    Args:
        max_bytes: The most bytes to hold, the marker not counted.
    """

    def __init__(self, max_bytes: int) -> None:
        self._head_bytes = (max_bytes + 1) // 2
        self._tail_bytes = max_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Take more of the stream."""
        room = self._head_bytes - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room < len(data) else b""
        # Cut now and then, not each time: moving a tail costs its length.
        if len(self._tail) > 2 * self._tail_bytes + 65536:
            self._cut_tail()

    def bytes(self) -> bytes:
        """Return what is held, with a marker where something was cut; no character is cut."""
        self._cut_tail()
        head, tail = bytes(self._head), bytes(self._tail)
        if not self._dropped:
            return head + tail
        end = whole_characters(head, len(head))
        begin = next((place for place in range(min(4, len(tail))) if tail[place] & 0xC0 != 0x80), 0)
        return head[:end] + marker(self._dropped + len(head) - end + begin) + tail[begin:]

    def _cut_tail(self) -> None:
        excess = len(self._tail) - self._tail_bytes
        if excess > 0:
            del self._tail[:excess]
            self._dropped += excess


class Collector:
    """Both streams of a command, from its events.

    Args:
        max_bytes: The most bytes of each stream to hold.
        cut: Whether a longer stream keeps its head and tail; else `TooMuch` is raised.

    Attributes:
        lost_bytes: Bytes that retention had freed before they were read.
    """

    def __init__(self, max_bytes: int, *, cut: bool = False) -> None:
        self._max_bytes = max_bytes
        self._cut = cut
        self._sizes = {"stdout": 0, "stderr": 0}
        # Held whole, it is all head.
        self._held = {name: HeadTail(max_bytes if cut else 2 * max_bytes) for name in self._sizes}
        self.lost_bytes = 0

    @property
    def stdout(self) -> bytes:
        """What was held of stdout."""
        return self._held["stdout"].bytes()

    @property
    def stderr(self) -> bytes:
        """What was held of stderr."""
        return self._held["stderr"].bytes()

    def add(self, event: Event) -> None:
        """Take an event.

        Raises:
            TooMuch: If a stream is longer than the bound and is not to be cut.
        """
        if isinstance(event, (Stdout, Stderr)):
            self._sizes[event.type] += len(event.data)
            if not self._cut and self._sizes[event.type] > self._max_bytes:
                raise TooMuch(event.type)
            self._held[event.type].add(event.data)
        elif isinstance(event, Truncated):
            self.lost_bytes += event.stdout_bytes + event.stderr_bytes
