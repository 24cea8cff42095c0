"""What answers bytes that never become a request of the agent's, and those that never come."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from hopx_async.agent.guard import error_response
from hopx_async.errors import ApiError
from hopx_async.protocol import wire

__all__ = ["HEAD_SECONDS", "Full", "Handler"]

#: Seconds in which the head of a connection's first request must be there. What comes later
#: has the time that a connection may idle.
HEAD_SECONDS = 15.0
_HEAD_END = b"\r\n\r\n"


class Handler(web.RequestHandler):
    """aiohttp's protocol; says in JSON, too, what is wrong with bytes that are no request.

    It logs nothing of them: a header may hold a secret.  A connection over which no first
    request comes is closed: there is only room for so many.
    """

    __slots__ = ("_deadline", "_last_bytes")

    _deadline: asyncio.TimerHandle | None
    _last_bytes: bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._last_bytes = b""
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HEAD_SECONDS, self.force_close)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take what comes; with the end of a head, the connection has its first request."""
        if self._deadline is not None:
            seen = self._last_bytes + data
            self._last_bytes = seen[1 - len(_HEAD_END) :]
            if _HEAD_END in seen:
                self._cancel()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no longer."""
        self._cancel()
        super().connection_lost(exc)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that is none."""
        response = error_response(ApiError(_reason(status), status=status))
        response.force_close()
        return response


class Full(asyncio.Protocol):
    """What a connection too many gets.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and close."""
        assert isinstance(transport, asyncio.Transport)
        error = ApiError(f"{self._most} connections are open, more are not taken", status=503)
        body = msgspec.json.encode({"error": wire.error_to_dict(error)})
        head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        transport.write(head.encode() + body)
        transport.close()


def _reason(status: int) -> str:
    return "a fault of the agent" if status >= 500 else "this is no request, or a header too long"
