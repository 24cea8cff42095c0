"""What answers bytes that never become a request of the agent's."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from hopx_async.agent.guard import error_response
from hopx_async.errors import ApiError
from hopx_async.front import FirstRequest
from hopx_async.protocol import wire

__all__ = ["Full", "Handler"]


class Handler(FirstRequest):
    """Says in JSON, too, what is wrong with bytes that are no request.

    It logs nothing of them: a header may hold a secret.
    """

    __slots__ = ()

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
