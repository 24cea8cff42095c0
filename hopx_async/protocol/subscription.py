"""One reader of one command on the client: what arrived for it and was not yet taken."""

# ruff: noqa: SLF001  # a link and its subscriptions are one thing in two files

from __future__ import annotations

from typing import TYPE_CHECKING

from hopx_async.model import Exit
from hopx_async.protocol.cursor import START, Position, print_cursor
from hopx_async.protocol.events import Event, EventReader, Lost

if TYPE_CHECKING:
    from hopx_async.protocol.link import Link

__all__ = ["FIRST_WINDOW", "LAST_WINDOW", "Asking", "Subscription"]

#: Log bytes that one subscription holds at first, at most.
FIRST_WINDOW = 128 * 1024
#: Log bytes that one subscription holds at most once it is read as fast as they come.
LAST_WINDOW = 1024 * 1024


class Asking:
    """One asking of a subscription on one feed.

    Attributes:
        ask: Its number, never used again.
        feed: The connection it was sent on.
        granted: Log bytes that may be sent on it, counted from its beginning.
        received: Log bytes that came on it.
        end: Log offset behind what came on it.
        over: Whether the far side has forgotten it, since nothing follows.
    """

    __slots__ = ("ask", "end", "feed", "granted", "over", "received", "subscription")

    def __init__(self, ask: int, feed: int, subscription: Subscription) -> None:
        self.ask = ask
        self.feed = feed
        self.subscription = subscription
        self.granted = 0
        self.received = 0
        self.end = 0
        self.over = False


class Subscription:
    """One reader of one command: what arrived for it and was not yet taken.

    Made by `Link.subscribe`.

    Attributes:
        process_id: The command.
        output: Whether output is read; otherwise only the end.
        error: Why nothing more comes, None while something may.
        done: Whether nothing more comes and nothing is left to take.
        parked: Whether its buffer was dropped for the budget; it asks again when taken from.
    """

    __slots__ = (
        "_askings", "_fate", "_link", "_lost", "_most", "_over", "_reader", "_start", "_widened",
        "_window", "done", "error", "output", "parked", "process_id",
    )  # fmt: skip

    def __init__(
        self,
        link: Link,
        process_id: str,
        position: Position,
        *,
        output: bool,
        most: int = LAST_WINDOW,
    ) -> None:
        self._link = link
        self._most = most
        self._start = position.offset
        self._reader = EventReader(process_id, position) if output else None
        self._fate: Event | None = None
        self._window = min(FIRST_WINDOW, most)
        # How far the log had come when the window became what it is.
        self._widened = position.offset
        self._askings: tuple[Asking, ...] = ()
        # The far side said that nothing follows, or that it knows the command no more.
        self._over = False
        self._lost = False
        self.process_id = process_id
        self.output = output
        self.error: BaseException | None = None
        self.done = False
        self.parked = False

    @property
    def position(self) -> Position:
        """Behind the last event taken."""
        return START if self._reader is None else self._reader.position

    @property
    def buffered(self) -> int:
        """Log bytes that arrived and were not taken."""
        return 0 if self._reader is None else self._reader.pending

    @property
    def fed(self) -> int:
        """Log offset behind what arrived."""
        return 0 if self._reader is None else self._reader.fed

    def take(self) -> Event | None:
        """Return the next event, or None: then look at `done` and `error`, or wait for news."""
        if self.done:
            return None
        if self._reader is not None:
            return self._link._take(self, self._reader)
        if self._lost:
            return self._lose()
        if self._fate is not None:
            self.close()
        return self._fate

    def close(self) -> None:
        """Forget it: nothing is sent or kept for it any more. Closing twice does nothing."""
        self.done = True
        self._link._forget(self)

    def _widen(self, fed: int) -> None:
        """Let more be under way if a whole window came and was read as fast as it came."""
        if fed - self._widened >= self._window < self._most:
            self._window = min(2 * self._window, self._most)
            self._widened = fed

    def _park(self) -> int:
        """Drop what arrived and was not taken, and return how many bytes that was."""
        dropped = self.buffered
        if self._reader is not None:
            self._reader.rewind()
        self._window = min(FIRST_WINDOW, self._most)
        self._widened = self.position.offset
        self._over = False
        self.parked = True
        return dropped

    def _lose(self) -> Lost:
        cursor = print_cursor(self.process_id, self.position)
        at = 0.0 if self._reader is None else self._reader.at
        self.close()
        return Lost(process_id=self.process_id, cursor=cursor, at=at, exit=Exit(reason="lost"))
