"""The link's channel over a websocket, by the library websockets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    WebSocketException,
)
from websockets.frames import DATA_OPCODES, Frame

from hopx_async.errors import (
    ConnectError,
    ConnectionLost,
    HopxError,
    RemoteProtocolError,
)
from hopx_async.protocol import wire
from hopx_async.protocol.envelopes import read_json
from hopx_async.transport.base import Channel, SocketRefused
from hopx_async.transport.byte_reader import use_byte_reader
from hopx_async.transport.tls import hopeless

__all__ = ["PASSING_STATUSES", "PING_SECONDS", "WebSocketChannel", "open_channel"]

#: Seconds between pings, and the seconds in which a pong must come.
PING_SECONDS = 15.0
_OPEN_SECONDS = 30.0
_CLOSE_SECONDS = 2.0
# RFC 6455, 7.4.1: with these the two disagree; the same again would end the same way.
_FATAL_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
#: Answers that a moment later may be others: starting up, a proxy in between.
PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


def _without_secrets(record: logging.LogRecord) -> bool:
    """Hide the token and what frames hold: the library logs all of it, where that is wanted."""
    if isinstance(record.args, tuple):
        if "Authorization" in record.args:
            record.args = ("Authorization", "(not shown)")
        record.args = tuple(map(_outside_of, record.args))
    return True


def _outside_of(logged: object) -> object:
    # Values of variables travel in frames, and so does what commands print.
    if isinstance(logged, Frame) and logged.opcode in DATA_OPCODES:
        return f"{logged.opcode.name} [{len(logged.data)} bytes]"
    return logged


_log = logging.getLogger("hopx_async.websocket")
_log.addFilter(_without_secrets)


def _told_by_us(status: int, body: bytes) -> HopxError | None:
    value = read_json(body)
    error = value.get("error") if isinstance(value, dict) else None
    return wire.error_from_dict(error, status=status) if isinstance(error, dict) else None


class _Connection(ClientConnection):
    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        use_byte_reader(protocol)
        super().__init__(protocol, **options)


async def open_channel(
    url: str,
    headers: Mapping[str, str],
    *,
    name: str,
    refused: Callable[[int, bytes], HopxError | None] = _told_by_us,
) -> WebSocketChannel:
    """Open the websocket at *url* with *headers*; errors call the far side *name*.

    Args:
        url: Where.
        headers: What goes with the handshake.
        name: What errors call the far side.
        refused: Returns the error that status and body of a refusal stand for, None for none.

    Cancelling ``open_channel`` is safe: no connection is left.

    Raises:
        ApiError: If the handshake is refused for good.
        SocketRefused: If what answered is not our agent.
        ConnectError: If nobody answered, or not yet.
        TlsError: If the far side is not to be trusted.
    """
    try:
        connection = await connect(
            url,
            additional_headers=dict(headers),
            compression=None,  # deflate costs more than loopback or a LAN ever saves
            max_size=wire.MAX_CONTROL_BYTES,
            max_queue=32,
            open_timeout=_OPEN_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            proxy=None,
            user_agent_header=None,
            logger=_log,
            create_connection=_Connection,
        )
    except InvalidStatus as error:
        raise _refusal(error, name, refused) from error
    except (InvalidHandshake, OSError, TimeoutError, EOFError) as error:
        shown = error if str(error) else type(error).__name__
        raise hopeless(name, error) or ConnectError(f"cannot reach {name}: {shown}") from error
    except WebSocketException as error:
        raise SocketRefused(f"{name} speaks no websocket: {error}") from error
    return WebSocketChannel(connection, name)


def _refusal(
    error: InvalidStatus, name: str, refused: Callable[[int, bytes], HopxError | None]
) -> HopxError:
    status = error.response.status_code
    if status in PASSING_STATUSES:
        return ConnectError(f"{name} is not ready: status {status}")
    told = refused(status, bytes(error.response.body or b""))
    return told or SocketRefused(f"{name} refused with status {status}: not our agent?")


class WebSocketChannel(Channel):
    """A websocket as a channel; made by `open_channel`."""

    def __init__(self, connection: ClientConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def send(self, frame: str) -> None:
        """Send a text frame; waits while the socket's buffer is full."""
        try:
            await self._connection.send(frame)
        except ConnectionClosed as error:
            raise self._lost(error) from error

    async def receive(self) -> str | bytes:
        """Return the next frame."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise self._lost(error) from error

    async def aclose(self) -> None:
        """Close with 1000 and wait for the answer, two seconds at most."""
        await self._connection.close()

    def abort(self) -> None:
        """Break it off at once."""
        self._connection.transport.abort()

    def _lost(self, error: ConnectionClosed) -> HopxError:
        received = error.rcvd
        if received is not None and received.code in _FATAL_CODES:
            return RemoteProtocolError(
                f"{self._name} closed the link with {received.code} {received.reason}"
            )
        sent = error.sent
        if sent is not None and sent.code in _FATAL_CODES and not error.rcvd_then_sent:
            return RemoteProtocolError(f"{self._name} broke the link: {sent.code} {sent.reason}")
        return ConnectionLost(f"{self._name} broke off: {error}")
