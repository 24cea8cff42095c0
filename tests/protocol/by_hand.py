"""The other side of a link, played by hand: frames as an agent would send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hopx_async.protocol import records, wire
from hopx_async.protocol.cursor import START, Position
from hopx_async.protocol.link import Link

if TYPE_CHECKING:
    from hopx_async.protocol.events import Event
    from hopx_async.protocol.subscription import Subscription

__all__ = ["EXIT", "HEAD", "asked", "drain", "one", "refused", "said"]

HEAD = b"".join(
    records.encode_json(kind, 1.0, value)
    for kind, value in ((records.SPEC, {}), (records.STARTED, {"pid": 7}))
)
EXIT = records.encode_json(records.EXITED, 2.0, {"reason": "exited", "exit_code": 0})


def said(link: Link, feed: int = 1) -> list[Any]:
    """Return what the client says on a connection."""
    controls: list[Any] = []
    while (frame := link.data_to_send(feed)) is not None:
        controls += wire.decode_client(frame)
    return controls


def one(ask: int, offset: int, data: bytes) -> bytes:
    """Return a binary frame of one piece."""
    return wire.PIECE.pack(ask, offset, len(data)) + data


def refused(ask: int, error: Any) -> str:
    """Return a text frame that refuses an asking."""
    return wire.encode([wire.Refused(ask, wire.error_to_dict(error))])


def asked(position: Position = START, **options: Any) -> tuple[Link, Subscription]:
    """Return a link that has asked once on connection 1, with ask 1."""
    link = Link(**options)
    link.connected(1)
    subscription = link.subscribe("cmd_1", position)
    said(link)
    return link, subscription


def drain(subscription: Subscription) -> list[Event]:
    """Return all events that can be taken."""
    events = []
    while (event := subscription.take()) is not None:
        events.append(event)
    return events
