"""One sandbox's connection, as everything above uses it: calls and subscriptions, guarded."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import anyio.lowlevel

from hopx_async.errors import MisuseError
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.protocol.cursor import START, Position
from hopx_async.protocol.events import Event
from hopx_async.protocol.subscription import LAST_WINDOW, Subscription
from hopx_async.transport.base import Transport
from hopx_async.transport.files import FileStore
from hopx_async.transport.open_calls import Sent
from hopx_async.transport.pump import Pump

__all__ = ["AgentClient", "Way"]

T = TypeVar("T")
_log = logging.getLogger("hopx_async")
# Events that all readers together take in one turn of the loop without letting others run.
_EVENTS_A_TURN = 64


class Way(Protocol):
    """The way to a command, as its handle and its streams use it.

    An `AgentClient` is one; so is the way to a command that waits for its place in a
    group, which is there from when the command has started.
    """

    @property
    def sandbox_id(self) -> str:
        """The sandbox that it leads to."""
        ...

    @property
    def ready(self) -> bool:
        """Whether it leads there already."""
        ...

    async def until_ready(self) -> None:
        """Wait until it leads there; raise why it never will."""

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call back once `until_ready` would return: at once, if it would now."""

    def forget_ready(self, callback: Callable[[], None]) -> None:
        """Do not call back any more."""

    def check(self) -> None:
        """Refuse a use from elsewhere."""

    def check_open(self) -> None:
        """Refuse a use from elsewhere, or after the end."""

    async def call(self, method: str, **params: Any) -> Any:
        """Carry out a call that may be repeated."""

    def subscribe(
        self,
        process_id: str,
        position: Position = START,
        *,
        output: bool = True,
        most: int = LAST_WINDOW,
    ) -> Subscription:
        """Return a new reader of a command."""
        ...

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a reader."""

    async def next_event(self, subscription: Subscription, end: int | None = None) -> Event | None:
        """Return a reader's next event, None at its end, or if there is none up to *end*."""

    def take(self, subscription: Subscription) -> Event | None:
        """Return what a reader has now, None for nothing."""

    def listen(self, subscription: Subscription, callback: Callable[[], None]) -> None:
        """Call back whenever there may be something to take."""


class AgentClient:
    """A transport and its pump, bound to the event loop and the process that made it.

    Attributes:
        sandbox_id: The sandbox that it leads to.
    """

    def __init__(
        self, transport: Transport, sandbox_id: str, *, give_up_after: float = GIVE_UP_AFTER
    ) -> None:
        self.sandbox_id = sandbox_id
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._taken = 0
        self._owned: set[asyncio.Task[None]] = set()
        self._pump = Pump(transport, give_up_after=give_up_after)
        self._pump.start()

    @property
    def ready(self) -> bool:
        """Whether it leads there: always."""
        return True

    async def until_ready(self) -> None:
        """Return at once."""

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call back at once."""
        callback()

    def forget_ready(self, callback: Callable[[], None]) -> None:
        """Do nothing: it was called back already."""

    @property
    def connected(self) -> bool:
        """Whether the link is up."""
        return self._pump.connected

    def check(self) -> None:
        """Refuse a use from elsewhere.

        Raises:
            MisuseError: In another process or another event loop than the one it was made in.
        """
        if os.getpid() != self._pid:
            raise MisuseError(
                f"{self.sandbox_id} was opened in process {self._pid}, this is {os.getpid()}: "
                "after a fork, open the sandbox again"
            )
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise MisuseError(
                f"{self.sandbox_id} was opened in {self._loop!r}, this is {loop!r}: "
                "a sandbox belongs to the event loop that opened it"
            )

    def check_open(self) -> None:
        """Refuse a use from elsewhere, or after the end.

        Raises:
            MisuseError: As `check`.
            ClosedError: If the sandbox is closed.
        """
        self.check()
        self._pump.check()

    async def call(self, method: str, **params: Any) -> Any:
        """Carry out a call that may be repeated; see `Pump.call`."""
        self.check()
        return await self._pump.call(method, params)

    def send(self, method: str, params: dict[str, Any]) -> Sent | None:
        """Send a call once, at once; see `Pump.send`.

        Raises:
            ClosedError: If the sandbox is closed.
        """
        self.check_open()
        return self._pump.send(method, params)

    def forget(self, sent: Sent) -> None:
        """Wait for a call no more; see `Pump.forget`."""
        self._pump.forget(sent)

    def files(self) -> FileStore:
        """Return the sandbox's files.

        Raises:
            Unsupported: If this far side has none.
        """
        return self._transport.files()

    async def persist(self, attempt: Callable[[], Awaitable[T]], *, repeatable: bool = True) -> T:
        """Carry out a call that goes another way than the link; see `Patience.call`."""
        self.check()
        patience = self._pump.patience
        return await patience.call(attempt, self._pump.check, repeatable=repeatable, polite=True)

    def subscribe(
        self,
        process_id: str,
        position: Position = START,
        *,
        output: bool = True,
        most: int = LAST_WINDOW,
    ) -> Subscription:
        """Return a new reader of a command, which holds *most* bytes, to be closed again."""
        self.check()
        return self._pump.subscribe(process_id, position, output=output, most=most)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a reader. May be called by a finalizer in any thread, and after the loop's end."""
        self.finalize(lambda: self._pump.close(subscription))

    def finalize(self, callback: Callable[[], None]) -> None:
        """Call back in the loop, if it still is there; from any thread, and at any time."""
        if self._loop.is_closed() or os.getpid() != self._pid:
            return
        if _running_loop() is self._loop:
            callback()
        else:
            self._loop.call_soon_threadsafe(callback)

    async def next_event(self, subscription: Subscription, end: int | None = None) -> Event | None:
        """Return a reader's next event, None at its end. Cancelling it loses nothing.

        Args:
            subscription: The reader.
            end: Where a record of the log ends, beyond which nothing is waited for: the last
                records before it may be none that make events. None to wait for what comes.

        Raises:
            HopxError: Why the reader ended before its end.
        """
        if self._taken >= _EVENTS_A_TURN:
            await anyio.lowlevel.checkpoint()
        while True:
            event = self.take(subscription)
            if event is not None:
                return event
            if subscription.done or (end is not None and subscription.fed >= end):
                return None
            await self._pump.news(subscription)

    def take(self, subscription: Subscription) -> Event | None:
        """Return what a reader has now, None for nothing: now, or at all if it is done.

        Raises:
            HopxError: Why the reader ended before its end.
        """
        event = subscription.take()
        self._pump.flush()
        if event is not None:
            if self._taken == 0:
                self._loop.call_soon(self._begin_turn)
            self._taken += 1
        elif subscription.error is not None:
            raise subscription.error
        return event

    def _begin_turn(self) -> None:
        self._taken = 0

    def listen(self, subscription: Subscription, callback: Callable[[], None]) -> None:
        """Call back whenever there may be something to take; see `Pump.listen`."""
        self._pump.listen(subscription, callback)

    def statistics(self) -> dict[str, Any]:
        """Return what this side knows: whether the link is up and how, reconnects, bytes held."""
        return {
            "connected": self._pump.connected,
            "feed": self._pump.feed,
            "reconnects": self._pump.reconnects,
            "buffered_bytes": self._pump.buffered,
        }

    def own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Return the task of work that goes on though nobody waits for it, bounded by itself.

        What it raises goes to the log.
        """
        task = asyncio.create_task(work)
        self._owned.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[None]) -> None:
        self._owned.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # nobody else may ask for it
            _log.error("%s: what went on by itself failed", self.sandbox_id, exc_info=error)

    async def aclose(self) -> None:
        """Close the link; may be called again.

        What is owned is waited for while the link is up, for as long as it bounds itself: an
        undone start takes `hopx_async.launch.UNDO_SECONDS` at most. If that is cancelled, and
        in any case where the link is down, it fails with the link, whose end takes seconds.
        """
        self.check()
        try:
            if self._owned and self._pump.connected:
                await asyncio.wait(self._owned)
        finally:
            await self._pump.aclose()
            if self._owned:
                await asyncio.wait(self._owned)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
