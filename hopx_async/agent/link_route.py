"""The websocket route of the link: one `Peer` per connection, one reader and one writer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

from hopx_async.agent.calls import Calls, fault
from hopx_async.agent.errands import Errands
from hopx_async.errors import ApiError, RateLimited, RemoteProtocolError
from hopx_async.protocol import wire
from hopx_async.protocol.peer import LogSource, Peer, Readers

__all__ = ["MAX_CONNECTIONS", "Connection", "Connections"]

#: Websockets at a time.
MAX_CONNECTIONS = 1024
#: Seconds between pings; without an answer for half of it a connection is dead.
HEARTBEAT = 30.0
# A client that does not answer to a close in this time is cut off.
_CLOSE_TIME = 0.5
_MAX_REASON = 120


class Connections:
    """All websockets of this agent: opened by a route, told of news, closed at the end.

    Args:
        calls: Carries out what they ask.
        logs: What their peers read.
        sandbox_id: Told in the first frame.
        readers: Wants to know how far they have got, None for nobody.
    """

    def __init__(
        self, calls: Calls, logs: LogSource, sandbox_id: str, readers: Readers | None = None
    ) -> None:
        self._readers = readers
        self._calls = calls
        self._logs = logs
        self._sandbox_id = sandbox_id
        self._open: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def askings(self) -> int:
        """Subscriptions of all connections."""
        return sum(connection.peer.askings for connection in self._open)

    def news(self, process_ids: Collection[str]) -> None:
        """Tell every connection that these logs have grown, ended, or been fetched."""
        for connection in self._open:
            connection.news(process_ids)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it ends.

        Raises:
            RateLimited: If there are too many.
        """
        if len(self._open) >= MAX_CONNECTIONS:
            raise RateLimited(f"{MAX_CONNECTIONS} connections are open, more are not taken")
        socket = web.WebSocketResponse(
            timeout=_CLOSE_TIME,
            heartbeat=HEARTBEAT,
            compress=False,
            max_msg_size=wire.MAX_CONTROL_BYTES,
        )
        if not socket.can_prepare(request):
            raise ApiError("this address speaks websocket only", status=426)
        peer = Peer(self._logs, sandbox=self._sandbox_id, readers=self._readers)
        connection = Connection(socket, self._calls, peer)
        self._open.add(connection)
        try:
            await socket.prepare(request)
            await connection.serve()
        finally:
            self._open.discard(connection)
            peer.close()
        return socket

    async def close(self) -> None:
        """Close every connection with 1001, in a bounded time."""
        closing = [asyncio.create_task(connection.go_away()) for connection in self._open]
        if closing:
            _, late = await asyncio.wait(closing, timeout=2 * _CLOSE_TIME)
            for task in late:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)


class Connection:
    """One websocket: a reader that feeds its peer, a writer that empties it, and calls.

    Attributes:
        peer: Its askings.
    """

    def __init__(self, socket: web.WebSocketResponse, calls: Calls, peer: Peer) -> None:
        self._socket = socket
        self.peer = peer
        self._bell = asyncio.Event()
        self._errands = Errands(calls, peer, self._bell.set)

    def news(self, process_ids: Collection[str]) -> None:
        """Note that these logs have grown, ended, or been fetched."""
        for process_id in process_ids:
            self.peer.news(process_id)
        # Rung often, the writer still wakes once per turn of the loop.
        self._bell.set()

    async def serve(self) -> None:
        """Read and write until the connection ends. Cancelling it ends the connection."""
        self._bell.set()
        writer = asyncio.create_task(self._write())
        try:
            await self._read()
        except RemoteProtocolError as error:
            await self._close(WSCloseCode.PROTOCOL_ERROR, str(error))
        finally:
            writer.cancel()
            # At once: who is cancelled here a second time gets no further.
            self._errands.cancel()
            await asyncio.gather(writer, self._errands.aclose(), return_exceptions=True)

    async def go_away(self) -> None:
        """Close it because the agent stops, or is paused."""
        await self._close(WSCloseCode.GOING_AWAY, "the agent is being stopped")

    async def _close(self, code: WSCloseCode, reason: str) -> None:
        message = reason.encode()[:_MAX_REASON].decode(errors="ignore").encode()
        with suppress(ConnectionError):
            await self._socket.close(code=code, message=message)

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.ERROR:
                return  # too large or no websocket: aiohttp has closed it with the right code
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self._errands.receive(message.data)
                await self._errands.room()

    async def _write(self) -> None:
        try:
            await self._write_frames()
        except ConnectionError:
            pass  # it broke; the reader sees it as well
        except Exception as error:  # noqa: BLE001  # or the connection would stay silent
            fault(error)
            await self._close(WSCloseCode.INTERNAL_ERROR, "a fault of the agent")

    async def _write_frames(self) -> None:
        while True:
            frame = self.peer.next_frame()
            self._errands.sent()
            if frame is None:
                self._bell.clear()
                await self._bell.wait()
            elif isinstance(frame, str):
                await self._socket.send_str(frame)
            else:
                await self._socket.send_bytes(frame)
                # Sending waits only when the socket is full: a fast reader must not
                # keep the loop from its other work.
                await asyncio.sleep(0)
