"""How fast to ask a far side that only answers: within its limit, no faster than useful."""

from __future__ import annotations

__all__ = [
    "BURST",
    "DEFAULT_RETRY_AFTER",
    "FIRST_TICK",
    "LAST_TICK",
    "REQUESTS_PER_SECOND",
    "Pace",
    "RateBudget",
]

#: Requests to one sandbox's agent in a second: below the published 300 a minute.
REQUESTS_PER_SECOND = 4.5
#: Requests that may follow one another at once after a rest.
BURST = 20
#: Seconds between two polls while there are news.
FIRST_TICK = 0.25
#: Seconds between two polls when there have been none for long.
LAST_TICK = 3.0
#: Seconds to be quiet after a refusal that does not say for how long.
DEFAULT_RETRY_AFTER = 1.0
_SLOWER = 1.5


class RateBudget:
    """Requests that may be made, refilled steadily: one bucket for all that goes to one far side.

    Args:
        per_second: How fast it refills.
        burst: How much it holds.
    """

    __slots__ = ("_burst", "_closed_until", "_free_at", "_interval")

    def __init__(self, *, per_second: float = REQUESTS_PER_SECOND, burst: int = BURST) -> None:
        self._interval = 1.0 / per_second
        self._burst = burst
        # When the bucket is full again, if nothing more is taken.
        self._free_at = 0.0
        self._closed_until = 0.0

    def take(self, now: float) -> float:
        """Take one request, and return the seconds to wait until it may be made."""
        full_at = max(self._free_at, now, self._closed_until)
        self._free_at = full_at + self._interval
        wait = self._free_at - now - self._burst * self._interval
        return max(0.0, wait, self._closed_until - now)

    def refused(self, now: float, retry_after: float) -> None:
        """Note that the far side wants to hear nothing for so many seconds."""
        self._closed_until = max(self._closed_until, now + retry_after)


class Pace:
    """When to poll again: soon after something happened, ever later while nothing does."""

    __slots__ = ("_delay",)

    def __init__(self) -> None:
        self._delay = FIRST_TICK

    def hurry(self) -> None:
        """Note that something happened, or is about to."""
        self._delay = FIRST_TICK

    def after(self, *, news: bool) -> float:
        """Return the seconds until the next poll, after one with or without news."""
        if news:
            self._delay = FIRST_TICK
        delay = self._delay
        self._delay = min(LAST_TICK, delay * _SLOWER)
        return delay
