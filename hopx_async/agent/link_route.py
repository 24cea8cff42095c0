"""The websocket route of the link: one `Peer` per connection, one reader and one writer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from hopx_async.agent.calls import Calls, fault
from hopx_async.errors import ApiError, HopxError, RateLimited, RemoteProtocolError
from hopx_async.protocol import wire
from hopx_async.protocol.peer import LogSource, Peer

__all__ = ["MAX_CONNECTIONS", "Connection", "Connections"]

#: Websockets at a time.
MAX_CONNECTIONS = 1024
#: Seconds between pings; without an answer for half of it a connection is dead.
HEARTBEAT = 30.0
# While more than this is unfinished or unsent, nothing more is read from the connection.
_MAX_CALLS = 512
_MAX_CALL_BYTES = 16 * wire.MAX_CALL_BYTES
# A client that does not answer to a close in this time is cut off.
_CLOSE_TIME = 0.5
_MAX_REASON = 120


class Connections:
    """All websockets of this agent: opened by a route, told of news, closed at the end.

    Args:
        calls: Carries out what they ask.
        logs: What their peers read.
        sandbox_id: Told in the first frame.
    """

    def __init__(self, calls: Calls, logs: LogSource, sandbox_id: str) -> None:
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
        connection = Connection(socket, self._calls, Peer(self._logs, sandbox=self._sandbox_id))
        self._open.add(connection)
        try:
            await socket.prepare(request)
            await connection.serve()
        finally:
            self._open.discard(connection)
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

    Calls belong to the connection and are cancelled with it; what they have begun at
    the keeper goes on.

    Attributes:
        peer: Its askings.
    """

    def __init__(self, socket: web.WebSocketResponse, calls: Calls, peer: Peer) -> None:
        self._socket = socket
        self._calls = calls
        self.peer = peer
        self._bell = asyncio.Event()
        self._room = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._call_bytes = 0

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
            tasks = [writer, *self._under_way]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def go_away(self) -> None:
        """Close it because the agent stops."""
        await self._close(WSCloseCode.GOING_AWAY, "the agent is being stopped")

    async def _close(self, code: WSCloseCode, reason: str) -> None:
        message = reason.encode()[:_MAX_REASON].decode(errors="ignore").encode()
        with suppress(ConnectionError):
            await self._socket.close(code=code, message=message)

    # Reading.

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.ERROR:
                return  # too large or no websocket: aiohttp has closed it with the right code
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            calls = self.peer.receive(message.data)
            self._bell.set()
            for call in calls:
                await self._until(self._has_room)
                self._carry_out(call, len(message.data) // len(calls))
            await self._until(self._has_room)

    def _has_room(self) -> bool:
        few = len(self._under_way) < _MAX_CALLS and self._call_bytes <= _MAX_CALL_BYTES
        return few and not self.peer.congested

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._room.clear()
            await self._room.wait()

    def _carry_out(self, call: wire.Call, size: int) -> None:
        task = asyncio.create_task(self._answer(call))
        self._under_way.add(task)
        self._call_bytes += size
        task.add_done_callback(lambda done: self._carried_out(done, size))

    def _carried_out(self, task: asyncio.Task[None], size: int) -> None:
        self._under_way.discard(task)
        self._call_bytes -= size
        self._room.set()

    async def _answer(self, call: wire.Call) -> None:
        result: dict[str, Any] | None = None
        problem: HopxError | None = None
        # Many small calls may have large answers: the next is made when the last have left.
        await self._until(lambda: not self.peer.congested)
        try:
            result = await self._calls.call(call.method, call.params)
        except HopxError as error:
            problem = error
        self.peer.reply(call.call, result, problem)
        self._bell.set()

    # Writing.

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
            self._room.set()
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
