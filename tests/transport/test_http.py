"""Calls over HTTP: routes, bounds, and whose fault an error was."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web

from hopx_async.errors import (
    AgentFault,
    AuthenticationError,
    CommandNotFound,
    ConnectError,
    ConnectionLost,
    InvalidArgument,
    NotFoundError,
    RemoteProtocolError,
    RequestTimeout,
    SpawnError,
)
from hopx_async.protocol import poll, wire
from hopx_async.transport import http
from hopx_async.transport.access import TokenAccess, check_url
from hopx_async.transport.http import HttpTransport

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncGenerator[HttpTransport]:
    """Serve *handler* for every path, and give a transport to it."""
    app = web.Application(client_max_size=4 * wire.MAX_CALL_BYTES)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    transport = HttpTransport(TokenAccess(f"http://{host}:{port}", "token"))
    try:
        yield transport
    finally:
        await transport.aclose()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("hello", {}, "GET /v1/hello"),
        ("start", {"process_id": "a", "command": "x"}, "PUT /v1/commands/a"),
        ("info", {"process_id": "a/../b"}, "GET /v1/commands/a%2F..%2Fb"),
        (
            "list",
            {"status": "running", "tags": {"k": "v w"}},
            "GET /v1/commands?status=running&tag=k%3Dv+w",
        ),
        (
            "signal",
            {"process_id": "a", "signal_id": "s", "name": "SIGINT", "cause": None},
            "POST /v1/commands/a/signals/s",
        ),
        ("kill", {"process_id": "a", "grace": 1.0}, "POST /v1/commands/a/kill"),
        ("env_get", {}, "GET /v1/env"),
        ("env_set", {"variables": {}}, "PUT /v1/env"),
        ("env_update", {"variables": {}}, "PATCH /v1/env"),
        ("env_delete", {"name": "a/../b c"}, "DELETE /v1/env?name=a/../b+c"),
        ("statistics", {}, "GET /v1/statistics"),
    ],
)
async def test_request_has_a_route_for_each_call(
    method: str, params: dict[str, Any], expected: str
) -> None:
    """request sends verb and path of the call, with the token in a header only."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.raw_path}")
        assert request.headers["Authorization"] == "Bearer token"
        return web.json_response({"ok": True})

    async with served(handler) as transport:
        assert await transport.request(method, params) == {"ok": True}

    assert seen == [expected]
    assert "token" not in repr(transport)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, {"code": "unauthorized", "message": "no"}, AuthenticationError),
        (404, {"code": "command_not_found", "message": "no", "process_id": "a"}, CommandNotFound),
        (422, {"code": "spawn_failed", "message": "no", "errno": 2}, SpawnError),
        (507, {"code": "disk_full", "message": "no"}, AgentFault),
        (400, {"code": "invalid_argument", "parameter": "x", "value": "1"}, InvalidArgument),
    ],
)
async def test_request_raises_what_the_agent_says(
    status: int, error: dict[str, Any], kind: type[Exception]
) -> None:
    """request turns the agent's error into ours."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"error": error}, status=status)

    async with served(handler) as transport:
        with pytest.raises(kind):
            await transport.request("info", {"process_id": "a"})


@pytest.mark.parametrize(("status", "body"), [(200, "<html>"), (502, "bad gateway"), (302, "")])
async def test_request_tells_a_far_side_that_is_none(status: int, body: str) -> None:
    """An answer that is no JSON is a protocol error that shows what came."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    async with served(handler) as transport:
        with pytest.raises(RemoteProtocolError, match=str(status)):
            await transport.request("statistics", {})


async def test_request_to_nobody_is_a_connect_error(free_tcp_port: int) -> None:
    """A port on which nobody listens is ConnectError: nothing was sent."""
    transport = HttpTransport(TokenAccess(f"http://127.0.0.1:{free_tcp_port}", "token"))
    try:
        with pytest.raises(ConnectError):
            await transport.request("statistics", {})
        with pytest.raises(ConnectError):
            await transport.connect()
    finally:
        await transport.aclose()


async def test_request_that_breaks_is_a_lost_connection() -> None:
    """A server that hangs up in the middle is ConnectionLost: it may have acted."""

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with served(handler) as transport:
        with pytest.raises(ConnectionLost):
            await transport.request("statistics", {})


async def test_request_can_be_cancelled() -> None:
    """A cancelled request ends the handler there and leaves the transport usable."""
    ended = anyio.Event()
    hanging = True

    async def handler(_: web.Request) -> web.Response:
        if hanging:
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()
        return web.json_response({})

    async with served(handler) as transport:
        with anyio.move_on_after(0.05):
            await transport.request("statistics", {})
        await ended.wait()
        hanging = False
        assert await transport.request("statistics", {}) == {}


async def test_post_carries_bytes() -> None:
    """post sends and returns bytes as they are, also the largest; leave names the session."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.path}")
        return web.Response(body=await request.read())

    body = bytes(poll.MAX_POST_BYTES)
    async with served(handler) as transport:
        assert await transport.post("session", body) == body
        await transport.leave("session")

    assert seen == ["POST /v1/link/session", "DELETE /v1/link/session"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, '{"error":{"code":"not_found"}}', NotFoundError),
        (502, "bad gateway", ConnectError),
        (403, "<html>", RemoteProtocolError),
        (204, "", RemoteProtocolError),
    ],
)
async def test_post_says_whose_fault(status: int, body: str, kind: type[Exception]) -> None:
    """A post that a proxy cannot pass on now may be tried again, one that it refuses may not."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    async with served(handler) as transport:
        with pytest.raises(kind):
            await transport.post("session", b"")


async def test_a_post_that_hangs_too_long_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A post without an answer is given up; cancelling one ends the handler there."""
    monkeypatch.setattr(poll, "HANG_SECONDS", 0.02)
    monkeypatch.setattr(http, "POST_SECONDS", 0.02)
    ended = anyio.Event()

    async def handler(_: web.Request) -> web.Response:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return web.Response()

    async with served(handler) as transport:
        with pytest.raises(RequestTimeout):
            await transport.post("session", b"")
        await ended.wait()
        ended = anyio.Event()
        monkeypatch.setattr(http, "POST_SECONDS", 60.0)
        with anyio.move_on_after(0.05) as scope:
            await transport.post("session", b"")
        assert scope.cancelled_caught
        await ended.wait()


async def test_request_refuses_what_is_too_large() -> None:
    """A call beyond the bound is refused before anything is sent."""
    transport = HttpTransport(TokenAccess("http://127.0.0.1:1", "token"))

    with pytest.raises(InvalidArgument, match=str(wire.MAX_CALL_BYTES)):
        await transport.request("start", {"process_id": "a", "x": "y" * wire.MAX_CALL_BYTES})


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x", "http://", "http://user:secret@x", "http://x?y", "http://x#y", "http://x:0",
     "http://x:port", 7],
)  # fmt: skip
def test_check_url_refuses(url: Any) -> None:
    """What is no base URL is refused by name; a password is not shown."""
    with pytest.raises(InvalidArgument) as caught:
        check_url(url)

    assert caught.value.parameter == "url"
    assert "secret" not in str(caught.value)


def test_check_url_takes_a_path() -> None:
    """A prefix is kept, a slash at the end is not."""
    assert check_url("https://host/prefix/") == "https://host/prefix"
