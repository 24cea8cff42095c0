"""Questions that come together, asked in one request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from hopx_async.errors import ClosedError
from hopx_async.protocol.marker_answers import Facts, Line, Total
from hopx_async.protocol.markers import MAX_BATCH, MAX_BATCH_BYTES

__all__ = ["LANES", "Batches"]

#: Requests of one kind that are under way at a time.
LANES = 3
_Item = TypeVar("_Item")


class _Asked(NamedTuple, Generic[_Item]):
    key: str
    item: _Item
    size: int
    answer: asyncio.Future[list[Line]]


class Batches(Generic[_Item]):
    """Collects what is asked within one turn of the loop, or while requests are under way.

    Args:
        send: Makes one request of items by their keys, and returns its answer.
    """

    def __init__(self, send: Callable[[Mapping[str, _Item]], Awaitable[list[Line]]]) -> None:
        self._send = send
        self._queue: deque[_Asked[_Item]] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._sent: dict[asyncio.Future[None], frozenset[str]] = {}
        self._closed = False

    async def ask(self, key: str, item: _Item, size: int) -> list[Line]:
        """Return the lines of the answer that are about *key*. Cancelling it is safe.

        Args:
            key: The command.
            item: What is asked of it.
            size: Bytes that it takes in a request.

        Raises:
            ClosedError: If nothing is asked any more.
            HopxError: Why its request has no answer.
        """
        if self._closed:
            raise ClosedError("the sandbox is closed")
        answer: asyncio.Future[list[Line]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Asked(key, item, size, answer))
        # One that has just ended takes nothing more, and is discarded only a turn later.
        if sum(not lane.done() for lane in self._lanes) < LANES:
            lane = asyncio.create_task(self._work())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return await answer

    async def settled(self, key: str) -> None:
        """Return once nothing that was asked of *key* before is under way. Cancelling it is safe.

        For what must not overtake it: of a question whose asker has gone, too.
        """
        waiting: list[asyncio.Future[Any]] = []
        waiting += [asked.answer for asked in self._queue if asked.key == key]
        waiting += [request for request, keys in self._sent.items() if key in keys]
        if waiting:
            await asyncio.wait(waiting)

    async def aclose(self) -> None:
        """Ask nothing any more. What was sent may be carried out all the same."""
        self._closed = True
        lanes = list(self._lanes)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        for asked in self._queue:
            _fail(asked.answer, ClosedError("the sandbox is closed"))

    async def _work(self) -> None:
        await asyncio.sleep(0)  # let those who ask in this turn come along
        while batch := self._next():
            request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sent[request] = frozenset(batch)
            try:
                lines = await self._send({key: asked.item for key, asked in batch.items()})
            except BaseException as error:
                mine = isinstance(error, Exception)
                for asked in batch.values():
                    _fail(asked.answer, error if mine else ClosedError("the sandbox is closed"))
                if not mine:
                    raise
            else:
                for key, asked in batch.items():
                    if not asked.answer.done():
                        asked.answer.set_result([line for line in lines if _key(line) == key])
            finally:
                del self._sent[request]
                request.set_result(None)

    def _next(self) -> dict[str, _Asked[_Item]]:
        batch: dict[str, _Asked[_Item]] = {}
        room = MAX_BATCH_BYTES
        while self._queue and len(batch) < MAX_BATCH:
            asked = self._queue[0]
            if asked.answer.done():
                self._queue.popleft()
            elif asked.key in batch or (batch and asked.size > room):
                break
            else:
                batch[asked.key] = self._queue.popleft()
                room -= asked.size
        return batch


def _key(line: Line) -> str:
    return "" if isinstance(line, Total | Facts) else line.process_id


def _fail(answer: asyncio.Future[list[Line]], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
