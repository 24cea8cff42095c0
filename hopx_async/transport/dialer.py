"""Opens the channels of one link, by the feed that `Feeds` chooses."""

from __future__ import annotations

import logging
from typing import NamedTuple

import anyio

from hopx_async.errors import AgentFault, ConnectError, HopxError, TransportError
from hopx_async.protocol.feeds import Feed, Feeds
from hopx_async.transport.base import Channel, SocketRefused, Transport

__all__ = ["GREETING_SECONDS", "Dialed", "Dialer"]

#: Seconds from an open connection to the agent's first word: a proxy may open it alone.
GREETING_SECONDS = 15.0
_CLOSE_SECONDS = 3.0
_log = logging.getLogger("hopx_async")


class Dialed(NamedTuple):
    """An open channel, what it is, and the agent's first frame on it."""

    channel: Channel
    feed: Feed
    greeting: str | bytes


class Dialer:
    """The way to open and reopen one link over a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._feeds = Feeds(polls=transport.polls)
        self._probed: Dialed | None = None
        self._reason: HopxError | None = None

    async def dial(self) -> Dialed:
        """Open the next channel. Cancelling it is safe: no connection is left.

        Raises:
            ApiError: If the far side says no.
            ProtocolError: If what answers is no agent of ours.
            TransportError: If nobody answered, or not yet.
        """
        dialed, self._probed = self._probed, None
        while dialed is None:
            try:
                dialed = await self._open(self._feeds.next)
            except SocketRefused as error:
                self._reason = error
                if not self._feeds.refused():
                    raise
            except (TransportError, AgentFault):
                self._feeds.failed()
                raise
        if self._feeds.opened():
            self._warn(self._reason)
        return dialed

    async def probe(self) -> None:
        """Return when a socket is open again; `dial` then hands it out. Cancelling it is safe."""
        while self._probed is None:
            await anyio.sleep(self._feeds.probe_after())
            try:
                self._probed = await self._open("socket")
            except HopxError as error:
                # Before, it may have been an outage; now the agent is there, by long-poll.
                if self._feeds.probe_failed():
                    self._warn(error)
        self._feeds.probed()
        _log.info("%s: sockets work again", self._name)

    async def aclose(self) -> None:
        """Close what was opened and not handed out. Bounded."""
        dialed, self._probed = self._probed, None
        if dialed is not None:
            await _close(dialed.channel)

    def _warn(self, reason: HopxError | None) -> None:
        _log.warning("%s: by long-poll, for sockets fail: %s", self._name, reason)

    @property
    def _name(self) -> str:
        return self._transport.name

    async def _open(self, feed: Feed) -> Dialed:
        transport = self._transport
        if feed != "poll":
            feed = transport.feed
        channel = await (transport.connect_poll() if feed == "poll" else transport.connect())
        try:
            with anyio.fail_after(GREETING_SECONDS):
                return Dialed(channel, feed, await channel.receive())
        except TimeoutError:
            await _close(channel)
            raise ConnectError(f"{self._name} opened a connection and said nothing") from None
        except BaseException:
            await _close(channel)
            raise


async def _close(channel: Channel) -> None:
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
        await channel.aclose()
