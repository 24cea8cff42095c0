"""Reading commands' events on the agent's own side, from their logs on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Generator
from contextlib import contextmanager

from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol.cursor import START, Position
from hopx_async.protocol.events import Event, EventReader
from hopx_async.protocol.peer import LogSource

__all__ = ["Follower", "Followers"]

_PIECE = 128 * 1024


class Follower:
    """The events of one command, read as they come; holds one piece of its log at most.

    Args:
        logs: What is read.
        process_id: The command.
        position: Where to begin.
    """

    def __init__(self, logs: LogSource, process_id: str, position: Position = START) -> None:
        self._logs = logs
        self._process_id = process_id
        self._start = position.offset
        self._reader = EventReader(process_id, position)
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Note that the log has grown, ended, or been fetched."""
        self._bell.set()

    async def next(self, until: int | None = None) -> Event | None:
        """Return the next event; None behind the last, or once log offset *until* is read.

        Cancelling it is safe: nothing is lost.

        Raises:
            RemoteProtocolError: If the log is damaged.
        """
        while True:
            event = self._reader.read()
            if event is not None or self._reader.ended:
                return event
            if until is not None and self._reader.fed >= until:
                return None
            self._bell.clear()
            piece = self._logs.read(self._process_id, self._reader.fed, _PIECE)
            if piece is not None:
                self._reader.feed(*piece)
                await asyncio.sleep(0)  # whoever prints without end holds up nobody else
                continue
            end = self._logs.end(self._process_id)
            if end is None:
                return None
            if self._logs.over(self._process_id) and self._reader.fed >= end:
                if self._reader.fed == self._start:
                    return None
                problem = f"the log of {self._process_id} is damaged: it is over without an end"
                raise RemoteProtocolError(problem)
            await self._bell.wait()


class Followers:
    """All followers, to be told of news.

    Args:
        logs: What they read.
    """

    def __init__(self, logs: LogSource) -> None:
        self._logs = logs
        self._open: dict[str, set[Follower]] = {}

    def news(self, process_ids: Collection[str]) -> None:
        """Tell the followers of these commands that there is something new."""
        for process_id in process_ids:
            for follower in self._open.get(process_id, ()):
                follower.ring()

    @contextmanager
    def follow(self, process_id: str, position: Position = START) -> Generator[Follower]:
        """Follow a command within the block."""
        follower = Follower(self._logs, process_id, position)
        followers = self._open.setdefault(process_id, set())
        followers.add(follower)
        try:
            yield follower
        finally:
            followers.discard(follower)
            if not followers and self._open.get(process_id) is followers:
                del self._open[process_id]
