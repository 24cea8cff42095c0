"""When to try again, and when to give up. No clock and no chance: both come as arguments."""

from __future__ import annotations

__all__ = ["GIVE_UP_AFTER", "Backoff"]

#: Seconds without an answer after which every stream and wait fails.
GIVE_UP_AFTER = 300.0


class Backoff:
    """Delays that double from *first* to *last* seconds, each spread by chance.

    The first retry is immediate: most losses are a restart or an idle cut.

    Attributes:
        failures: Failures in a row.
    """

    __slots__ = ("_first", "_give_up_after", "_last", "_since", "failures")

    def __init__(
        self, *, first: float = 0.05, last: float = 10.0, give_up_after: float = GIVE_UP_AFTER
    ) -> None:
        self._first = first
        self._last = last
        self._give_up_after = give_up_after
        self._since: float | None = None
        self.failures = 0

    def failed(self, now: float, chance: float) -> float | None:
        """Note a failure at *now* and return the seconds to wait, or None to give up.

        Args:
            now: Seconds of a clock that does not jump.
            chance: A random number from 0 to 1.
        """
        if self._since is None:
            self._since = now
        self.failures += 1
        left = self._since + self._give_up_after - now
        if left <= 0:
            return None
        if self.failures == 1:
            return 0.0
        # More doublings than this only overflow.
        delay = min(self._last, self._first * 2.0 ** min(self.failures - 2, 60))
        return min(left, delay * (0.5 + chance / 2))

    def succeeded(self) -> None:
        """Note a success: the next failure is the first again."""
        self._since = None
        self.failures = 0
