"""The client's half of the link: subscriptions, cursors and credit, without any I/O.

A shell feeds what arrived (`Link.receive`), moves out what is to be sent
(`Link.data_to_send`), and takes events from a `Subscription`.  A connection is
called a *feed*, and named by the shell with a number that it never uses twice.

The contract with an agent: an *ask* is never reused, so late frames of an old
asking fall off; log bytes below the cursor fall away; credit bounds what is buffered.
"""

# ruff: noqa: SLF001  # a link and its subscriptions are one thing in two files

from __future__ import annotations

from typing import Any, NamedTuple

from hopx_async.errors import (
    CommandNotFound,
    HopxError,
    InvalidArgument,
    RemoteProtocolError,
)
from hopx_async.protocol import wire
from hopx_async.protocol.budget import Holders
from hopx_async.protocol.cursor import START, Position
from hopx_async.protocol.events import Event, EventReader, exit_event
from hopx_async.protocol.records import TERMINAL_KINDS, RecordError, RecordReader
from hopx_async.protocol.subscription import LAST_WINDOW, Asking, Subscription

__all__ = ["BUDGET", "LAST_WINDOW", "Link", "News"]

#: Log bytes that all subscriptions of a link hold together, at most.
BUDGET = 64 * 1024 * 1024


class News(NamedTuple):
    """What a frame brought: subscriptions to look at, and answers to calls."""

    subscriptions: dict[Subscription, None]
    replies: list[wire.Reply]


class Link:
    """All subscriptions of one sandbox, over any number of feeds.

    Attributes:
        buffered: Log bytes that all subscriptions hold together; at most *budget* and a
            frame, or what a single one holds.
    """

    def __init__(self, *, budget: int = BUDGET) -> None:
        self._budget = budget
        self._last_ask = 0
        self._last_call = 0
        self._askings: dict[int, Asking] = {}
        self._live: dict[Subscription, None] = {}
        self._outbox: dict[int, wire.Outbox] = {}
        self._holders: Holders[Subscription] = Holders()
        self.buffered = 0

    # Connections.

    def connected(self, feed: int) -> None:
        """Note a new connection: every live subscription asks on it from its cursor."""
        self._outbox[feed] = wire.Outbox()
        self._outbox[feed].add(wire.Hello(wire.LINK_VERSION))
        for subscription in self._live:
            if not subscription.parked:
                self._ask(subscription, feed)

    def disconnected(self, feed: int) -> None:
        """Note that a connection is gone; what it still carried is asked for elsewhere."""
        self._outbox.pop(feed, None)
        for ask, asking in list(self._askings.items()):
            if asking.feed == feed:
                del self._askings[ask]
                subscription = asking.subscription
                subscription._askings = tuple(a for a in subscription._askings if a is not asking)

    def data_to_send(self, feed: int) -> str | None:
        """Return the next text frame for a connection, or None."""
        outbox = self._outbox.get(feed)
        return None if outbox is None else outbox.next_frame()

    def has_data(self, feed: int) -> bool:
        """Whether `data_to_send` has something for this connection."""
        return bool(self._outbox.get(feed))

    # Callers.

    def subscribe(
        self,
        process_id: str,
        position: Position = START,
        *,
        output: bool = True,
        most: int = LAST_WINDOW,
    ) -> Subscription:
        """Return a new reader of a command that goes on at *position*, and holds *most* bytes."""
        subscription = Subscription(self, process_id, position, output=output, most=most)
        self._live[subscription] = None
        for feed in self._outbox:
            self._ask(subscription, feed)
        return subscription

    def call(self, feed: int, method: str, params: dict[str, Any]) -> int:
        """Queue a request on a connection and return the number its `Reply` will carry.

        Raises:
            InvalidArgument: If it is larger than a far side takes.
        """
        self._last_call += 1
        control = wire.Call(self._last_call, method, params)
        key = ("call", self._last_call)
        if not self._outbox[feed].add(control, limit=wire.MAX_CALL_BYTES, key=key):
            rule = f"all arguments together take at most {wire.MAX_CALL_BYTES} bytes as JSON"
            raise InvalidArgument(method, "(more)", rule)
        return self._last_call

    def withdraw(self, feed: int, call: int) -> None:
        """Take back a request that nobody waits for any more, unless it is sent."""
        if (outbox := self._outbox.get(feed)) is not None:
            outbox.drop(("call", call))

    def congested(self, feed: int) -> bool:
        """Whether so much waits to be sent on a connection that no call should be added."""
        outbox = self._outbox.get(feed)
        return outbox is not None and outbox.size >= wire.MAX_CONTROL_BYTES

    def fail(self, error: BaseException) -> list[Subscription]:
        """End every live subscription with *error*; return them."""
        failed = list(self._live)
        for subscription in failed:
            self._fail(subscription, error)
        return failed

    # What arrives.

    def receive(self, feed: int, frame: str | bytes) -> News:
        """Take in one frame of a connection.

        Raises:
            RemoteProtocolError: If it breaks the protocol; the connection is of no more use.
        """
        news = News({}, [])
        if feed not in self._outbox:
            return news
        if isinstance(frame, str):
            for control in wire.decode_agent(frame):
                self._receive_control(control, news)
        else:
            for ask, offset, data in wire.pieces(frame):
                asking = self._askings.get(ask)
                # Late frames of an old asking fall off here.
                if asking is not None and asking.feed == feed:
                    self._receive_data(asking, offset, data)
                    news.subscriptions[asking.subscription] = None
        self._holders.rung(news.subscriptions)
        self._keep_budget(news)
        return news

    def _receive_control(self, control: wire.AgentControl, news: News) -> None:
        if isinstance(control, wire.Hello):
            if control.version != wire.LINK_VERSION:
                raise RemoteProtocolError(
                    f"the agent speaks link version {control.version}, not {wire.LINK_VERSION}"
                )
        elif isinstance(control, wire.Reply):
            news.replies.append(control)
        elif (asking := self._askings.get(control.ask)) is not None:
            subscription = asking.subscription
            news.subscriptions[subscription] = None
            asking.over = True
            if isinstance(control, wire.Over):
                self._over(subscription)
            else:
                self._refused(subscription, wire.error_from_dict(control.error))

    def _receive_data(self, asking: Asking, offset: int, data: bytes | memoryview) -> None:
        subscription = asking.subscription
        reader = subscription._reader
        if reader is None:
            asking.over = True
            try:
                self._receive_fate(subscription, offset, data)
                self._forget(subscription)
            except RemoteProtocolError as error:  # one damaged log harms nobody else
                self._fail(subscription, error)
            return
        if offset < asking.end:
            return  # a frame that came twice
        if not data:
            asking.over = True
            self._over(subscription)
            return
        asking.received += len(data)
        asking.end = offset + len(data)
        if asking.received > asking.granted:
            raise RemoteProtocolError(
                f"{asking.received} log bytes of {subscription.process_id}, "
                f"granted were {asking.granted}"
            )
        self.buffered += reader.feed(offset, data)
        if reader.pending:
            self._holders.received(subscription)

    def _receive_fate(
        self, subscription: Subscription, offset: int, data: bytes | memoryview
    ) -> None:
        process_id = subscription.process_id
        reader = RecordReader(offset)
        reader.feed(data)
        try:
            record = reader.read()
        except RecordError as error:
            raise RemoteProtocolError(f"last record of {process_id}: {error}") from error
        if record is None or record.kind not in TERMINAL_KINDS:
            raise RemoteProtocolError(f"{record!r} is no last record of {process_id}")
        # How much output came before is not known here: the cursor is of no use for output.
        subscription._fate = exit_event(process_id, record, Position(record.end, 0, 0))

    def _over(self, subscription: Subscription) -> None:
        reader = subscription._reader
        subscription._over = True
        if reader is not None and not reader.pending:
            self._check_over(subscription, reader)

    def _check_over(self, subscription: Subscription, reader: EventReader) -> None:
        if reader.fed != subscription._start:
            problem = f"the log of {subscription.process_id} is damaged: it is over without an end"
            self._fail(subscription, RemoteProtocolError(problem))
        subscription.close()

    def _refused(self, subscription: Subscription, error: HopxError) -> None:
        if not isinstance(error, CommandNotFound):
            self._fail(subscription, error)
            return
        # It was started, and the far side does not know it: its state is gone.
        # What arrived before is still delivered.
        subscription._lost = True
        self._forget(subscription)

    # Taking, credit and the budget.

    def _take(self, subscription: Subscription, reader: EventReader) -> Event | None:
        if subscription.parked:
            subscription.parked = False
            for feed in self._outbox if subscription in self._live else ():
                self._ask(subscription, feed)
        try:
            event = self._read(subscription, reader)
        except RemoteProtocolError as error:
            self._fail(subscription, error)
            return None
        if reader.ended:
            for asking in subscription._askings:
                asking.over = asking.end >= reader.position.offset
            subscription.close()
        elif event is not None:
            self._grant(subscription, reader, drained=reader.pending == 0)
        elif subscription._lost:
            return subscription._lose()
        elif subscription._over:
            self._check_over(subscription, reader)
        else:
            # Not only after progress: on a feed that lags, all may have come before.
            self._grant(subscription, reader, drained=True)
        return event

    def _read(self, subscription: Subscription, reader: EventReader) -> Event | None:
        before = reader.pending
        event = None
        try:
            event = reader.read()
        finally:
            left = reader.pending
            self.buffered += left - before
            self._holders.looked(subscription, took=event is not None, empty=not left)
        return event

    def _grant(self, subscription: Subscription, reader: EventReader, *, drained: bool) -> None:
        if drained:
            subscription._widen(reader.fed)
        # What a record lacks is of interest to who has found no whole one.
        missing = reader.missing if drained else 0
        for asking in subscription._askings:
            left = asking.granted - asking.received
            if left >= subscription._window // 2 and left >= missing:
                continue
            pending = reader.pending
            room = max(subscription._window - pending, missing)
            if left < room // 2 or left < missing:
                asking.granted = asking.received + room
                credit = wire.Credit(asking.ask, asking.granted)
                self._outbox[asking.feed].add(credit, key=("credit", asking.ask))

    def _keep_budget(self, news: News) -> None:
        while self.buffered > self._budget:
            subscription = self._holders.give_way()
            if subscription is None:
                return
            self.buffered -= subscription._park()
            self._leave(subscription)
            # Whoever waits with half a record has to ask again.
            news.subscriptions[subscription] = None

    # Askings.

    def _ask(self, subscription: Subscription, feed: int) -> None:
        self._last_ask += 1
        asking = Asking(self._last_ask, feed, subscription)
        self._askings[asking.ask] = asking
        subscription._askings += (asking,)
        reader = subscription._reader
        if reader is None:
            control = wire.Ask(asking.ask, subscription.process_id, output=False)
        else:
            asking.granted = max(subscription._window - reader.pending, reader.missing)
            ask, process_id = asking.ask, subscription.process_id
            control = wire.Ask(ask, process_id, reader.fed, asking.granted)
        self._outbox[feed].add(control, key=("ask", asking.ask))

    def _leave(self, subscription: Subscription) -> None:
        for asking in subscription._askings:
            self._askings.pop(asking.ask, None)
            outbox = self._outbox[asking.feed]
            outbox.drop(("credit", asking.ask))
            # What the far side has not heard of yet, or has forgotten, it need not forget.
            if not outbox.drop(("ask", asking.ask)) and not asking.over:
                outbox.add(wire.Leave(asking.ask))
        subscription._askings = ()

    def _fail(self, subscription: Subscription, error: BaseException) -> None:
        subscription.error = error
        subscription.close()

    def _forget(self, subscription: Subscription) -> None:
        self._live.pop(subscription, None)
        if subscription.done and subscription._reader is not None:
            self.buffered -= subscription._reader.pending
            subscription._reader.drop()
            self._holders.remove(subscription)
        self._leave(subscription)
