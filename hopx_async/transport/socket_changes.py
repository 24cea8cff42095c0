"""A watch of files over a websocket, in HopX's words."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import msgspec

from hopx_async.errors import RequestTimeout
from hopx_async.protocol import file_answers
from hopx_async.protocol.file_answers import FileEvent
from hopx_async.transport.files import Changes
from hopx_async.transport.websocket import WebSocketChannel

__all__ = ["WATCHING_SECONDS", "SocketChanges"]

#: Seconds from an open websocket to the word that it watches.
WATCHING_SECONDS = 15.0
_CLOSE_SECONDS = 3.0


class SocketChanges(Changes):
    """A watch over a websocket.

    Frames that are not yet received are held by the socket, 32 at most; then the far side
    waits, and one that waits for longer than a ping takes breaks it off.
    """

    def __init__(self, channel: WebSocketChannel, closed: Callable[[SocketChanges], None]) -> None:
        self._channel = channel
        self._closed = closed
        self._early: FileEvent | None = None

    async def begin(self, path: str) -> None:
        """Ask for it, and wait until it has begun."""
        await self._channel.send(msgspec.json.encode({"action": "watch", "path": path}).decode())
        try:
            with anyio.fail_after(WATCHING_SECONDS):
                first = await self._next()
        except TimeoutError:
            raise RequestTimeout("the far side did not say that it watches") from None
        if isinstance(first, FileEvent):
            self._early = first

    async def receive(self) -> FileEvent:
        if self._early is not None:
            early, self._early = self._early, None
            return early
        while True:
            event = await self._next()
            if isinstance(event, FileEvent):
                return event

    async def aclose(self) -> None:
        self._closed(self)
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._channel.aclose()

    def abandon(self) -> None:
        self._closed(self)
        self._channel.abort()

    async def _next(self) -> FileEvent | str:
        while True:
            event = file_answers.change(await self._channel.receive(), time.time())
            if event is not None:
                return event
