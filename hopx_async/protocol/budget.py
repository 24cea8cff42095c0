"""Who holds bytes, and who gives way when all together hold too many."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PATIENCE", "Holders"]

#: Frames within which a reader that has reason to look is expected to.
PATIENCE = 64
T = TypeVar("T")


class Holders(Generic[T]):
    """Those that hold bytes, and the order in which they give way.

    First go those that could take something and did not look for long, the one idle
    longest first. If all are awake, the newest goes: so the oldest gets the rest of
    its record, and nobody is thrown back for ever.
    """

    __slots__ = ("_frames", "_held", "_rung")

    def __init__(self) -> None:
        self._held: dict[T, None] = {}
        # Those that have reason to look, and the frame since when they have not.
        self._rung: OrderedDict[T, int] = OrderedDict()
        self._frames = 0

    def __len__(self) -> int:
        return len(self._held)

    def received(self, holder: T) -> None:
        """Note that *holder* got bytes."""
        self._held.setdefault(holder)

    def rung(self, holders: Iterable[T]) -> None:
        """Note that a frame gave *holders* reason to look. Frames are the only clock here."""
        self._frames += 1
        for holder in holders:
            if holder in self._held:
                self._rung.setdefault(holder, self._frames)

    def looked(self, holder: T, *, took: bool, empty: bool) -> None:
        """Note that *holder* looked, whether it took something, and whether nothing is left."""
        self._rung.pop(holder, None)
        if took or empty:
            self._held.pop(holder, None)
        if not empty:
            self._held.setdefault(holder)
            if took:
                self._rung[holder] = self._frames

    def remove(self, holder: T) -> None:
        """Forget *holder*."""
        self._held.pop(holder, None)
        self._rung.pop(holder, None)

    def give_way(self) -> T | None:
        """Remove and return the one that gives way, None if there is at most one."""
        if len(self) <= 1:
            return None
        idle, frame = next(iter(self._rung.items()), (None, self._frames))
        if idle is None or self._frames - frame < PATIENCE:
            idle = next(reversed(self._held))
        self.remove(idle)
        return idle
