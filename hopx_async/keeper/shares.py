"""What each keeper may keep of what the sandbox may, by what all of them hold."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    Message = dict[str, Any]

__all__ = ["Shares"]

# A keeper goes on while the root has not heard of it: of so many parts of the whole, one more.
_SPARE = 25
_LEAST_SPARE = 4
_NOTHING: Message = {"commands": 0, "bytes": 0, "forgotten": 0, "oldest": None}


class Shares:
    """Divides the bounds of a sandbox among its keepers, so that the oldest goes first.

    Each may keep what the others leave. Where they hold more than the sandbox may keep,
    whoever holds the commands that ended first forgets some; where none has ended, the
    largest frees output of those that run.

    Together they hold a twenty-fifth more than the bound at most, or four commands, and what is
    written until the root has heard of it. Only while one of them does not answer, it may be up
    to twice the bound: an even share stays with each.

    Args:
        commands: Commands that the sandbox keeps after their end.
        log_bytes: Log bytes that it keeps in all.
    """

    def __init__(self, commands: int, log_bytes: int) -> None:
        self._most = {"commands": commands, "bytes": log_bytes}
        self._held: dict[int, Message] = {}

    def add(self, number: int) -> None:
        """Count a keeper in; what one before it has told still holds."""
        self._held.setdefault(number, _NOTHING)

    def told(self, number: int, held: Message) -> None:
        """Take note of what a keeper holds.

        Args:
            number: The keeper's.
            held: Its ``commands`` that have ended, ``bytes`` of all its logs, how many it has
                ``forgotten`` so far, and of its ``oldest`` few how many they are and when the
                last of them ended (None if none has).
        """
        self._held[number] = held

    def of_all(self, able: Collection[int]) -> dict[int, Message]:
        """Return every keeper's share, as it is told.

        Args:
            able: Those that can give way: the others do not answer now.
        """
        over = {name: self._sum(name) - most for name, most in self._most.items()}
        shares = {
            number: {f"keep_{name}": self._share(held, over, name) for name in over} | {"until": 0}
            for number, held in self._held.items()
        }
        if len(shares) > 1 and max(over.values()) > 0:
            self._give_way(shares, over, able)
        return shares

    def _give_way(
        self, shares: dict[int, Message], over: dict[str, int], able: Collection[int]
    ) -> None:
        held = self._held
        with_ended = [number for number in able if held[number]["oldest"] is not None]
        if with_ended:
            number = min(with_ended, key=lambda one: float(held[one]["oldest"][1]))
            few: int = held[number]["oldest"][0]
            # How many commands the bytes are that are too many is not known: few enough.
            few = few if over["bytes"] > 0 else min(few, over["commands"])
            shares[number]["until"] = held[number]["forgotten"] + few
        elif able and over["bytes"] > 0:
            number = max(able, key=lambda one: int(held[one]["bytes"]))
            least = held[number]["bytes"] - over["bytes"]
            shares[number]["keep_bytes"] = max(least, self._even("bytes"))

    def _share(self, held: Message, over: dict[str, int], name: str) -> int:
        if len(self._held) == 1:
            return self._most[name]
        room = max(_LEAST_SPARE, self._most[name] // _SPARE) - over[name]
        return int(max(held[name] + max(0, room), self._even(name)))

    def _even(self, name: str) -> int:
        return max(1, self._most[name] // len(self._held))

    def _sum(self, name: str) -> int:
        return sum(held[name] for held in self._held.values())
