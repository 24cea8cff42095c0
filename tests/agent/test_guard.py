"""Tests of hopx_async.agent.guard, through an agent that serves."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from hopx_async.agent import guard as module
from hopx_async.agent import server as servers
from hopx_async.agent.guard import error_response, status_of
from hopx_async.errors import (
    AgentFault,
    AuthenticationError,
    BadCursor,
    HopxError,
    InvalidArgument,
    RemoteProtocolError,
    StdinClosed,
    SurvivorsLeft,
    Unsupported,
)
from hopx_async.protocol import wire
from tests.agent.harness import TOKEN, serving
from tests.agent.keeper_double import full_spec

if TYPE_CHECKING:
    from pathlib import Path


async def raw(port: int, request: str | bytes) -> tuple[int, str, bytes]:
    """Send bytes, return status, head and body of the answer; the connection is closed after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.encode() if isinstance(request, str) else request)
        async with asyncio.timeout(30):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = next(
                int(line.split(":")[1])
                for line in head.split("\r\n")
                if line.lower().startswith("content-length")
            )
            return int(head.split()[1]), head, await reader.readexactly(size)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        (None, "no token"),
        ("", "no token"),
        ("Bearer", "no token"),
        ("Bearer ", "no token"),
        (f"Basic {TOKEN}", "no token"),
        (TOKEN, "no token"),
        ("Bearer wrong", "not this agent's"),
        (f"Bearer {TOKEN}x", "not this agent's"),
        (f"Bearer {TOKEN[:-1]}", "not this agent's"),
        ("Bearer t\u00f6ken", "not this agent's"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/commands"), ("PUT", "/v1/commands/x"), ("GET", "/v1/link"), ("POST", "/info")],
)
async def test_without_the_token_nothing_is_served(
    tmp_path: Path, method: str, path: str, header: str | None, rule: str
) -> None:
    """A missing, foreign or wrong token is refused with 401, and nothing reaches the keeper."""
    async with serving(tmp_path / "s") as server, aiohttp.ClientSession(server.url) as http:
        headers = {} if header is None else {"Authorization": header}
        async with http.request(method, path, headers=headers, json=full_spec("x")) as response:
            error = (await response.json())["error"]

            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
        assert error["code"] == AuthenticationError.code
        assert rule in error["message"]
        assert TOKEN[:-1] not in str(error)
        assert server.keeper.requests == []


@pytest.mark.parametrize("path", ["/health", "/info"])
async def test_two_pages_need_no_token(tmp_path: Path, path: str) -> None:
    """Health and info are open, to reading."""
    async with serving(tmp_path / "s") as server, aiohttp.ClientSession(server.url) as http:
        async with http.get(path) as response:
            assert response.status == 200
        async with http.head(path) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LocalHost:{port}", 200),
        ("[::1]:{port}", 200),
        ("box.example:{port}", 200),
        ("proxy.example", 200),
        ("proxy.example:9", 200),
        ("pinned.example:77", 200),
        ("pinned.example:78", 403),
        ("127.0.0.1", 403),
        ("127.0.0.1:1", 403),
        ("127.0.0.1:x", 403),
        ("evil.example:{port}", 403),
        ("localhost.evil.example:{port}", 403),
        ("", 403),
        ("[", 403),
    ],
)
async def test_only_known_hosts_are_served(tmp_path: Path, host: str, status: int) -> None:
    """A Host that the agent does not serve is refused, whatever the page."""
    allow = ["proxy.example", "Pinned.example:77"]
    async with serving(tmp_path / "s", allow_hosts=allow, url_host="box.example") as server:
        headers = {"Host": host.format(port=server.port)}
        got, answer = await server.ask("GET", "/health", headers=headers)

        assert got == status
        if status == 403:
            assert answer["error"]["parameter"] == "Host"
            assert (await server.ask("GET", "/v1/commands", headers=headers))[0] == 403


async def test_a_request_without_host_is_refused(tmp_path: Path) -> None:
    """HTTP/1.0 without a Host is refused as well."""
    async with serving(tmp_path / "s") as server:
        status, _, body = await raw(server.port, "GET /health HTTP/1.0\r\n\r\n")

        assert status == 403
        assert b'"Host"' in body


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1", 403),
        ("http://[", 403),
        ("https://Mine.example", 200),
    ],
)
async def test_pages_of_a_browser_are_refused(
    tmp_path: Path, origin: str | None, status: int
) -> None:
    """A request with an Origin is refused unless its host is allowed, with the right token, too."""
    async with serving(tmp_path / "s", allow_hosts=["mine.example"]) as server:
        headers = {} if origin is None else {"Origin": origin}
        got, answer = await server.ask("GET", "/v1/commands", headers=headers)

        assert got == status
        if status == 403:
            assert answer["error"]["parameter"] == "Origin"
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await server.http.ws_connect("/v1/link", headers=headers)


async def test_bodies_are_bounded(tmp_path: Path) -> None:
    """A body above 1 MiB is refused with 413, announced or not; one of 1 MiB is read."""
    async with serving(tmp_path / "s") as server:

        async def chunks() -> Any:
            for _ in range(17):
                yield b"x" * 65536

        large = b"x" * (wire.MAX_CALL_BYTES + 1)
        for body in (io.BytesIO(large), chunks()):
            status, answer = await server.ask("PUT", "/v1/commands/x", data=body)
            assert status == 413
            assert str(wire.MAX_CALL_BYTES) in answer["error"]["message"]
            told_size = f"this has {len(large)}" in answer["error"]["message"]
            assert told_size == isinstance(body, io.BytesIO)
        assert (await server.ask("PUT", "/v1/commands/x", data=io.BytesIO(large[1:])))[0] == 400


async def test_compressed_bodies_are_not_unpacked(tmp_path: Path) -> None:
    """A body that says it is compressed is taken as it is: it cannot grow."""
    async with serving(tmp_path / "s") as server:
        headers = {"Content-Encoding": "gzip"}
        status, answer = await server.ask("PUT", "/v1/commands/x", data=b"{}", headers=headers)

        assert (status, answer["error"]["parameter"]) == (400, "command")


@pytest.mark.parametrize(
    "request_",
    ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\nX: {long}\r\n\r\n", "GET /{long} HTTP/1.1\r\n\r\n"],
)
async def test_what_is_no_request_is_answered_in_json(tmp_path: Path, request_: str) -> None:
    """Bytes that are no request, or a header too long, get a JSON error that repeats nothing."""
    async with serving(tmp_path / "s") as server:
        status, head, body = await raw(server.port, request_.format(long="s3cret" * 4000))

        assert status == 400
        assert "application/json" in head
        assert b"s3cret" not in body


async def test_unknown_pages_and_methods_are_json(tmp_path: Path) -> None:
    """What does not exist is said in JSON, too."""
    async with serving(tmp_path / "s") as server:
        assert (await server.ask("GET", "/nope"))[1]["code"] == "NOT_FOUND"
        assert (await server.ask("GET", "/v1/nope"))[1]["error"]["code"] == "not_found"
        assert (await server.ask("DELETE", "/v1/commands"))[0] == 405


async def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection too many is told so and closed; those before go on."""
    monkeypatch.setattr(servers, "_MAX_SOCKETS", 1)
    async with serving(tmp_path / "s") as server:
        assert (await server.ask("GET", "/health"))[0] == 200  # and stays open
        status, _, body = await raw(server.port, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (status, b"connections" in body) == (503, True)
        assert (await server.ask("GET", "/health"))[0] == 200


async def test_a_fault_of_ours_says_nothing_of_the_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected exception becomes a 500 without details; they go to stderr."""
    async with serving(tmp_path / "s") as server:
        monkeypatch.setattr(module.Guard, "check", lambda *_: 1 / 0)
        status, answer = await server.ask("GET", "/health")

        assert (status, answer["error"]["code"]) == (500, "agent_fault")
        assert "division" not in str(answer)
        assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AgentFault("full", status=507), 507),
        (InvalidArgument("a", "b", "c"), 400),
        (InvalidArgument("Host", "b", "c"), 403),
        (BadCursor("a", "b", "c"), 400),
        (Unsupported("x"), 400),
        (SurvivorsLeft("x", [(1, "a")]), 409),
        (StdinClosed("x"), 409),
        (RemoteProtocolError("x"), 500),
    ],
)
def test_every_error_has_a_status(error: HopxError, status: int) -> None:
    """Errors travel with the HTTP status of their kind."""
    assert status_of(error) == status
    assert error_response(error).status == status
