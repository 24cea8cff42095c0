"""When a token is renewed: before it expires, after it was refused, and never in a storm."""

from __future__ import annotations

import attrs

__all__ = ["LEAST_LIFE", "MOST_MARGIN", "TokenLife"]

#: Seconds before its end from which on a token is renewed, for one that lives for long.
MOST_MARGIN = 300.0
#: A token that lives for fewer seconds is renewed when it is refused. So is one that seems to have
#: expired when it came: one of the two clocks is wrong.
LEAST_LIFE = 60.0
_SHARE = 0.1
_AGAIN = 30.0


@attrs.define
class TokenLife:
    """A token's times, by a clock that does not jump.

    Attributes:
        due: When it is to be renewed, None for only when it is refused.
        ends: When it expires, None where that is not known.
    """

    due: float | None = None
    ends: float | None = None

    @classmethod
    def of(cls, expires_at: float | None, *, wall: float, now: float) -> TokenLife:
        """Return the life of a token that has just come.

        Args:
            expires_at: Unix time at which it expires, as the far side says; None for not said.
            wall: Unix time now, by this side's clock.
            now: Seconds of the clock that does not jump.
        """
        life = -1.0 if expires_at is None else expires_at - wall
        if life < LEAST_LIFE:
            return cls()
        return cls(due=now + life - min(MOST_MARGIN, life * _SHARE), ends=now + life)

    def is_due(self, now: float) -> bool:
        """Whether it should be renewed before it is used again."""
        return self.due is not None and now >= self.due

    def failed(self, now: float) -> bool:
        """Note that it could not be renewed; return whether it is good nevertheless."""
        good = self.ends is not None and now < self.ends
        if good:
            self.due = now + _AGAIN
        return good
