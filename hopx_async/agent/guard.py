"""Who may ask, and how much: the agent runs what it is told, so it looks closely."""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from hopx_async.agent.calls import fault
from hopx_async.agent.dialect.answers import error_body, speaks_hopx
from hopx_async.agent.pausing import Pausing
from hopx_async.errors import (
    AgentFault,
    ApiError,
    AuthenticationError,
    CommandError,
    HopxError,
    InvalidArgument,
    NotFoundError,
    RateLimited,
    UsageError,
)
from hopx_async.protocol import wire

__all__ = ["Guard", "error_response", "json_response", "status_of"]

_OPEN_PATHS = frozenset({"/", "/health", "/info", "/ping"})
# What is sent there has a bound of its own, which its route keeps.
_OWN_BOUND = ("/v1/link/", "/files/")
_DEFAULT_PORT = 80


class Guard:
    """Checks every request before it reaches a route, and makes every error JSON.

    Args:
        token: What ``Authorization: Bearer`` must carry, except for the open paths.
        host: Host name or address that this agent is known by.
        port: Port that it listens on.
        allow_hosts: Further ``host`` or ``host:port`` that it serves, and whose pages may ask.
        ready: Whether it can answer yet.
        verify: Checks a token that is not *token*; None where that is the only one.
        pausing: Knows whether the sandbox is paused; None where it never is.
    """

    def __init__(
        self,
        *,
        token: str,
        host: str,
        port: int,
        allow_hosts: Iterable[str],
        ready: Callable[[], bool],
        verify: Callable[[str], None] | None = None,
        pausing: Pausing | None = None,
    ) -> None:
        self._token = token.encode()
        self._port = port
        self._names = {_bare(name) for name in (host, "localhost", "127.0.0.1", "::1")}
        self._allowed = frozenset(name.lower() for name in allow_hosts)
        self._ready = ready
        self._verify = verify
        self._pausing = pausing

    def middleware(self) -> Any:
        """Return the aiohttp middleware."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                self.check(request)
                return await handler(request)
            except HopxError as error:
                return error_response(error, request)
            except web.HTTPException as error:
                response = error_response(_told_by_aiohttp(request, error), request)
                if "Allow" in error.headers:
                    response.headers["Allow"] = error.headers["Allow"]
                return response
            except ConnectionError:
                raise
            except Exception as error:  # noqa: BLE001  # a bug of ours is answered, too
                return error_response(fault(error), request)

        return guard

    def check(self, request: web.Request) -> None:
        """Refuse a request that may not be served.

        Raises:
            ApiError: If it may not, or not yet.
            InvalidArgument: If its Host or Origin is not one served here.
        """
        self._check_host(request)
        self._check_origin(request)
        is_open = request.path in _OPEN_PATHS and request.method in {"GET", "HEAD"}
        if not is_open:
            self._check_token(request)
        if self._pausing is not None:
            self._pausing.check(request.path)
        if is_open:
            return
        length = request.content_length
        bounded = not request.path.startswith(_OWN_BOUND)
        if length is not None and length > wire.MAX_CALL_BYTES and bounded:
            raise _too_large(length)
        if not self._ready():
            raise AgentFault("the agent is starting", status=503)

    def _check_host(self, request: web.Request) -> None:
        """Refuse names that are not ours: a web page may point its own name at this address."""
        host = request.headers.get("Host", "")
        local = request.get_extra_info("sockname") or ("",)
        name, port = _split(host)
        ours = port == self._port and (name in self._names or name == _bare(str(local[0])))
        if not ours and not self._is_allowed(host):
            rule = "a host and port that this agent serves"
            raise InvalidArgument("Host", repr(host)[:120], rule)

    def _check_origin(self, request: web.Request) -> None:
        """Refuse web pages: a browser sends their origin, other clients send none."""
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_allowed(_netloc(origin)):
            raise InvalidArgument("Origin", repr(origin)[:120], "no page of this origin is served")

    def _check_token(self, request: web.Request) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise AuthenticationError("no token: send it as 'Authorization: Bearer TOKEN'")
        given = given.strip()
        if hmac.compare_digest(given.encode(errors="replace"), self._token):
            return
        if self._verify is None:
            raise AuthenticationError("the token is not this agent's")
        self._verify(given)

    def _is_allowed(self, host: str) -> bool:
        return host.lower() in self._allowed or _split(host)[0] in self._allowed


def json_response(value: object, status: int = 200) -> web.Response:
    """Return *value* as an HTTP answer."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


def error_response(error: HopxError, request: web.Request | None = None) -> web.Response:
    """Return *error* as an HTTP answer, in HopX's envelope if *request* speaks that."""
    status = status_of(error)
    if request is not None and speaks_hopx(request.path):
        response = json_response(error_body(error, status, request), status)
    else:
        response = json_response({"error": wire.error_to_dict(error)}, status)
    if isinstance(error, AuthenticationError):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, RateLimited):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after or 1))
    return response


def status_of(error: HopxError) -> int:
    """Return the HTTP status of *error*."""
    if isinstance(error, ApiError):
        return error.status
    if isinstance(error, InvalidArgument) and error.parameter in {"Host", "Origin"}:
        return 403
    if isinstance(error, CommandError):  # of a kill not proven, or of closed stdin
        return 409
    return 400 if isinstance(error, UsageError) else 500


def _told_by_aiohttp(request: web.Request, error: web.HTTPException) -> HopxError:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return _too_large(None)
    if error.status == 404:
        return NotFoundError(f"no page {request.path[:120]!r} here")
    return ApiError(f"{error.reason}: {request.method} {request.path[:120]}", status=error.status)


def _too_large(length: int | None) -> ApiError:
    has = "" if length is None else f", this has {length}"
    return ApiError(f"a body has at most {wire.MAX_CALL_BYTES} bytes{has}", status=413)


def _bare(name: str) -> str:
    return name.lower().removeprefix("[").removesuffix("]")


def _split(host: str) -> tuple[str, int | None]:
    """Return name and port of a Host header, None for a port that is none."""
    bracket = host.rfind("]")
    name, colon, port = host.rpartition(":") if host.rfind(":") > bracket else (host, "", "")
    if not colon:
        return _bare(host), _DEFAULT_PORT
    return _bare(name), int(port) if port.isascii() and port.isdigit() and len(port) < 6 else None


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
