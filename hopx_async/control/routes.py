"""HopX's routes of the control plane."""

from __future__ import annotations

import hmac
import re
import sys
from collections.abc import Collection
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from hopx_async import __version__
from hopx_async.control.answers import Refused, answer, body_of, error_answer, rfc3339
from hopx_async.control.plane import Plane
from hopx_async.control.records import Sandbox
from hopx_async.control.templates import TEMPLATES, find, resources
from hopx_async.control.tokens import issue
from hopx_async.errors import HopxError
from hopx_async.protocol import lifecycle

__all__ = ["MAX_PAGE", "MAX_SECONDS", "ControlRoutes"]

#: Sandboxes on one page of a listing.
MAX_PAGE = 1000
_DEFAULT_PAGE = 100
#: Seconds after which a sandbox may be deleted, at most.
MAX_SECONDS = 10 * 365 * 24 * 3600
_NUMBER = re.compile("[0-9]{1,9}")
_WORDS = {404: "RESOURCE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "INVALID_REQUEST"}


class ControlRoutes:
    """The handlers.

    Args:
        plane: The sandboxes.
        api_keys: Any of these opens it.
    """

    def __init__(self, plane: Plane, api_keys: Collection[str]) -> None:
        self._plane = plane
        self._keys = [key.encode() for key in api_keys]

    def add_to(self, app: web.Application) -> None:
        """Add every route to *app*."""
        one = "/v1/sandboxes/{sandbox_id}"
        app.add_routes(
            [
                web.get("/health", _health),
                web.post("/v1/sandboxes", self._create),
                web.get("/v1/sandboxes", self._list),
                web.get(one, self._get),
                web.delete(one, self._delete),
                web.post(one + "/pause", self._pause),
                web.post(one + "/resume", self._resume),
                web.post(one + "/start", self._resume),
                web.post(one + "/stop", self._stop),
                web.put(one + "/timeout", self._timeout),
                web.post(one + "/token/refresh", self._refresh),
                web.get("/v1/templates", _templates),
                web.get("/v1/templates/{name}", _template),
                web.delete("/v1/templates/{name}", _fixed),
                web.post("/v1/templates/build", _fixed),
            ]
        )

    def middleware(self) -> Any:
        """Return the aiohttp middleware that asks for the key and makes every error JSON."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                self._check(request)
                return await handler(request)
            except Refused as error:
                return error_answer(error.status, error.word, error.message, error.details)
            except HopxError as error:
                # An agent that does not come up, or does not answer.
                return error_answer(500, "INTERNAL_ERROR", str(error), {})
            except web.HTTPException as error:
                word = _WORDS.get(error.status, "INVALID_REQUEST")
                message = f"{error.reason}: {request.path[:200]}"
                response = error_answer(error.status, word, message, {})
                if "Allow" in error.headers:
                    response.headers["Allow"] = error.headers["Allow"]
                return response
            except ConnectionError:
                raise
            except Exception as error:  # noqa: BLE001  # a bug of ours is answered, too
                sys.excepthook(type(error), error, error.__traceback__)
                message = "a fault of the server; its stderr says more"
                return error_answer(500, "INTERNAL_ERROR", message, {})

        return guard

    def _check(self, request: web.Request) -> None:
        if "Origin" in request.headers:
            raise Refused(403, "FORBIDDEN", "no web page is served")
        if request.path == "/health":
            return
        given = request.headers.get("X-API-Key", "")
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if not given and scheme.lower() == "bearer":
            given = bearer
        if not given:
            message = "no API key: send it as X-API-Key, or as 'Authorization: Bearer KEY'"
            raise Refused(401, "AUTHENTICATION_REQUIRED", message)
        key = given.strip().encode(errors="replace")
        # Each is compared, so that the time says nothing.
        if not sum(hmac.compare_digest(key, known) for known in self._keys):
            raise Refused(401, "INVALID_TOKEN", "Invalid API key")

    async def _create(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        name = body.get("template_name")
        name = body.get("template_id") if name is None else name
        if name is None or name == "":
            raise Refused(400, "INVALID_REQUEST", "template_name or template_id is missing")
        if not isinstance(name, (str, int)) or isinstance(name, bool):
            raise _wrong("template_name", "a name")
        template = find(name)["name"]
        region = body.get("region") or "local"
        if not isinstance(region, str):
            raise _wrong("region", "a text")
        seconds = _seconds(body.get("timeout_seconds"))
        env_vars = _env(body.get("env_vars"))
        internet = body.get("internet_access")
        internet = True if internet is None else internet
        if not isinstance(internet, bool):
            raise _wrong("internet_access", "true or false")
        sandbox = await self._plane.create(
            template, region[:80], env_vars, internet_access=internet
        )
        if seconds is not None:
            await self._plane.set_timeout(sandbox.id, seconds)
        return answer({**_told(sandbox), **_token(sandbox)}, 201)

    async def _list(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", str(_DEFAULT_PAGE))
        if not (_NUMBER.fullmatch(limit) and 0 < int(limit) <= MAX_PAGE):
            raise _wrong("limit", f"1 to {MAX_PAGE}")
        status, region = request.query.get("status"), request.query.get("region")

        def chosen(sandbox: Sandbox) -> bool:
            return status in (None, sandbox.status) and region in (None, sandbox.region)

        page, more = self._plane.page(int(limit), request.query.get("cursor"), chosen)
        return answer(
            {
                "object": "list",
                "data": [_told(sandbox) for sandbox in page],
                "has_more": more,
                "next_cursor": page[-1].id if more else None,
                "url": "/v1/sandboxes",
            }
        )

    async def _get(self, request: web.Request) -> web.Response:
        return answer(_told(self._plane.get(_id(request))))

    async def _delete(self, request: web.Request) -> web.Response:
        await self._plane.delete(_id(request))
        return answer({"status": "deleted", "id": _id(request)})

    async def _pause(self, request: web.Request) -> web.Response:
        return await self._turn(request, "paused")

    async def _resume(self, request: web.Request) -> web.Response:
        return await self._turn(request, "running")

    async def _stop(self, request: web.Request) -> web.Response:
        return await self._turn(request, "stopped")

    async def _turn(self, request: web.Request, wanted: str) -> web.Response:
        sandbox = await self._plane.turn(_id(request), wanted)
        return answer({"id": sandbox.id, "status": sandbox.status})

    async def _timeout(self, request: web.Request) -> web.Response:
        self._plane.get(_id(request))
        seconds = _seconds((await body_of(request)).get("timeout_seconds"))
        if seconds is None:
            raise Refused(400, "INVALID_REQUEST", "timeout_seconds is missing")
        sandbox = await self._plane.set_timeout(_id(request), seconds)
        told = _told(sandbox)
        return answer({key: told[key] for key in ("id", "timeout_seconds", "expires_at")})

    async def _refresh(self, request: web.Request) -> web.Response:
        return answer(_token(self._plane.get(_id(request))))


def _id(request: web.Request) -> str:
    return request.match_info["sandbox_id"]


def _told(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "id": sandbox.id,
        "object": "sandbox",
        "status": sandbox.status,
        "public_host": sandbox.url,
        "direct_url": sandbox.url,
        "preview_url": sandbox.url,
        "template_id": TEMPLATES[sandbox.template]["id"],
        "template_name": sandbox.template,
        "organization_id": 1,
        "node_id": "local",
        "region": sandbox.region,
        "resources": resources(),
        "internet_access": sandbox.internet_access,
        "isolation": sandbox.isolation,
        "live_mode": False,
        "timeout_seconds": sandbox.timeout_seconds,
        "expires_at": rfc3339(sandbox.expires_at),
        "created_at": rfc3339(sandbox.created_at),
    }


def _token(sandbox: Sandbox) -> dict[str, Any]:
    token, expires = issue(sandbox)
    return {"auth_token": token, "token_expires_at": rfc3339(expires)}


def _seconds(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_SECONDS:
        raise _wrong("timeout_seconds", "a whole number of seconds above 0")
    return value


def _env(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or None in value.values():
        raise _wrong("env_vars", "it maps names to texts")
    problem = lifecycle.problem_with_spec({"process_id": "x", "command": "x", "env": value})
    if problem is not None:
        raise Refused(400, "INVALID_REQUEST", str(problem))
    return value


def _wrong(name: str, rule: str) -> Refused:
    return Refused(400, "INVALID_REQUEST", f"{name}: {rule}")


async def _health(_request: web.Request) -> web.Response:
    return answer({"status": "healthy", "service": "hopx_async", "version": __version__})


async def _templates(request: web.Request) -> web.Response:
    language, category = request.query.get("language"), request.query.get("category")
    data = [
        template
        for template in TEMPLATES.values()
        if language in (None, template["language"]) and category in (None, template["category"])
    ]
    page = {"has_more": False, "next_cursor": None, "url": "/v1/templates"}
    return answer({"object": "list", "data": data, **page})


async def _template(request: web.Request) -> web.Response:
    return answer(find(request.match_info["name"]))


async def _fixed(_request: web.Request) -> web.Response:
    raise Refused(403, "FORBIDDEN", "the templates of a local server are fixed")
