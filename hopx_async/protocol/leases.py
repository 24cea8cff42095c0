"""Who may hold a command's output back: the readers of one log, decided without a clock.

A command that was started with ``overflow="wait"`` is not read from while a reader needs
what would have to be freed for it.  A reader has a lease, renewed only while it moves or
has read everything; when the lease is over, it holds nothing back any more.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from hopx_async.protocol.lifecycle import LEASE_SECONDS

__all__ = ["LEASE_STEP", "Hold", "Leases"]

#: Log bytes that a reader has to move for its lease to be renewed, where not so much is kept.
LEASE_STEP = 1024 * 1024


class Hold(NamedTuple):
    """What the log's writer is told: free nothing from *offset* on for so many *seconds*."""

    offset: int
    seconds: float


class _Reader:
    __slots__ = ("mark", "offset", "until")

    def __init__(self, offset: int, until: float) -> None:
        self.offset = self.mark = offset
        self.until = until


class Leases:
    """The leases on one log.

    Args:
        kept: Log bytes that are kept of the command.
    """

    def __init__(self, kept: int) -> None:
        # The writer stops when it is half of what is kept ahead of what it was told.
        self._step = max(1, min(LEASE_STEP, kept // 8))
        self._readers: dict[Hashable, _Reader] = {}
        self._told: tuple[int, float] | None = None

    def __len__(self) -> int:
        return len(self._readers)

    def join(self, reader: Hashable, offset: int, now: float) -> None:
        """Take note of a new reader that stands at *offset*."""
        self._readers[reader] = _Reader(offset, now + LEASE_SECONDS)

    def moved(self, reader: Hashable, offset: int, end: int, now: float) -> None:
        """Take note of how far a reader has got in a log of *end* bytes."""
        one = self._readers.get(reader)
        if one is not None:
            one.offset = offset
            if offset - one.mark >= self._step or offset >= end:
                one.mark = offset
                one.until = now + LEASE_SECONDS

    def look(self, end: int, now: float) -> None:
        """Renew the leases of those who have read all of the *end* bytes; ask now and then."""
        for one in self._readers.values():
            if one.offset >= end:
                one.until = now + LEASE_SECONDS

    def leave(self, reader: Hashable) -> None:
        """Forget a reader."""
        self._readers.pop(reader, None)

    def due(self, now: float) -> Hold | None:
        """Return what the writer is to be told now, None if it knows enough."""
        living = [one for one in self._readers.values() if one.until > now]
        if not living:
            told, self._told = self._told, None
            return None if told is None else Hold(0, 0.0)
        offset = min(one.offset for one in living)
        until = max(one.until for one in living)
        if self._told is not None:
            known, known_until = self._told
            near = 0 <= offset - known < self._step
            if near and until - known_until < LEASE_SECONDS / 4:
                return None
        self._told = (offset, until)
        return Hold(offset, until - now)
