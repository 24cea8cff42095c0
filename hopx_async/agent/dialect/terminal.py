"""A shell in a terminal, typed into and shown by websocket: ``/terminal``."""

from __future__ import annotations

import asyncio
import codecs
from base64 import b64encode
from collections import deque
from typing import Any

from aiohttp import web

from hopx_async.agent.board import Command
from hopx_async.agent.calls import Calls
from hopx_async.agent.dialect.answers import Refused, word_of
from hopx_async.agent.dialect.asks import Asks
from hopx_async.agent.dialect.running import Running, code_of
from hopx_async.agent.dialect.sockets import APART_SECONDS, Socket, Sockets
from hopx_async.agent.guard import status_of
from hopx_async.errors import HopxError, StdinClosed
from hopx_async.model import Exit
from hopx_async.protocol import lifecycle
from hopx_async.protocol.events import Exited, Lost, Stdout

__all__ = ["MAX_TYPED_BYTES", "TerminalRoute"]

#: Bytes that are read ahead of a shell that does not read; what is more waits in the connection.
MAX_TYPED_BYTES = 1024 * 1024
# What a message counts beside its text.
_MESSAGE_BYTES = 256

_Body = dict[str, Any]


class TerminalRoute:
    """The handler.

    Args:
        asks: Knows the shell.
        running: Carries it out.
        calls: Type into it, and give it another size.
        sockets: The websockets.
    """

    def __init__(self, asks: Asks, running: Running, calls: Calls, sockets: Sockets) -> None:
        self._asks = asks
        self._running = running
        self._calls = calls
        self._sockets = sockets

    def add_to(self, app: web.Application) -> None:
        """Add the route to *app*."""
        app.add_routes([web.get("/terminal", self._handle, allow_head=False)])

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        return await self._sockets.serve(request, self._talk)

    async def _talk(self, socket: Socket) -> None:
        """Show a shell until it ends; a client that goes ends it."""
        spec = self._asks.terminal()
        try:
            command = await self._running.start(spec)
        except HopxError as error:
            await _tell(socket, error)
            await socket.send("exit", code=code_of(Exit(reason="spawn_failed")))
            return
        typed = _Typed()
        showing = asyncio.create_task(self._show(socket, command))
        listening = asyncio.create_task(_listen(socket, typed))
        typing = asyncio.create_task(self._type(socket, command, typed))
        tasks = (showing, listening, typing)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            if command.exit is None:
                self._running.hang_up(command)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _show(self, socket: Socket, command: Command) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        exit_ = Exit(reason="lost")
        with self._running.followers.follow(command.process_id) as follower:
            while (event := await follower.next()) is not None:
                if isinstance(event, Stdout):
                    await socket.send_text("output", decoder.decode(event.data))
                elif isinstance(event, (Exited, Lost)):
                    exit_ = event.exit
        await socket.send_text("output", decoder.decode(b"", final=True))
        await asyncio.sleep(APART_SECONDS)
        await socket.send("exit", code=code_of(exit_), process_id=command.process_id)

    async def _type(self, socket: Socket, command: Command, typed: _Typed) -> None:
        """Pass on what the client says, one after another."""
        while True:
            try:
                await self._do(command, await typed.get(), typed)
            except StdinClosed:
                continue  # it is ending, and its exit on its way
            except HopxError as error:
                await _tell(socket, error)

    async def _do(self, command: Command, message: _Body, typed: _Typed) -> None:
        kind = message.get("type")
        if kind == "resize":
            size = {name: message.get(name) for name in ("rows", "cols")}
            await self._calls.call("resize", {"process_id": command.process_id, **size})
            return
        if kind != "input":
            raise Refused("INVALID_REQUEST", "type: one of input, resize")
        text = message.get("data")
        if not isinstance(text, str):
            raise Refused("INVALID_REQUEST", "data: a text")
        data = text.encode(errors="replace")
        while data:
            piece = data[: lifecycle.STDIN_BYTES]
            params = {"offset": typed.taken, "data": b64encode(piece).decode()}
            told = await self._calls.call("stdin", {"process_id": command.process_id, **params})
            # Fewer than were sent, if the shell does not read: the rest is sent again.
            # Noted at once: what fails behind it leaves it with the shell.
            data = data[told["offset"] - typed.taken :]
            typed.taken = told["offset"]


class _Typed:
    """What the client said and the shell has not taken.

    `MAX_TYPED_BYTES` of it are read ahead, so that a client that goes is noticed although the
    shell reads nothing; what is more waits in the connection.

    Attributes:
        taken: Bytes that the shell has taken.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._messages: deque[_Body] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, message: _Body) -> None:
        """Add a message once there is room. Cancelling it is safe: it is not added."""
        await self._room.wait()
        self._messages.append(message)
        self._count(_size(message))
        self._news.set()

    async def get(self) -> _Body:
        """Return the next message. Cancelling it is safe: nothing is lost."""
        while not self._messages:
            self._news.clear()
            await self._news.wait()
        message = self._messages.popleft()
        self._count(-_size(message))
        return message

    def _count(self, size: int) -> None:
        self._size += size
        (self._room.set if self._size < MAX_TYPED_BYTES else self._room.clear)()


def _size(message: _Body) -> int:
    data = message.get("data")
    return _MESSAGE_BYTES + (len(data.encode(errors="replace")) if isinstance(data, str) else 0)


async def _listen(socket: Socket, typed: _Typed) -> None:
    """Hear the client until it goes."""
    while True:
        try:
            message = await socket.receive()
            if message is None:
                return
            await typed.put(message)
        except HopxError as error:
            await _tell(socket, error)


async def _tell(socket: Socket, error: HopxError) -> None:
    message = getattr(error, "message", str(error))
    await socket.send("error", error=message, code=word_of(error, status_of(error)))
