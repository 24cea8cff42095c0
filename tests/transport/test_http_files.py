"""Files by HopX's routes, against servers that answer as agents have been seen to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest
from aiohttp import web

from hopx_async import errors
from hopx_async.protocol.rate import RateBudget
from hopx_async.transport import http_files
from hopx_async.transport.http_files import HttpFiles
from tests.protocol.test_file_answers import CATCH_ALL
from tests.transport.files_served import served

DATA = b"aGVsbG8=" + bytes(range(256))


async def pieces() -> AsyncIterator[bytes]:
    """Yield the bytes."""
    yield DATA[:100]
    yield DATA[100:]


async def whole(files: HttpFiles, path: str = "/workspace/a") -> bytes:
    """Return all of a download."""
    download = await files.download(path)
    try:
        return b"".join([piece async for piece in aiter_of(download.receive)])
    finally:
        await download.aclose()


async def aiter_of(receive: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
    """Yield what is received."""
    while piece := await receive():
        yield piece


async def test_requests_say_what_they_mean() -> None:
    """Paths are escaped, an upload has its path twice, and an expired token is renewed once."""
    seen: list[tuple[str, str | None, Any]] = []
    path = "/workspace/a &#+%\u00fc\n"

    async def handler(request: web.Request) -> web.Response:
        form = await request.post() if request.content_type.startswith("multipart") else None
        body = await request.json() if request.content_type == "application/json" else None
        if form is not None:
            file: Any = form["file"]
            body = (form["path"], file.file.read())
        seen.append((f"{request.method} {request.path}", request.query.get("path"), body))
        answers = {"/files/exists": {"exists": True}, "/files/list": {"files": None}}
        told = {"path": "x", "success": True}
        return web.json_response(answers.get(request.path, told))

    async with served(handler) as (files, access):
        assert await files.exists(path) is True
        assert await files.list(path, "6162") == ([], None)
        await files.upload(path, pieces, len(DATA))
        await files.write(path, "\u00fc".encode(), mode=0o600, overwrite=True)
        await files.write(path, b"\xff", mode=0o7, overwrite=False)
        await files.mkdir(path)
        await files.remove(path)

    assert access.renewals == 1
    assert seen == [
        ("GET /files/exists", path, None),
        ("GET /files/list", path, None),
        ("POST /files/upload", path, (path, DATA)),
        (
            "POST /files/write",
            None,
            {"path": path, "mode": "0600", "overwrite": True, "content": "\u00fc"},
        ),
        (
            "POST /files/write",
            None,
            {
                "path": path,
                "mode": "0007",
                "overwrite": False,
                "content": "/w==",
                "encoding": "base64",
            },
        ),
        ("POST /files/mkdir", None, {"path": path}),
        ("DELETE /files/remove", path, None),
    ]


async def test_an_upload_is_sent_whole_after_a_renewal() -> None:
    """The bytes begin anew when the token was refused after they were sent."""

    async def handler(request: web.Request) -> web.Response:
        file: Any = (await request.post())["file"]
        return web.json_response({"path": "x", "size": len(file.file.read())})

    async with served(handler) as (files, access):
        await files.upload("/workspace/a", pieces, len(DATA))

    assert access.renewals == 1


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/json", "text/plain"])
async def test_a_download_is_what_was_sent(kind: str) -> None:
    """Bytes come as they are, whatever they look like, and none is asked for squeezed."""
    bodies = [DATA, b"", b"aGVsbG8=", b'{"agent":1}', b"[1]", b"x" * 300_000]

    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=bodies[int(request.query["path"])], content_type=kind)

    async with served(handler) as (files, _):
        assert [await whole(files, str(number)) for number in range(len(bodies))] == bodies


async def test_the_catch_all_is_never_believed() -> None:
    """Where the far side only talks about itself, nothing was read, written or watched."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=CATCH_ALL, content_type="application/json")

    async with served(handler) as (files, _):
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: files.download("/a"),
            lambda: files.upload("/a", pieces, len(DATA)),
            lambda: files.write("/a", b"", mode=0o644, overwrite=True),
            lambda: files.list("/a", None),
            lambda: files.exists("/a"),
            lambda: files.mkdir("/a"),
            lambda: files.remove("/a"),
            lambda: files.watch("/a"),
        ]
        for call in calls:
            with pytest.raises(errors.RemoteProtocolError):
                await call()


async def test_an_agent_that_keeps_base64_is_found_out() -> None:
    """A size that is not that of the bytes means that something else was stored."""

    async def handler(request: web.Request) -> web.Response:
        size = len((await request.json())["content"])
        return web.json_response({"path": "x", "size": size, "success": True})

    async with served(handler) as (files, _):
        await files.write("/a", b"text", mode=0o644, overwrite=True)
        with pytest.raises(errors.RemoteProtocolError, match="1 bytes were sent, 4 were stored"):
            await files.write("/a", b"\xff", mode=0o644, overwrite=True)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, '{"error":"no","code":"FILE_NOT_FOUND"}', errors.FileNotFound),
        (429, '{"error":"slowly"}', errors.RateLimited),
        (500, "oops", errors.AgentFault),
        (302, "elsewhere", errors.RemoteProtocolError),
        (204, "", errors.RemoteProtocolError),
    ],
)
async def test_a_no_is_told(status: int, body: str, kind: type[errors.HopxError]) -> None:
    """Every call raises what the answer says, with the wait that a header asks for."""

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=status, text=body, headers={"Retry-After": "7"})

    async with served(handler) as (files, _):
        for call in (files.download, files.exists, files.mkdir, files.remove):
            with pytest.raises(kind) as caught:
                await call("/workspace/a")
            assert getattr(caught.value, "retry_after", 7.0) == 7.0
            assert getattr(caught.value, "path", "/workspace/a") == "/workspace/a"
        with pytest.raises(kind):
            await files.upload("/workspace/a", pieces, len(DATA))


async def test_a_download_that_breaks_off_is_no_short_file() -> None:
    """A connection that ends before the file does is ConnectionLost."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    async with served(handler) as (files, _):
        with pytest.raises(errors.ConnectionLost):
            await whole(files)


async def test_a_source_that_fails_says_why() -> None:
    """What the local disk says comes out, not that a connection broke."""

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"path": "x"})

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise PermissionError("the disk")

    async with served(handler) as (files, access):
        access.token = "new"  # noqa: S105  # it opens nothing
        with pytest.raises(PermissionError, match="the disk"):
            await files.upload("/workspace/a", broken, 1000)


async def test_calls_can_be_cancelled() -> None:
    """A cancelled call ends the handler there; the next one works."""
    ended: list[str] = []
    hanging = anyio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.query.get("path") == "/ok":
            return web.json_response({"exists": True})
        try:
            hanging.set()
            await anyio.sleep_forever()
        finally:
            ended.append(request.path)
        return web.Response()

    async with served(handler) as (files, access):
        access.token = "new"  # noqa: S105  # it opens nothing
        calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: files.download("/a"),
            lambda: files.upload("/a", pieces, len(DATA)),
            lambda: files.write("/a", b"", mode=0o644, overwrite=True),
            lambda: files.list("/a", None),
            lambda: files.mkdir("/a"),
            lambda: files.remove("/a"),
            lambda: files.watch("/a"),
        ]
        for call in calls:
            hanging = anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await hanging.wait()
                group.cancel_scope.cancel()
            assert await files.exists("/ok")
        with anyio.fail_after(10):
            while len(ended) < len(calls):
                assert await files.exists("/ok")


async def test_silence_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer in time, or does not go on, is a timeout."""
    monkeypatch.setattr(http_files, "ANSWER_SECONDS", 0.05)

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/files/download":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"x")
        await anyio.sleep_forever()
        return web.Response()

    async with served(handler) as (files, access):
        access.token = "new"  # noqa: S105  # it opens nothing
        for call in (files.exists, lambda path: whole(files, path)):
            with pytest.raises(errors.RequestTimeout):
                await call("/a")


async def test_a_refusal_quiets_the_whole_way() -> None:
    """Whoever else sends there waits as well, as long as the longest hint says."""

    async def handler(_: web.Request) -> web.Response:
        body = {"error": "slow", "retry_after": 9}
        headers = {"Retry-After": "3", "X-Request-ID": "req_7"}
        return web.json_response(body, status=429, headers=headers)

    async with served(handler) as (files, access):
        access.budget = RateBudget()
        with pytest.raises(errors.RateLimited) as caught:
            await files.exists("/a")
        assert (caught.value.retry_after, caught.value.request_id) == (9.0, "req_7")
        assert access.budget.take(anyio.current_time()) > 8
