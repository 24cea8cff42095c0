"""Websockets of the dialect: JSON in text frames, small, and compressed each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from hopx_async.agent.dialect.answers import Refused, stamp
from hopx_async.errors import RateLimited

__all__ = ["APART_SECONDS", "MAX_FRAME_BYTES", "MAX_SOCKETS", "Socket", "Sockets"]

#: Seconds between the last frames and what precedes them. HopX's JavaScript client may miss
#: frames that come together with others, and would wait for the last ones for ever.
APART_SECONDS = 0.02
#: Bytes of one frame that is sent: clients of HopX end silently at larger ones.
MAX_FRAME_BYTES = 64 * 1024
#: Websockets of the dialect at a time.
MAX_SOCKETS = 256
_MAX_RECEIVED = 1024 * 1024
_HEARTBEAT = 30.0
_CLOSE_SECONDS = 0.5
_message = msgspec.json.Decoder(dict[str, Any])


class Socket:
    """One websocket: sends objects, receives objects.

    Args:
        socket: The websocket, prepared.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def send(self, kind: str, **fields: Any) -> None:
        """Send an object of this type with the time; nothing once the client has gone."""
        frame = msgspec.json.encode({"type": kind, **fields, "timestamp": stamp()})
        if not self._socket.closed:
            # Every frame is compressed if the client can: HopX's JavaScript client loses
            # frames that arrive together, and these it does not.
            await self._socket.send_frame(frame, WSMsgType.TEXT)

    async def send_text(self, kind: str, text: str, key: str = "data") -> None:
        """Send *text* in as many frames as it needs."""
        # A character takes up to six bytes in JSON.
        step = MAX_FRAME_BYTES // 8
        for begin in range(0, len(text), step):
            await self.send(kind, **{key: text[begin : begin + step]})

    async def receive(self) -> dict[str, Any] | None:
        """Return the next object, None when the client has gone. Cancelling it is safe.

        Raises:
            Refused: If it is no object.
        """
        message: WSMessage = await self._socket.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return None
        try:
            return _message.decode(message.data)
        except (ValueError, RecursionError) as error:
            raise Refused("INVALID_JSON", f"a message is a JSON object: {error}") from None

    async def close(self, code: int = WSCloseCode.OK, reason: str = "") -> None:
        """Close it; a client that does not answer is left alone after a moment."""
        if not self._socket.closed:
            await self._socket.close(code=code, message=reason.encode()[:120])


class Sockets:
    """All websockets of the dialect."""

    def __init__(self) -> None:
        self._open: set[Socket] = set()

    def __len__(self) -> int:
        return len(self._open)

    async def serve(
        self, request: web.Request, talk: Callable[[Socket], Awaitable[None]]
    ) -> web.StreamResponse:
        """Answer *request* with a websocket and *talk* on it until the end.

        Raises:
            RateLimited: If there are too many.
        """
        if len(self._open) >= MAX_SOCKETS:
            raise RateLimited(f"{MAX_SOCKETS} websockets are open, more are not taken")
        response = web.WebSocketResponse(
            heartbeat=_HEARTBEAT,
            max_msg_size=_MAX_RECEIVED,
            timeout=_CLOSE_SECONDS,
            compress=True,
        )
        await response.prepare(request)
        socket = Socket(response)
        self._open.add(socket)
        try:
            await talk(socket)
        except ConnectionError:
            pass  # the client has gone
        finally:
            self._open.discard(socket)
            await socket.close()
        return response

    async def aclose(self) -> None:
        """Close every one of them with 1001."""
        closing = [one.close(WSCloseCode.GOING_AWAY, "the agent ends") for one in self._open]
        await asyncio.gather(*closing, return_exceptions=True)
