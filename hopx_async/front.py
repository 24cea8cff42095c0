"""The time that a connection to a server of ours has for its first request."""

from __future__ import annotations

import asyncio

from aiohttp import web

__all__ = ["HEAD_SECONDS", "FirstRequest"]

#: Seconds in which the head of a connection's first request must be there. What comes later
#: has the time that a connection may idle.
HEAD_SECONDS = 15.0
_HEAD_END = b"\r\n\r\n"


class FirstRequest(web.RequestHandler):
    """aiohttp's protocol; a connection over which no first request comes is closed.

    However many bytes it sends: there is only room for so many connections.
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
