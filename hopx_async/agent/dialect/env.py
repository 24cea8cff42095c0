"""The routes of the sandbox's own variables."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from hopx_async.agent.calls import Calls
from hopx_async.agent.dialect.answers import Refused, read_json, stamp
from hopx_async.agent.environment import SandboxEnvironment
from hopx_async.agent.guard import json_response
from hopx_async.protocol.variables import MASKED

__all__ = ["EnvRoutes"]

# HopX shows no value under such a name.
_SECRET = re.compile("KEY|SECRET|PASSWORD|TOKEN", re.IGNORECASE)


class EnvRoutes:
    """The handlers.

    Args:
        environment: The variables.
        calls: Changes them.
    """

    def __init__(self, environment: SandboxEnvironment, calls: Calls) -> None:
        self._environment = environment
        self._calls = calls

    def add_to(self, app: web.Application) -> None:
        """Add every route to *app*."""
        app.add_routes(
            [
                web.get("/env", self._get),
                web.put("/env", self._replace),
                web.patch("/env", self._merge),
                web.delete("/env", self._clear),
                web.delete("/env/{name}", self._delete),
            ]
        )

    async def _get(self, request: web.Request) -> web.Response:
        return self._told()

    async def _replace(self, request: web.Request) -> web.Response:
        return await self._set(await _wanted(request))

    async def _merge(self, request: web.Request) -> web.Response:
        wanted = {k: v for k, v in (await _wanted(request)).items() if v != MASKED}
        if wanted:
            await self._calls.call("env_update", {"variables": wanted})
        return self._told()

    async def _clear(self, request: web.Request) -> web.Response:
        return await self._set({})

    async def _delete(self, request: web.Request) -> web.Response:
        await self._calls.call("env_delete", {"name": request.match_info["name"]})
        return self._told()

    async def _set(self, wanted: dict[str, Any]) -> web.Response:
        """Replace everything; what comes back as it was shown, masked, stays what it is."""
        known = self._environment.variables
        values = {
            name: known.values[name] if value == MASKED else value
            for name, value in wanted.items()
            if value != MASKED or name in known.values
        }
        kept = [n for n in sorted(known.secrets) if n in values and wanted[n] == MASKED]
        await self._calls.call("env_set", {"variables": values, "secrets": kept})
        return self._told()

    def _told(self) -> web.Response:
        known = self._environment.variables
        shown = {
            name: MASKED if name in known.secrets or _SECRET.search(name) else value
            for name, value in sorted(known.values.items())
            if value is not None
        }
        told = {"env_vars": shown, "count": len(shown), "success": True}
        return json_response({**told, "timestamp": stamp()})


async def _wanted(request: web.Request) -> dict[str, Any]:
    wanted = (await read_json(request)).get("env_vars")
    if wanted is None:
        raise Refused("MISSING_PARAMETER", "env_vars is missing")
    if not isinstance(wanted, dict) or not all(isinstance(v, str) for v in wanted.values()):
        raise Refused("INVALID_REQUEST", "env_vars: it maps names to texts")
    return wanted
