"""Changes of files as they happen: ``/files/watch``."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from hopx_async.agent.dialect.answers import Refused, word_of
from hopx_async.agent.dialect.disk import UNFINISHED
from hopx_async.agent.dialect.paths import Places
from hopx_async.agent.dialect.processes import extra
from hopx_async.agent.dialect.sockets import Socket, Sockets
from hopx_async.agent.guard import status_of
from hopx_async.errors import HopxError

__all__ = ["MAX_WATCHES", "WatchRoute"]

#: Watches at a time; each has a thread.
MAX_WATCHES = 32
_DEBOUNCE_MS, _STEP_MS = 200, 50
_EVENTS = {1: "created", 2: "modified", 3: "deleted"}


class WatchRoute:
    """The handler.

    Args:
        places: Where ``/workspace`` is.
        sockets: The websockets.
    """

    def __init__(self, places: Places, sockets: Sockets) -> None:
        self._places = places
        self._sockets = sockets
        self._watches = 0
        self._threads = ThreadPoolExecutor(MAX_WATCHES, thread_name_prefix="watch")

    def add_to(self, app: web.Application) -> None:
        """Add the route to *app*."""
        app.add_routes([web.get("/files/watch", self._handle, allow_head=False)])

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        return await self._sockets.serve(request, self._talk)

    async def _talk(self, socket: Socket) -> None:
        try:
            message = await socket.receive()
            if message is None:
                return
            if message.get("action") != "watch":
                raise Refused("INVALID_REQUEST", "action: watch")
            place = self._places.inside(message.get("path"))
            if self._watches >= MAX_WATCHES:
                raise Refused("INVALID_REQUEST", f"{MAX_WATCHES} watches are open")
            if not place.exists():
                raise Refused("FILE_NOT_FOUND", f"{place.name!r}: file not found", status=404)
            # From here on, so that no other takes its place meanwhile.
            self._watches += 1
            try:
                watcher = await asyncio.to_thread(_watcher, place)
                await socket.send("status", status=f"Watching {self._places.told(place)}")
                await self._watch(socket, watcher)
            finally:
                self._watches -= 1
        except HopxError as error:
            await _refuse(socket, error)

    async def _watch(self, socket: Socket, watcher: Any) -> None:
        stop = threading.Event()
        telling = asyncio.create_task(self._tell(socket, watcher, stop))
        try:
            leaving = asyncio.create_task(_until_gone(socket))
            await asyncio.wait([telling, leaving], return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            problem = telling.exception() if telling.done() else None
            if problem is not None:
                # watchfiles ends at a name that is no UTF-8, for one.
                message = f"the watch has ended: {problem}"
                await _refuse(socket, Refused("INTERNAL_ERROR", message, status=500))
        finally:
            stop.set()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, socket: Socket, watcher: Any, stop: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            arguments = (_DEBOUNCE_MS, _STEP_MS, 0, stop)
            changes = await loop.run_in_executor(self._threads, watcher.watch, *arguments)
            if not isinstance(changes, set):
                return
            for kind, path in sorted(changes, key=lambda change: change[1]):
                place = Path(path)
                if place.name.startswith(UNFINISHED):
                    continue
                await socket.send("change", path=self._places.told(place), event=_EVENTS[kind])


def _watcher(place: Path) -> Any:
    """Return what watches *place*: changes from now on are seen."""
    try:
        from watchfiles._rust_notify import RustNotify
    except ImportError:
        raise extra("watchfiles") from None
    return RustNotify(
        [str(place)],
        debug=False,
        force_polling=False,
        poll_delay_ms=300,
        recursive=True,
        ignore_permission_denied=True,
    )


async def _refuse(socket: Socket, error: HopxError) -> None:
    text = getattr(error, "message", str(error))
    await socket.send("error", error=text, code=word_of(error, status_of(error)))
    await socket.send("complete", success=False)


async def _until_gone(socket: Socket) -> None:
    while True:
        try:
            if await socket.receive() is None:
                return
        except Refused:
            continue
