"""The HTTP routes: the same methods as on the link, for clients without a websocket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from hopx_async.agent.calls import Calls
from hopx_async.agent.dialect.system import SystemRoutes
from hopx_async.agent.guard import json_response
from hopx_async.agent.link_route import Connections
from hopx_async.agent.poll_route import Sessions
from hopx_async.errors import InvalidArgument

__all__ = ["Routes"]

_body = msgspec.json.Decoder(dict[str, Any])


class Routes:
    """The handlers.

    Args:
        calls: Carries out what is asked.
        connections: Serves the websockets.
        sessions: Serves the long-poll.
        ready: Whether the agent can answer yet.
        system: What else it says of itself, in HopX's words.
    """

    def __init__(
        self,
        calls: Calls,
        connections: Connections,
        sessions: Sessions,
        ready: Callable[[], bool],
        system: SystemRoutes,
    ) -> None:
        self._calls = calls
        self._connections = connections
        self._sessions = sessions
        self._ready = ready
        self._system = system

    def add_to(self, app: web.Application) -> None:
        """Add every route to *app*."""
        one = "/v1/commands/{process_id}"
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/info", self._agent_info),
                web.get("/v1/hello", self._hello),
                web.get("/v1/link", self._connections.handle, allow_head=False),
                web.post("/v1/link/{session}", self._sessions.handle),
                web.delete("/v1/link/{session}", self._sessions.leave),
                web.get("/v1/commands", self._list),
                web.put(one, self._start),
                web.get(one, self._info),
                web.post(one + "/signals/{signal_id}", self._signal),
                web.post(one + "/kill", self._kill),
                web.post(one + "/stdin", self._stdin),
                web.post(one + "/resize", self._resize),
                web.post(one + "/wait-port", self._wait_port),
                web.get("/v1/env", self._env_get),
                web.put("/v1/env", self._env_set),
                web.patch("/v1/env", self._env_update),
                web.delete("/v1/env", self._env_delete),
                web.get("/v1/statistics", self._statistics),
            ]
        )

    async def _health(self, request: web.Request) -> web.Response:
        if self._ready():
            return json_response({"status": "healthy", **self._system.health()})
        return json_response({"status": "starting"}, 503)

    async def _agent_info(self, request: web.Request) -> web.Response:
        return json_response({**self._system.info(), **self._calls.facts()})

    async def _hello(self, request: web.Request) -> web.Response:
        return json_response(await self._calls.call("hello", {}))

    async def _start(self, request: web.Request) -> web.Response:
        params = await _params(request)
        process_id = request.match_info["process_id"]
        if params.setdefault("process_id", process_id) != process_id:
            value = repr(params["process_id"])[:120]
            raise InvalidArgument("process_id", value, "the same in the body as in the address")
        answer = await self._calls.call("start", params)
        return json_response(answer, 201 if answer["created"] else 200)

    async def _info(self, request: web.Request) -> web.Response:
        return json_response(await self._calls.call("info", dict(request.match_info)))

    async def _list(self, request: web.Request) -> web.Response:
        params: dict[str, Any] = {}
        for name, value in request.query.items():
            if name == "tag":
                key, _, tag = value.partition("=")
                params.setdefault("tags", {})[key] = tag
            else:
                params[name] = value
        return json_response(await self._calls.call("list", params))

    async def _signal(self, request: web.Request) -> web.Response:
        params = {**await _params(request), **request.match_info}
        return json_response(await self._calls.call("signal", params))

    async def _kill(self, request: web.Request) -> web.Response:
        params = {**await _params(request), **request.match_info}
        return json_response(await self._calls.call("kill", params))

    async def _stdin(self, request: web.Request) -> web.Response:
        # It may hang; it ends with its connection.
        params = {**await _params(request), **request.match_info}
        return json_response(await self._calls.call("stdin", params))

    async def _resize(self, request: web.Request) -> web.Response:
        params = {**await _params(request), **request.match_info}
        return json_response(await self._calls.call("resize", params))

    async def _wait_port(self, request: web.Request) -> web.Response:
        params = {**await _params(request), **request.match_info}
        return json_response(await self._calls.call("wait_port", params))

    async def _env_get(self, request: web.Request) -> web.Response:
        return json_response(await self._calls.call("env_get", {}))

    async def _env_set(self, request: web.Request) -> web.Response:
        return json_response(await self._calls.call("env_set", await _params(request)))

    async def _env_update(self, request: web.Request) -> web.Response:
        return json_response(await self._calls.call("env_update", await _params(request)))

    async def _env_delete(self, request: web.Request) -> web.Response:
        return json_response(await self._calls.call("env_delete", dict(request.query)))

    async def _statistics(self, request: web.Request) -> web.Response:
        return json_response(await self._calls.call("statistics", {}))


async def _params(request: web.Request) -> dict[str, Any]:
    body = await request.read()
    try:
        return _body.decode(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("body", f"{len(body)} bytes", f"a JSON object ({error})") from None
