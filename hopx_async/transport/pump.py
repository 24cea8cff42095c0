"""The one task that serves a sandbox's link: connects, moves frames, wakes readers.

Every decision is the pure `Link`'s and `Backoff`'s; this is their I/O.  The task
belongs to the sandbox and ends with `aclose`.  Should it die of a bug, every
stream, every wait and the next call fail with that bare error.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel

from hopx_async.errors import (
    AgentFault,
    ApiError,
    ClosedError,
    HopxError,
    ProtocolError,
    TlsError,
    TransportError,
)
from hopx_async.protocol.backoff import GIVE_UP_AFTER, Backoff
from hopx_async.protocol.cursor import START, Position
from hopx_async.protocol.feeds import Feed
from hopx_async.protocol.link import Link
from hopx_async.protocol.subscription import LAST_WINDOW, Subscription
from hopx_async.transport.base import Channel, Transport
from hopx_async.transport.dialer import Dialed, Dialer
from hopx_async.transport.open_calls import OpenCalls, Sent
from hopx_async.transport.patience import Patience

__all__ = ["Pump"]

_log = logging.getLogger("hopx_async")
_CLOSE_SECONDS = 3.0
# Frames taken in before everybody else has a turn.
_FRAMES_A_TURN = 16


class Pump:
    """A link over a transport, served by one task.

    Attributes:
        reconnects: How often a connection was lost and made anew.
        feed: What carries the link now; None while nothing does.
        patience: How its calls are tried again.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        give_up_after: float = GIVE_UP_AFTER,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._transport = transport
        self._dialer = Dialer(transport)
        self._give_up_after = give_up_after
        self._chance = chance
        self.patience = Patience(transport.name, give_up_after, chance)
        self._link = Link()
        self._feeds = 0
        self._feed: int | None = None
        self._writable = asyncio.Event()
        self._wanted = asyncio.Event()
        # Set, and made anew, whenever something was sent or the connection was lost.
        self._moved = asyncio.Event()
        self._waiters: dict[Subscription, asyncio.Event] = {}
        self._listeners: dict[Subscription, Callable[[], None]] = {}
        self._calls = OpenCalls(self._link, transport.name)
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._closed = self._cancelled = False
        self.reconnects = 0
        self.feed: Feed | None = None

    def start(self) -> None:
        """Begin to connect. Needs a running event loop."""
        self._task = asyncio.create_task(self._run(), name=f"hopx pump of {self._transport.name}")

    async def aclose(self) -> None:
        """End the task; every stream, wait and call fails with `ClosedError`. Bounded."""
        self._closed = True
        self._fail(ClosedError("the sandbox is closed"))
        task, self._task = self._task, None
        with anyio.CancelScope(shield=True):
            try:
                if task is not None:
                    task.cancel()
                    await asyncio.wait([task])
            finally:  # asyncio's own cancellations know no shield
                await self._dialer.aclose()
                with anyio.move_on_after(_CLOSE_SECONDS):
                    await self._transport.aclose()

    @property
    def connected(self) -> bool:
        """Whether a connection is up."""
        return self._feed is not None

    @property
    def buffered(self) -> int:
        """Log bytes held for readers."""
        return self._link.buffered

    # Readers.

    def subscribe(
        self,
        process_id: str,
        position: Position = START,
        *,
        output: bool = True,
        most: int = LAST_WINDOW,
    ) -> Subscription:
        """Return a new reader of a command, which holds at most so many log bytes.

        Raises:
            ClosedError: If the sandbox is closed.
        """
        self.check()
        if self._cancelled:
            raise ClosedError("the event loop ends all tasks")
        subscription = self._link.subscribe(process_id, position, output=output, most=most)
        self._wanted.set()
        self.flush()
        return subscription

    def close(self, subscription: Subscription) -> None:
        """Forget a reader; whoever waits for it is woken."""
        subscription.close()
        self._listeners.pop(subscription, None)
        self._wake(subscription)
        self.flush()

    def flush(self) -> None:
        """Let what the link wants to say be sent; called after each turn of a reader."""
        if self._feed is not None and self._link.has_data(self._feed):
            self._writable.set()

    async def news(self, subscription: Subscription) -> None:
        """Wait until there may be something to take. Cancelling it is safe."""
        event = self._waiters.get(subscription)
        if event is None:
            event = self._waiters[subscription] = asyncio.Event()
        try:
            await event.wait()
        finally:
            if self._waiters.get(subscription) is event:
                del self._waiters[subscription]

    def listen(self, subscription: Subscription, callback: Callable[[], None]) -> None:
        """Call back whenever there may be something to take, until it is closed.

        Where many are read as one, this spares a task for each.
        """
        self._listeners[subscription] = callback

    # Calls.

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Carry out a call that may be repeated, on the socket where one is up, else by HTTP.

        Cancelling ``call`` is safe for the connection; the far side may still act on it.

        Raises:
            ApiError: If the far side says no.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox is closed.
        """

        async def attempt() -> Any:
            self._wanted.set()
            return await self._call_once(method, params)

        return await self.patience.call(attempt, self.check)

    async def _call_once(self, method: str, params: dict[str, Any]) -> Any:
        while self._feed is not None and self._link.congested(self._feed):
            await self._moved.wait()
            self.check()
        sent = self.send(method, params)
        if sent is None:
            return await self._transport.request(method, params)
        try:
            return await sent.answer
        finally:
            self.forget(sent)

    def send(self, method: str, params: dict[str, Any]) -> Sent | None:
        """Put a call on the connection, once; None if none is up, or it has no room."""
        if self._feed is None or self._link.congested(self._feed):
            return None
        self._writable.set()
        return self._calls.put(self._feed, method, params)

    def forget(self, sent: Sent) -> None:
        """Wait for a call no more; it is taken back if it has not left yet."""
        self._calls.forget(sent)

    # The task.

    async def _run(self) -> None:
        try:
            await self._serve_for_ever()
        except asyncio.CancelledError:
            # By nobody of ours unless it is closed: the event loop ends. Calls still go by HTTP.
            self._cancelled = True
            self._fail(ClosedError("the event loop ends all tasks"))
            raise
        except BaseException as error:
            self._failure = error
            self._fail(error)
            # No bug: the client that the transport asks was closed before the sandbox.
            if not isinstance(error, ClosedError):
                _log.exception("the link of %s ended by a bug", self._transport.name)
            if not isinstance(error, Exception):
                raise

    async def _serve_for_ever(self) -> None:
        backoff = Backoff(give_up_after=self._give_up_after)
        while True:
            reason = await self._serve_until_hopeless(backoff)
            _log.warning("link of %s given up: %s", self._transport.name, reason)
            backoff.succeeded()
            self._wanted = asyncio.Event()
            self._fail(reason)
            await self._wanted.wait()

    async def _serve_until_hopeless(self, backoff: Backoff) -> HopxError:
        while True:
            try:
                await self._connect_and_serve(backoff)
            except (TransportError, ApiError, ProtocolError) as error:
                if not self._may_pass(error):
                    return error  # the same again would end the same way
                delay = backoff.failed(anyio.current_time(), self._chance())
                if delay is None:
                    tls = isinstance(error, TlsError)
                    return error if tls else self.patience.unreachable(error)
                name = self._transport.name
                _log.debug("link of %s: %s; again in %.2f s", name, error, delay)
                await anyio.sleep(delay)

    def _may_pass(self, error: HopxError) -> bool:
        if isinstance(error, TlsError):
            # Of one that was trusted before it is what is in between, such as a captive portal.
            return self.reconnects > 0
        return isinstance(error, (TransportError, AgentFault))

    async def _connect_and_serve(self, backoff: Backoff) -> None:
        dialed = await self._dialer.dial()
        channel = dialed.channel
        self._feeds += 1
        feed = self._feeds
        self._link.connected(feed)
        self._feed, self.feed = feed, dialed.feed
        self._writable.set()
        try:
            await self._serve(dialed, feed, backoff)
        finally:
            self._feed = self.feed = None
            self.reconnects += 1
            self._link.disconnected(feed)
            self._tell_moved()
            self._calls.drop()
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await channel.aclose()

    async def _serve(self, dialed: Dialed, feed: int, backoff: Backoff) -> None:
        """Move frames until the connection is lost, or there is a better one."""
        failures: list[Exception] = []
        channel = dialed.channel

        async def guarded(loop: Callable[[], Any]) -> None:
            try:
                await loop()
            except Exception as error:  # noqa: BLE001  # raised bare, behind the group
                failures.append(error)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(guarded, lambda: self._write(channel, feed))
            group.start_soon(guarded, lambda: self._read(dialed, feed, backoff))
            if dialed.feed == "poll":
                group.start_soon(guarded, self._dialer.probe)
        if failures:
            raise failures[0]

    async def _write(self, channel: Channel, feed: int) -> None:
        while True:
            await self._writable.wait()
            self._writable.clear()
            while (frame := self._link.data_to_send(feed)) is not None:
                await channel.send(frame)
                self._tell_moved()

    async def _read(self, dialed: Dialed, feed: int, backoff: Backoff) -> None:
        count = 0
        frame = dialed.greeting
        while True:
            subscriptions, replies = self._link.receive(feed, frame)
            backoff.succeeded()
            for subscription in subscriptions:
                self._wake(subscription)
            for reply in replies:
                self._calls.answer(reply)
            self.flush()
            count += 1
            if count % _FRAMES_A_TURN == 0:
                await anyio.lowlevel.checkpoint()
            frame = await dialed.channel.receive()

    # Waking and failing.

    def _tell_moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _wake(self, subscription: Subscription) -> None:
        event = self._waiters.pop(subscription, None)
        if event is not None:
            event.set()
        listener = self._listeners.get(subscription)
        if listener is not None:
            listener()

    def _fail(self, error: BaseException) -> None:
        for subscription in self._link.fail(error):
            self._wake(subscription)
        self._calls.drop(error)

    def check(self) -> None:
        """Raise why nothing can be asked for any more, if so.

        Raises:
            ClosedError: If the sandbox is closed.
        """
        if self._closed:
            raise ClosedError("the sandbox is closed")
        if self._failure is not None:
            raise self._failure
