"""An emulation of the agent that HopX's own cloud runs, with its flaws. Test equipment.

It is what the markers are tried against; see ``docs/reference/stock-agent.md`` for each
flaw with its source. It runs what it is told as this user: it listens on loopback only.
"""

from __future__ import annotations

import hmac
import math
import platform
import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from hopx_async.agent.dialect.answers import new_request_id, read_json, request_id, stamp
from hopx_async.agent.dialect.sockets import Sockets
from hopx_async.agent.dialect.watch import WatchRoute
from hopx_async.agent.guard import json_response, status_of
from hopx_async.errors import ApiError, HopxError
from hopx_async.testing.stock_commands import Background, Programs, StockRefusal
from hopx_async.testing.stock_files import StockFiles, StockPlaces

__all__ = ["REQUESTS_PER_MINUTE", "Quota", "StockAgent", "StockSettings"]

#: What HopX publishes for requests to one agent.
REQUESTS_PER_MINUTE = 300
_MINUTE = 60.0
_NAME, _VERSION, _GO = "HopX VM Agent (Go)", "3.2.8", "go1.22.5"
_OPEN_PATHS = frozenset({"/", "/ping", "/health", "/info", "/system"})
_SECRET = re.compile("KEY|SECRET|PASSWORD|TOKEN", re.IGNORECASE)
_MASKED = "***MASKED***"
_MAX_BODY = 8 * 1024 * 1024
# What HopX has and this has not: it says so, instead of claiming success as for unknown paths.
_NOT_EMULATED = (
    *("/execute", "/execute/background", "/execute/stream", "/commands/stream", "/stream"),
    *("/terminal", "/processes", "/metrics", "/metrics/snapshot"),
)


@attrs.frozen(kw_only=True)
class StockSettings:
    """How an emulated agent behaves.

    Attributes:
        requests_per_minute: Requests within any minute; more are answered with 429.
        fault_rate: Share of requests, 0 to 1, answered with 500, 502 or 503: half of them
            although they were carried out.
        seed: Of the choice of those.
        output_limit: Characters of each stream that an answer keeps, None for all of them.
    """

    requests_per_minute: int = REQUESTS_PER_MINUTE
    fault_rate: float = 0.0
    seed: int = 0
    output_limit: int | None = None


class Quota:
    """Requests within the last minute, and no more than there may be.

    Args:
        most: How many.

    Attributes:
        highest: The most that were admitted within one minute so far.
        refused: How many were refused.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.highest = 0
        self.refused = 0
        self._times: deque[float] = deque()

    def take(self, now: float) -> float:
        """Take one, and return the seconds until one may be had, 0 if this one was."""
        while self._times and self._times[0] <= now - _MINUTE:
            self._times.popleft()
        if len(self._times) >= self.most:
            self.refused += 1
            return self._times[0] + _MINUTE - now
        self._times.append(now)
        self.highest = max(self.highest, len(self._times))
        return 0.0

    @property
    def left(self) -> int:
        """How many there still are."""
        return self.most - len(self._times)


class StockAgent:
    """One sandbox's agent, as HopX's is.

    Args:
        workspace: What ``/workspace`` is.
        sandbox_id: The sandbox.
        token: Opens it, and alone lets it be paused; "" for none.
        verify: Raises unless a token opens it, too; None where *token* is the only one.
        env: What every program gets.
        settings: How it behaves.
        freeze: Stops all programs, or lets them go on; None where it cannot be paused.

    Attributes:
        quota: Requests in a minute.
        requests: Requests by method and path.
        programs: What it runs.
        url: Where it listens, once it does.
    """

    def __init__(
        self,
        workspace: Path,
        *,
        sandbox_id: str,
        token: str = "",
        verify: Callable[[str], None] | None = None,
        env: dict[str, str],
        settings: StockSettings | None = None,
        freeze: Callable[[bool], None] | None = None,
    ) -> None:
        self._settings = settings or StockSettings()
        self._sandbox_id = sandbox_id
        self._token = token
        self._verify = verify
        self._freeze = freeze
        self._paused = False
        self._chance = random.Random(self._settings.seed)  # noqa: S311  # no secret
        self._begun = time.time()
        self.quota = Quota(self._settings.requests_per_minute)
        self.requests: Counter[str] = Counter()
        self.programs = Programs(workspace, env)
        self._sockets = Sockets()
        app = web.Application(middlewares=[self._middleware()], client_max_size=_MAX_BODY)
        app.on_response_prepare.append(_mark)
        self._add_routes(app, StockPlaces(str(workspace)))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.url = ""

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self._listens()

    async def open_on(self, sock: Any) -> None:
        """Listen on a socket that does so already."""
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()
        self._listens()

    async def aclose(self) -> None:
        """Listen no more. What runs goes on: that is for whoever holds the processes."""
        await self._sockets.aclose()
        await self._runner.cleanup()
        await self.programs.aclose()

    def _listens(self) -> None:
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    # Requests.

    def _add_routes(self, app: web.Application, places: StockPlaces) -> None:
        add = app.router.add_route
        StockFiles(places).add_to(app)
        WatchRoute(places, self._sockets).add_to(app)
        add("POST", "/commands/run", self._run)
        add("POST", "/commands/background", self._background)
        add("GET", "/execute/processes", self._list)
        for verb in ("GET", "PUT", "PATCH", "DELETE"):
            add(verb, "/env", self._env)
        for path in ("/health", "/info", "/system", "/ping"):
            add("GET", path, self._about)
        for path in _NOT_EMULATED:
            add("*", path, _not_emulated)
        # Whatever is not known is answered with 200 by the route of "/".
        add("*", "/{path:.*}", self._catch_all)

    def _middleware(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            new_request_id()
            self.requests[f"{request.method} {request.path}"] += 1
            try:
                answer = await self._answer(request, handler)
            except HopxError as error:
                answer = _refusal(error, request)
            except web.HTTPException as error:
                refusal = StockRefusal("INVALID_REQUEST", error.reason, status=error.status)
                answer = _refusal(refusal, request)
            return answer

        return guard

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        ours = bool(self._token) and hmac.compare_digest(given.encode(), self._token.encode())
        if ours and self._freeze is not None and request.path in {"/v1/pause", "/v1/resume"}:
            self._paused = request.path == "/v1/pause"
            self._freeze(self._paused)
            return json_response({"paused": self._paused})
        if self._paused:
            raise StockRefusal("SANDBOX_STOPPED", "the sandbox is paused", status=503)
        if request.path in _OPEN_PATHS:
            return await handler(request)
        if not ours:
            self._check(given)
        wait = self.quota.take(time.monotonic())
        if wait > 0:
            return self._too_many(request, wait)
        return await self._faulty(request, handler)

    def _check(self, token: str) -> None:
        if self._verify is None:
            raise StockRefusal("INVALID_TOKEN", "Invalid or expired token", status=401)
        self._verify(token)

    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._chance.random() >= self._settings.fault_rate:
            return await handler(request)
        if self._chance.random() < 0.5:  # one half, as it says
            await handler(request)
        status = self._chance.choice((500, 502, 503))
        raise StockRefusal("INTERNAL_ERROR", "something went wrong", status=status)

    def _too_many(self, request: web.Request, wait: float) -> web.Response:
        seconds = math.ceil(wait)
        error = StockRefusal("RATE_LIMIT_EXCEEDED", "Rate limit exceeded", status=429)
        response = _refusal(error, request, retry_after=seconds)
        response.headers["Retry-After"] = str(seconds)
        response.headers["X-RateLimit-Limit"] = str(self.quota.most)
        response.headers["X-RateLimit-Remaining"] = str(self.quota.left)
        response.headers["X-RateLimit-Reset"] = str(int(time.time()) + seconds)
        return response

    # Answers.

    async def _run(self, request: web.Request) -> web.Response:
        ran = await self.programs.run(await read_json(request, _MAX_BODY))
        for stream in ("stdout", "stderr"):
            ran[stream] = ran[stream][: self._settings.output_limit]
        return json_response({**ran, "timestamp": stamp()})

    async def _background(self, request: web.Request) -> web.Response:
        known = await self.programs.start(await read_json(request, _MAX_BODY))
        told = {"process_id": known.process_id, "execution_id": known.process_id}
        return json_response({**told, "status": "running", "timestamp": stamp()})

    async def _list(self, _: web.Request) -> web.Response:
        rows = [_row(known) for known in self.programs.background.values()]
        return json_response({"processes": rows, "count": len(rows), "timestamp": stamp()})

    async def _env(self, request: web.Request) -> web.Response:
        variables = self.programs.variables
        if request.method in {"PUT", "DELETE"}:
            variables.clear()
        if request.method in {"PUT", "PATCH"}:
            given = (await read_json(request, _MAX_BODY)).get("env_vars") or {}
            variables.update({str(name): str(value) for name, value in given.items()})
        shown = {name: _MASKED if _SECRET.search(name) else variables[name] for name in variables}
        return json_response({"env_vars": shown, "count": len(shown), "timestamp": stamp()})

    async def _about(self, request: web.Request) -> web.Response:
        about = {"agent": _NAME, "version": _VERSION, "vm_id": self._sandbox_id}
        uptime = f"{int(time.time() - self._begun)}s"
        machine = f"linux/{platform.machine()}"
        more: dict[str, dict[str, Any]] = {
            "/ping": {"status": "ok"},
            "/health": {"status": "healthy", "uptime": uptime, "features": {}, "active_streams": 0},
            "/info": {"platform": machine, "start_time": stamp(self._begun)},
            "/system": {"os": {"name": "Ubuntu"}, "environment": {"working_dir": "/"}},
        }
        return json_response({**about, "go_version": _GO, **more[request.path]})

    async def _catch_all(self, request: web.Request) -> web.Response:
        await request.read()
        about = {"agent": _NAME, "status": "running", "version": _VERSION}
        told = {"vm_id": self._sandbox_id, "message": "success", "timestamp": stamp()}
        return json_response({**about, **told})


async def _not_emulated(_: web.Request) -> web.Response:
    raise StockRefusal("NOT_IMPLEMENTED", "not part of the emulation", status=501)


async def _mark(_: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers["X-Request-ID"] = request_id()


def _refusal(error: HopxError, request: web.Request, **more: Any) -> web.Response:
    """Return an error in the agent's envelope; that of its login has its text elsewhere."""
    status = status_of(error)
    text = error.message if isinstance(error, ApiError) else str(error)
    word = getattr(error, "word", "INTERNAL_ERROR" if status >= 500 else "INVALID_REQUEST")
    if status == 401:
        return json_response({"error": word, "message": text}, status)
    told = {"error": text, "code": word, "request_id": request_id(), "timestamp": stamp()}
    return json_response({**told, "path": request.path, **more}, status)


def _row(known: Background) -> dict[str, Any]:
    ended = known.ended_at
    return {
        "process_id": known.process_id,
        "execution_id": known.process_id,
        "name": "",
        "language": "",
        "status": known.status,
        "pid": known.pid,
        "exit_code": known.exit_code,
        "start_time": stamp(known.started_at),
        "end_time": None if ended is None else stamp(ended),
        "duration": (ended or time.time()) - known.started_at,
    }
