"""The events, lines and texts of one command, as objects to iterate."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio.lowlevel

from hopx_async.client import Way
from hopx_async.errors import BusyError
from hopx_async.model import CommandInfo, Stream
from hopx_async.protocol.cursor import START, UNKNOWN, Position, parse_cursor, print_cursor
from hopx_async.protocol.events import Event
from hopx_async.protocol.records import BLOCK
from hopx_async.protocol.subscription import Subscription
from hopx_async.protocol.text import Line, LineReader, Text, TextReader

__all__ = ["END", "EventStream", "LineStream", "TextStream", "looks_back"]

#: As a position: behind what is there now. ``events(after=END)`` yields only what comes.
END = "END"

# A spec, which may lie across blocks, ends below this log offset.
_BEHIND_SPEC = 32 * BLOCK
# Items made of events that are here already, after which others have a turn.
_ITEMS_A_TURN = 1024
# How much farther back each further look for the last lines begins.
_FARTHER = 8

T_co = TypeVar("T_co", covariant=True)


def looks_back(end: int) -> Iterator[int]:
    """Return log offsets from which to look for the last lines before *end*; the last is 0."""
    span = BLOCK
    while True:
        start = max(0, end - span) // BLOCK * BLOCK
        if start < _BEHIND_SPEC:
            yield 0
            return
        yield start
        span *= _FARTHER


class _Stream(AsyncIterator[T_co], Generic[T_co]):
    """What the streams of one command have in common: one subscription, one reader at a time."""

    __slots__ = ("__weakref__", "_busy", "_client", "_process_id", "_start", "_subscription")

    def __init__(self, client: Way, process_id: str, after: str | None) -> None:
        self._busy = False
        self._client = client
        self._process_id = process_id
        # None stands for the end, which only the far side knows.
        self._start: Position | None = START
        self._subscription: Subscription | None = None
        if after == END:
            # Of a command that has not started, everything is yet to come.
            self._start = None if client.ready else START
        elif after is not None:
            self._start = parse_cursor(process_id, after)
        if self._start is not None and client.ready:
            self._subscription = client.subscribe(process_id, self._start)
        else:
            client.check_open()

    @property
    def cursor(self) -> str:
        """The position behind what was taken last."""
        return print_cursor(self._process_id, self._position)

    @property
    def _position(self) -> Position:
        if self._subscription is not None:
            return self._subscription.position
        return self._start or START

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        """Return the next item.

        Cancelling it is safe: nothing is lost.

        Raises:
            BusyError: If another task waits in it.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        if self._busy:
            raise BusyError(f"two tasks read one stream of {self._process_id}; ask for two")
        self._client.check()
        self._busy = True
        try:
            return await self._next()
        finally:
            self._busy = False

    async def aclose(self) -> None:
        """Stop reading. The command goes on; what was not read stays in its log."""
        self._unsubscribe()
        await anyio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._unsubscribe()

    def __del__(self) -> None:
        # A dropped stream unsubscribes by itself; a constructor that raised left nothing.
        if getattr(self, "_subscription", None) is not None:
            self._unsubscribe()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._process_id} at {self.cursor}>"

    @abstractmethod
    async def _next(self) -> T_co:
        """Return the next item or raise `StopAsyncIteration`."""

    async def _event(self) -> Event | None:
        return await self._client.next_event(self._subscription or await self._begin())

    async def _begin(self) -> Subscription:
        position = self._start
        if position is None:
            position = Position((await self._info()).log_end, UNKNOWN, UNKNOWN)
            self._start = position
        await self._client.until_ready()
        return self._subscribe(position)

    async def _info(self) -> CommandInfo:
        answer = await self._client.call("info", process_id=self._process_id)
        return CommandInfo.from_dict(answer["info"])

    def _subscribe(self, position: Position) -> Subscription:
        self._unsubscribe()
        self._subscription = self._client.subscribe(self._process_id, position)
        return self._subscription

    def _unsubscribe(self) -> None:
        subscription = self._subscription
        if subscription is not None and not subscription.done:
            self._client.unsubscribe(subscription)


class EventStream(_Stream[Event]):
    """An async iterator of events, made by ``handle.events()``.

    It is its own subscription: two streams of one handle see the same events.
    Leaving the ``async for`` ends nothing but the reading; go on from
    ``event.cursor`` with another stream, or iterate the same one again. Memory is
    bounded: at most 1 MiB of the log is held for a stream that nobody reads.
    """

    __slots__ = ()

    async def _next(self) -> Event:
        # Not by `_event`: there may be very many, and each coroutine costs.
        subscription = self._subscription or await self._begin()
        event = await self._client.next_event(subscription)
        if event is None:
            raise StopAsyncIteration
        return event


class _CutStream(_Stream[T_co], Generic[T_co]):
    """A stream that makes several items of one event, or none, and holds those not yet taken."""

    __slots__ = ("_cut_since", "_given", "_ready")
    _cut_since: int
    # The place of what was taken last: the item itself may be large.
    _given: tuple[str, int, int, int] | None
    _ready: deque[T_co]

    @property
    def cursor(self) -> str:
        """The position behind what was taken last."""
        if self._given is None:
            return print_cursor(self._process_id, self._start or START)
        process_id, *numbers = self._given
        return print_cursor(process_id, Position(*numbers))

    def _take_ready(self) -> T_co:
        """Return the next item of those that are here.

        Raises:
            IndexError: If there is none.
        """
        item: Any = self._ready.popleft()
        self._given = item._place  # noqa: SLF001  # its cursor, not yet printed
        return item  # type: ignore[no-any-return]

    async def __anext__(self) -> T_co:
        """Return the next item, as `EventStream` does; what is here already costs next to nothing.

        Cancelling it is safe: nothing is lost.
        """
        if self._ready and not self._busy:
            return self._take_ready()
        return await super().__anext__()

    async def _next(self) -> T_co:
        while not self._ready:
            if self._cut_since >= _ITEMS_A_TURN:
                self._cut_since = 0
                await anyio.lowlevel.checkpoint()
            before = self._position
            event = await self._event()
            if event is None:
                raise StopAsyncIteration
            self._ready.extend(self._cut(event, before, self._position))
            self._cut_since += len(self._ready)
        return self._take_ready()

    @abstractmethod
    def _cut(self, event: Event, before: Position, after: Position) -> list[T_co]:
        """Return what *event* completes."""


class TextStream(_CutStream[Text]):
    """An async iterator of decoded pieces, made by ``handle.text()``; as `EventStream` else."""

    __slots__ = ("_reader",)

    def __init__(
        self,
        client: Way,
        process_id: str,
        after: str | None,
        *,
        stream: Stream | None,
        strip: bool,
    ) -> None:
        super().__init__(client, process_id, after)
        position = self._start or Position(0, UNKNOWN, UNKNOWN)
        self._reader = TextReader(process_id, position, stream, strip=strip)
        self._ready: deque[Text] = deque()
        self._given = None
        self._cut_since = 0

    def _cut(self, event: Event, before: Position, after: Position) -> list[Text]:
        return self._reader.feed(event, before, after)


class LineStream(_CutStream[Line]):
    """An async iterator of lines, made by ``handle.lines()``; as `EventStream` else.

    It holds the unfinished line of each stream, at most 16 MiB.
    """

    __slots__ = ("_last", "_options", "_reader")

    def __init__(
        self,
        client: Way,
        process_id: str,
        after: str | None,
        *,
        last: int | None,
        stream: Stream | None,
        strip: bool,
    ) -> None:
        super().__init__(client, process_id, END if last is not None else after)
        self._last = last
        self._options = (stream, strip)
        self._reader = self._reader_at(self._start or Position(0, UNKNOWN, UNKNOWN))
        self._ready: deque[Line] = deque()
        self._given = None
        self._cut_since = 0

    async def _next(self) -> Line:
        if self._last is not None:
            await self._find_last(self._last)
            self._last = None
        return await super()._next()

    def _cut(self, event: Event, before: Position, after: Position) -> list[Line]:
        return self._reader.feed(event, before, after)

    def _reader_at(self, position: Position) -> LineReader:
        stream, strip = self._options
        return LineReader(self._process_id, position, stream, strip=strip)

    async def _find_last(self, last: int) -> None:
        # From farther and farther back, each time up to the end as it was at first.
        end = (await self._info()).log_end
        found: deque[Line] = deque()
        for start in looks_back(end):
            found = await self._lines_between(start, end, last)
            if len(found) == last:
                break
        # Not before: what a look that was too short has found would be given out, and then again.
        self._ready = found

    async def _lines_between(self, start: int, end: int, last: int) -> deque[Line]:
        position = Position(start, UNKNOWN, UNKNOWN) if start else START
        subscription = self._subscribe(position)
        self._reader = self._reader_at(position)
        lines: deque[Line] = deque(maxlen=last)
        # What begins in the middle of a line is none.
        whole = {"stdout": start == 0, "stderr": start == 0}
        while subscription.position.offset < end:
            before = subscription.position
            event = await self._client.next_event(subscription, end)
            if event is None:
                break
            for line in self._reader.feed(event, before, subscription.position):
                if whole[line.stream]:
                    lines.append(line)
                whole[line.stream] = True
        return lines
