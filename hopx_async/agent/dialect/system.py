"""What clients ask about the agent and its machine: health, facts, figures."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from hopx_async import __version__
from hopx_async.agent.board import Board
from hopx_async.agent.dialect.answers import Refused, new_request_id, request_id, stamp
from hopx_async.agent.dialect.asks import Asks
from hopx_async.agent.dialect.paths import WORKSPACE, Places
from hopx_async.agent.guard import json_response

__all__ = ["Figures", "SystemRoutes"]

_MIB = 1024 * 1024
_NAME = "hopx_async"


class Figures:
    """Counts requests; every answer gets the id of its request."""

    def __init__(self) -> None:
        self.begun = time.time()
        self.requests: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.errors = 0

    def middleware(self) -> Any:
        """Return the aiohttp middleware."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            begun = time.perf_counter()
            new_request_id()
            response = await handler(request)
            # Routes are few, paths are as many as there are ids.
            resource = request.match_info.route.resource
            route = "unknown" if resource is None else resource.canonical
            self.requests[route] += 1
            self.seconds[route] += time.perf_counter() - begun  # type: ignore[assignment]
            self.errors += response.status >= 400
            return response

        return count

    async def mark(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Put the id of *request* on its answer: for aiohttp's ``on_response_prepare``."""
        response.headers["X-Request-ID"] = request_id()


class SystemRoutes:
    """The handlers.

    Args:
        board: What is counted.
        figures: What else is counted.
        asks: Knows the languages.
        places: Where ``/workspace`` is.
        sandbox_id: The sandbox.
        streams: Returns how many websockets are open.
    """

    def __init__(
        self,
        board: Board,
        figures: Figures,
        *,
        asks: Asks,
        places: Places,
        sandbox_id: str,
        streams: Callable[[], int],
    ) -> None:
        self._board = board
        self._figures = figures
        self._asks = asks
        self._places = places
        self._sandbox_id = sandbox_id
        self._streams = streams

    def add_to(self, app: web.Application) -> None:
        """Add every route to *app*."""
        app.add_routes(
            [
                web.get("/", self._root),
                web.get("/ping", self._ping),
                web.get("/system", self._system),
                web.get("/metrics", self._metrics),
                web.get("/metrics/snapshot", self._metrics),
                web.get("/metrics/prometheus", self._prometheus),
                web.get("/jupyter/sessions", self._sessions),
                web.get("/jupyter/status", self._sessions),
                web.get("/cache/stats", self._cache),
                web.post("/cache/clear", self._clear),
                web.route("*", r"/desktop/{rest:[\s\S]*}", _no_desktop),
            ]
        )

    def health(self) -> dict[str, Any]:
        """Return what ``/health`` says beside its status."""
        return {
            "agent": _NAME,
            "version": __version__,
            "vm_id": self._sandbox_id,
            "uptime": _duration(time.time() - self._figures.begun),
            "features": self._features(),
            "active_streams": self._streams(),
        }

    def info(self) -> dict[str, Any]:
        """Return what ``/info`` says beside our own facts."""
        return {
            "agent_version": __version__,
            "vm_id": self._sandbox_id,
            "os": platform.system().lower(),
            "arch": platform.machine(),
            "platform": platform.platform(),
            "start_time": stamp(self._figures.begun),
            "uptime": time.time() - self._figures.begun,
            "features": self._features(),
        }

    def _features(self) -> dict[str, Any]:
        return {
            "code_execution": True,
            "languages": self._asks.languages(),
            "rich_outputs": False,
            "desktop": False,
            "file_watch": True,
        }

    async def _root(self, request: web.Request) -> web.Response:
        return json_response({"agent": _NAME, "status": "running", "version": __version__})

    async def _ping(self, request: web.Request) -> web.Response:
        return json_response({"status": "ok", "message": "pong", "timestamp": stamp()})

    async def _system(self, request: web.Request) -> web.Response:
        disk = shutil.disk_usage(self._places.root)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        system = platform.uname()
        return json_response(
            {
                "os": {
                    "name": system.system,
                    "version": system.version,
                    "kernel": system.release,
                    "arch": system.machine,
                    "hostname": system.node,
                    "timezone": time.tzname[0],
                },
                "hardware": {
                    "cpu_cores": os.cpu_count() or 1,
                    "cpu_model": system.processor or system.machine,
                    "memory_mb": memory // _MIB,
                    "disk_mb": disk.total // _MIB,
                },
                "network": {},
                "environment": {"working_dir": WORKSPACE},
                "capabilities": ["commands", "code", "files", "streams"],
                "timestamp": stamp(),
            }
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        figures = self._figures
        means = {
            route: round(1000 * figures.seconds[route] / count, 3)
            for route, count in figures.requests.items()
        }
        return json_response(
            {
                "uptime_seconds": time.time() - figures.begun,
                "total_requests": figures.requests.total(),
                "total_errors": figures.errors,
                "error_count": figures.errors,
                "requests_total": dict(figures.requests),
                "avg_duration_ms": means,
                "total_executions": len(self._board),
                "active_executions": self._board.live,
                "timestamp": stamp(),
            }
        )

    async def _prometheus(self, request: web.Request) -> web.Response:
        figures = self._figures
        told = {
            "uptime_seconds": time.time() - figures.begun,
            "requests_total": figures.requests.total(),
            "errors_total": figures.errors,
            "executions_total": len(self._board),
            "executions_active": self._board.live,
        }
        lines = [f"hopx_agent_{name} {value}" for name, value in told.items()]
        return web.Response(text="\n".join(lines) + "\n")

    async def _sessions(self, request: web.Request) -> web.Response:
        return json_response({"sessions": [], "count": 0, "timestamp": stamp()})

    async def _cache(self, request: web.Request) -> web.Response:
        cache = {"size": 0, "max_size": 0, "total_hits": 0, "ttl": 0}
        return json_response({"cache": cache, "timestamp": stamp()})

    async def _clear(self, request: web.Request) -> web.Response:
        message = "nothing is cached"
        return json_response({"message": message, "entries_removed": 0, "timestamp": stamp()})


async def _no_desktop(_request: web.Request) -> web.Response:
    # 501, not 503: that is retried by HopX's clients.
    raise Refused("DESKTOP_NOT_AVAILABLE", "there is no desktop here", status=501)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s"
