"""Many commands as one: as they end, whichever ends first, and all their events in one stream.

The handles may be of any sandboxes and far sides. None costs a task: a command that
has news puts itself into a queue, once, and the queue is served in turn.
"""

# ruff: noqa: SLF001  # it reads what its handles are made of

from __future__ import annotations

import copy
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
import anyio.lowlevel

from hopx_async.errors import BusyError, HopxError, InvalidArgument
from hopx_async.handle import CommandHandle
from hopx_async.protocol.events import Event
from hopx_async.protocol.subscription import LAST_WINDOW, Subscription

__all__ = ["MERGE_BYTES", "AsCompleted", "MergedStream", "as_completed", "merge", "wait_any"]

#: Log bytes that all commands of one merge hold together, about: so little that they stay abreast.
MERGE_BYTES = 4 * 1024 * 1024
# ... but for a few thousand of them, each of which holds so much.
_LEAST_WINDOW = 4096

T_co = TypeVar("T_co", covariant=True)


def as_completed(handles: Iterable[CommandHandle]) -> AsCompleted:
    """Iterate over handles in the order in which their commands end.

    A command that has ended already comes at once; one that failed to start comes, too,
    and its ``wait()`` raises. No output is moved. A handle given twice comes twice.

    Args:
        handles: Of any sandboxes; at most one iteration of them is made, at the call.

    Raises:
        InvalidArgument: If something among them is no handle.
        ClosedError: If the sandbox of one has been closed.
    """
    return AsCompleted(_checked(handles))


async def wait_any(handles: Iterable[CommandHandle]) -> CommandHandle:
    """Wait until one of several commands has ended, and return its handle.

    Cancelling it is safe: the commands go on.

    Args:
        handles: As for `as_completed`; one at least.

    Raises:
        InvalidArgument: If there is none, or something among them is no handle.
        AgentUnreachable: If nobody answered until the policy gave up.
        ClosedError: If the sandbox of one has been closed.
    """
    checked = _checked(handles)
    if not checked:
        raise InvalidArgument("handles", "()", "one handle at least: nothing would ever end")
    async with AsCompleted(checked) as ended:
        return await anext(ended)


def merge(handles: Iterable[CommandHandle]) -> MergedStream:
    """Return the events of several commands as one stream.

    Each command's events come in its order, from its `Started` to its `Exited` or `Lost`;
    ``event.process_id`` says whose they are. Commands with something to tell take turns,
    an event each, so that none starves. The stream ends when all commands have.

    Args:
        handles: As for `as_completed`. A command need not have started.

    Raises:
        InvalidArgument: If something among them is no handle.
        ClosedError: If the sandbox of one has been closed.
    """
    return MergedStream(_checked(handles))


def _checked(handles: Any) -> list[CommandHandle]:
    try:
        checked = list(handles)
    except TypeError:
        kind = type(handles).__name__
        raise InvalidArgument("handles", kind, "they are an iterable of handles") from None
    for index, handle in enumerate(checked):
        if not isinstance(handle, CommandHandle):
            raise InvalidArgument(f"handles[{index}]", type(handle).__name__, "it is a handle")
    return checked


class _Source:
    """One command among many: what it has to tell, once it is its turn."""

    __slots__ = ("_most", "_output", "_ready", "handle", "queued", "subscription")

    def __init__(self, handle: CommandHandle, *, output: bool, most: int) -> None:
        self.handle = handle
        self.queued = False
        self.subscription: Subscription | None = None
        self._output = output
        self._most = most
        self._ready: Callable[[], None] | None = None

    def begin(self, queue: _Queue) -> None:
        """Have it queued once its command has started, or never will."""
        way = self.handle._client
        way.check_open()
        self._ready = partial(queue.put, self)
        way.when_ready(self._ready)

    def take(self, queue: _Queue) -> Event | None:
        way = self.handle._client
        if self.subscription is None:
            process_id = self.handle.process_id
            subscription = way.subscribe(process_id, output=self._output, most=self._most)
            self.subscription = subscription
            way.listen(subscription, partial(queue.put, self))
        event = way.take(self.subscription)
        self.handle._note(event)
        return event

    @property
    def done(self) -> bool:
        return self.subscription is not None and self.subscription.done

    def close(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            # One that waits for its place is to know nothing of those who have gone.
            self.handle._client.forget_ready(ready)
        if self.subscription is not None:
            self.handle._client.unsubscribe(self.subscription)


class _Queue:
    """The sources that may have something, each at most once, in turn.

    It is what the sandboxes' links know of an iteration, so that nothing of theirs
    keeps alive an iteration that its user has dropped.
    """

    def __init__(self, sources: Iterable[_Source]) -> None:
        self._ready: deque[_Source] = deque()
        self._bell = anyio.Event()
        self.left = dict.fromkeys(sources)

    def put(self, source: _Source) -> None:
        if not source.queued and source in self.left:
            source.queued = True
            self._ready.append(source)
            self._bell.set()

    def next(self) -> _Source | None:
        if not self._ready:
            return None
        source = self._ready.popleft()
        source.queued = False
        return source

    async def news(self) -> None:
        if not self._ready:
            self._bell = anyio.Event()
            await self._bell.wait()

    def drop(self, source: _Source) -> None:
        source.close()
        self.left.pop(source, None)
        self._bell.set()

    def close(self) -> None:
        self._ready.clear()
        for source in list(self.left):
            self.drop(source)


class _Gathering(AsyncIterator[T_co], Generic[T_co]):
    """What the iterations over many commands have in common."""

    _output: bool

    def __init__(self, handles: list[CommandHandle]) -> None:
        most = max(_LEAST_WINDOW, min(LAST_WINDOW, MERGE_BYTES // max(1, len(handles))))
        sources = [_Source(handle, output=self._output, most=most) for handle in handles]
        self._busy = False
        self._queue = queue = _Queue(sources)
        for source in sources:
            source.begin(queue)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        """Return the next item.

        Cancelling it is safe: nothing is lost. An error is that of one command, which a
        note names; it is then left out, and the iteration can go on with the others.

        Raises:
            BusyError: If another task waits in it.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If a sandbox has been closed.
        """
        if self._busy:
            raise BusyError(f"two tasks read one {type(self).__name__}; make two")
        self._busy = True
        try:
            return await self._next()
        finally:
            self._busy = False

    async def aclose(self) -> None:
        """Stop following. The commands go on."""
        self._queue.close()
        await anyio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.close()

    def __del__(self) -> None:
        # A constructor that raised has left nothing.
        if hasattr(self, "_queue"):
            self._queue.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._queue.left)} commands>"

    async def _next(self) -> T_co:
        turns = 0
        while self._queue.left:
            if turns == _TURNS:
                # Not with a source in hand: one that is cancelled here would lose it.
                turns = 0
                await anyio.lowlevel.checkpoint()
            source = self._queue.next()
            if source is None:
                await self._queue.news()
                continue
            turns += 1
            try:
                found = self._turn(source)
            except Exception as error:
                self._queue.drop(source)
                raise _named(error, source.handle) from error
            if found is not None:
                return found
        raise StopAsyncIteration

    @abstractmethod
    def _turn(self, source: _Source) -> T_co | None:
        """Return what *source* has to tell, None for nothing."""


# Sources that are looked at in vain before everybody else has a turn.
_TURNS = 64


class AsCompleted(_Gathering[CommandHandle]):
    """An async iterator of handles whose commands have ended, made by `as_completed`.

    It holds no task and no output. Leaving the ``async for`` ends nothing; dropped or
    closed, it asks for nothing any more.
    """

    _output = False

    def _turn(self, source: _Source) -> CommandHandle | None:
        handle = source.handle
        if handle._exit is None and handle._client.ready:
            source.take(self._queue)
        if handle._exit is None and handle._client.ready:
            return None
        self._queue.drop(source)
        return handle


class MergedStream(_Gathering[Event]):
    """An async iterator of the events of many commands, made by `merge`.

    Memory is bounded: its commands hold 4 MiB together, at least 4 KiB or a record each.
    Leaving the ``async for`` ends nothing but the reading.
    """

    _output = True

    def _turn(self, source: _Source) -> Event | None:
        event = source.take(self._queue)
        if source.done:
            self._queue.drop(source)
        elif event is not None:
            # To the end of the queue: the others come first.
            self._queue.put(source)
        return event


def _named(error: Exception, handle: CommandHandle) -> Exception:
    # One error may stand for every reader of a connection: a copy, so that notes do not pile up.
    if not isinstance(error, HopxError):
        return error
    own = copy.copy(error)
    own.__notes__ = [*getattr(error, "__notes__", ()), f"while following {handle!r}"]
    return own
