"""Commands and code whose output is streamed: ``/commands/stream`` and ``/execute/stream``."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable
from typing import Any

from aiohttp import web

from hopx_async.agent.dialect.answers import Refused, word_of
from hopx_async.agent.dialect.asks import LANGUAGE, Asks
from hopx_async.agent.dialect.running import Running, code_of, failed
from hopx_async.agent.dialect.sockets import APART_SECONDS, Socket, Sockets
from hopx_async.agent.guard import status_of
from hopx_async.errors import HopxError, SpawnError
from hopx_async.model import Exit
from hopx_async.protocol.events import Exited, Lost, Stderr, Stdout

__all__ = ["StreamRoutes"]

_RUNS = {"execute", "run", "command"}
_Body = dict[str, Any]
_Make = Callable[[_Body, str], _Body]


class StreamRoutes:
    """The handlers.

    Args:
        asks: Makes specs from messages.
        running: Carries them out.
        sockets: The websockets.
    """

    def __init__(self, asks: Asks, running: Running, sockets: Sockets) -> None:
        self._asks = asks
        self._running = running
        self._sockets = sockets

    def add_to(self, app: web.Application) -> None:
        """Add every route to *app*."""
        app.add_routes(
            [
                web.get("/commands/stream", self._commands, allow_head=False),
                web.get("/execute/stream", self._code, allow_head=False),
                web.get("/stream", self._code, allow_head=False),
            ]
        )

    async def _commands(self, request: web.Request) -> web.StreamResponse:
        return await self._sockets.serve(request, lambda one: self._talk(one, self._asks.command))

    async def _code(self, request: web.Request) -> web.StreamResponse:
        return await self._sockets.serve(request, lambda one: self._talk(one, self._asks.code))

    async def _talk(self, socket: Socket, make: _Make) -> None:
        """Run what the client sends, one after another; ended when it goes or says more."""
        while True:
            try:
                message = await socket.receive()
                if message is None:
                    return
                kind = message.get("type")
                if not isinstance(kind, str) or kind not in _RUNS:
                    known = ", ".join(sorted(_RUNS))
                    raise Refused("INVALID_REQUEST", f"type: one of {known}")
                spec = make(message, "stream")
            except HopxError as error:
                await _refuse(socket, error)
                continue
            if not await self._run(socket, spec):
                return

    async def _run(self, socket: Socket, spec: _Body) -> bool:
        """Run one and stream it; return whether the client is still there."""
        streaming = asyncio.create_task(self._stream(socket, spec))
        leaving = asyncio.create_task(_gone(socket))
        try:
            await asyncio.wait([streaming, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not streaming.done():
                return False
            streaming.result()
            # Cancelling `receive` loses nothing; one that has ended says that it is over.
            return not leaving.done()
        finally:
            for task in (streaming, leaving):
                task.cancel()
            await asyncio.gather(streaming, leaving, return_exceptions=True)

    async def _stream(self, socket: Socket, spec: _Body) -> None:
        try:
            await self._follow(socket, spec)
        except SpawnError as error:
            ended = failed(error)
            await socket.send_text("stderr", ended.stderr)
            await _finish(socket, spec, ended.exit)
        except HopxError as error:
            await _refuse(socket, error)
        except (asyncio.CancelledError, ConnectionError):
            # The client may be found to have gone while something is sent to it.
            self._running.end(spec)
            raise

    async def _follow(self, socket: Socket, spec: _Body) -> None:
        command = await self._running.start(spec)
        if spec["tags"][LANGUAGE] == "shell":
            await socket.send("start", process_id=command.process_id, pid=command.pid)
        decoder = codecs.getincrementaldecoder("utf-8")
        texts = {"stdout": decoder("replace"), "stderr": decoder("replace")}
        exit_ = Exit(reason="lost")
        with self._running.followers.follow(command.process_id) as follower:
            while (event := await follower.next()) is not None:
                if isinstance(event, (Stdout, Stderr)):
                    await socket.send_text(event.type, texts[event.type].decode(event.data))
                elif isinstance(event, (Exited, Lost)):
                    exit_ = event.exit
        for name, text in texts.items():
            await socket.send_text(name, text.decode(b"", final=True))
        await _finish(socket, spec, exit_)


async def _gone(socket: Socket) -> None:
    """Return when the client has gone, or says something while it is to listen."""
    try:
        await socket.receive()
    except Refused:
        return


async def _finish(socket: Socket, spec: _Body, exit_: Exit) -> None:
    code = code_of(exit_)
    await asyncio.sleep(APART_SECONDS)
    await socket.send(
        "result",
        exit_code=code,
        success=code == 0,
        execution_time=round(exit_.duration or 0.0, 6),
        timed_out=exit_.reason == "timed_out",
        process_id=spec["process_id"],
    )
    await asyncio.sleep(APART_SECONDS)
    await socket.send("complete", success=code == 0, exit_code=code)


async def _refuse(socket: Socket, error: HopxError) -> None:
    message = getattr(error, "message", str(error))
    word = word_of(error, status_of(error))
    await socket.send("error", error=message, message=message, code=word)
    await asyncio.sleep(APART_SECONDS)
    await socket.send("complete", success=False)
