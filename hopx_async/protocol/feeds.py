"""Which feed is next: the socket, or the long-poll where sockets are blocked.

The socket comes first.  Where something on the way refuses it, or it failed twice
without a word from the agent, the long-poll is tried; if that fails as well it is an
outage, and the socket is next again.  While the long-poll serves, the socket is
probed from time to time.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["PROBE_FIRST", "PROBE_LAST", "Feed", "Feeds"]

#: What carries a link. Between markers and anything else there is no choice: they are the one
#: feed where the agent is none of ours.
Feed: TypeAlias = Literal["socket", "poll", "markers"]

#: Seconds of long-poll after which the socket is tried again for the first time.
PROBE_FIRST = 2.0
#: Seconds between later probes, which come ever more rarely, at most.
PROBE_LAST = 600.0
# Failures of the socket in a row, of whatever kind, after which something may be in the way.
_ENOUGH = 2


class Feeds:
    """The choice between the feeds of one sandbox.

    Args:
        polls: Whether there is a long-poll at all.

    Attributes:
        next: What to try next.
    """

    __slots__ = ("_failures", "_polls", "_probe", "_refused", "_told", "next")

    def __init__(self, *, polls: bool) -> None:
        self._polls = polls
        self._failures = 0
        self._probe = PROBE_FIRST
        self._refused = False
        self._told = False
        self.next: Feed = "socket"

    def refused(self) -> bool:
        """Note that something on the way refuses sockets; False: there is nothing else."""
        if self._polls:
            self.next = "poll"
            self._refused = True
        return self._polls

    def failed(self) -> None:
        """Note that what was tried came to nothing."""
        if self.next == "poll":
            self.next = "socket"
            self._failures = 0
            self._refused = False
            return
        self._failures += 1
        if self._polls and self._failures >= _ENOUGH:
            self.next = "poll"

    def opened(self) -> bool:
        """Note that the agent greeted; True: it is now to be told, once, that sockets are blocked.

        What is up stays the choice: a lost connection is made anew in the same way.
        """
        self._failures = 0
        if self.next == "socket":
            self._probe = PROBE_FIRST
        return self._refused and self._tell()

    def probe_after(self) -> float:
        """Return the seconds to wait until the socket is probed, each time longer."""
        delay = self._probe
        self._probe = min(2 * delay, PROBE_LAST)
        return delay

    def probe_failed(self) -> bool:
        """Note that the socket fails while the long-poll works; True as for `opened`."""
        return self._tell()

    def probed(self) -> None:
        """Note that a probe found the socket open again."""
        self.next = "socket"
        self._refused = False

    def _tell(self) -> bool:
        told, self._told = self._told, True
        return not told
