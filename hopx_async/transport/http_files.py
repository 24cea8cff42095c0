"""The seam of files over HopX's routes, which our agent and HopX's own serve.

Uploads are multipart, for agents have been seen to keep base64 text as it came; the path
goes with the form and with the query, for clients and pages disagree about which counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import anyio

from hopx_async.errors import (
    HopxError,
    RateLimited,
    RemoteProtocolError,
)
from hopx_async.protocol import file_answers
from hopx_async.protocol.envelopes import read_json
from hopx_async.protocol.file_answers import FileInfo
from hopx_async.protocol.rate import DEFAULT_RETRY_AFTER
from hopx_async.transport.access import Access, authorized, exchange, read_body, send, translated
from hopx_async.transport.bodies import Body, JsonBody, MultipartBody
from hopx_async.transport.files import PIECE_BYTES, Changes, Download, FileStore
from hopx_async.transport.socket_changes import SocketChanges
from hopx_async.transport.websocket import WebSocketChannel, open_channel

__all__ = ["ANSWER_SECONDS", "MAX_ANSWER_BYTES", "HttpFiles"]

#: Seconds in which a request is answered, or its next bytes come or are taken.
ANSWER_SECONDS = 60.0
#: Bytes of an answer that is no file, such as a page of a listing.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
# The catch-all answer of an unknown path is shorter.
_CATCH_ALL_BYTES = 4096


class HttpFiles(FileStore):
    """Files by HTTP, watches by websocket.

    Args:
        access: The way to the agent.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._watches: set[SocketChanges] = set()

    async def download(self, path: str) -> Download:
        """Open a file by ``GET /files/download``."""
        async with self._exchange("a download"):
            response = await self._send("GET", "download", {"path": path})
            try:
                await self._check(response, path)
                head = await _not_catch_all(response)
            except BaseException:
                response.close()
                raise
        return _HttpDownload(self._access.name, response, head)

    async def upload(
        self, path: str, pieces: Callable[[], AsyncIterator[bytes]], size: int
    ) -> None:
        """Make a file by ``POST /files/upload``; each piece that is taken gives more time."""
        sending = MultipartBody(path, pieces, size)
        try:
            async with self._exchange("an upload") as scope:
                sending.taken = lambda: _more_time(scope)
                answer = await self._ask("POST", "upload", path, {"path": path}, sending)
        except HopxError:
            # aiohttp hides what went wrong with the bytes that it was to send.
            if sending.failure is not None:
                raise sending.failure from None
            raise
        file_answers.done(answer, size=size)

    async def write(self, path: str, data: bytes, *, mode: int, overwrite: bool) -> None:
        """Make a file by ``POST /files/write``: as text where it is one, for base64 is not safe."""
        body: dict[str, Any] = {"path": path, "mode": f"{mode:04o}", "overwrite": overwrite}
        try:
            body["content"] = data.decode()
        except UnicodeDecodeError:
            body |= {"content": data, "encoding": "base64"}  # msgspec writes bytes as base64
        async with self._exchange("a write"):
            answer = await self._ask("POST", "write", path, {}, JsonBody(body))
        file_answers.done(answer, size=len(data))

    async def list(self, path: str, after: str | None) -> tuple[list[FileInfo], str | None]:
        """Return a page of a directory by ``GET /files/list``."""
        query = {"path": path} if after is None else {"path": path, "after": after}
        async with self._exchange("a listing"):
            return file_answers.listing(await self._ask("GET", "list", path, query))

    async def exists(self, path: str) -> bool:
        """Ask by ``GET /files/exists``."""
        async with self._exchange("a question"):
            return file_answers.existence(await self._ask("GET", "exists", path, {"path": path}))

    async def mkdir(self, path: str) -> None:
        """Make a directory by ``POST /files/mkdir``."""
        async with self._exchange("a mkdir"):
            file_answers.done(await self._ask("POST", "mkdir", path, {}, JsonBody({"path": path})))

    async def remove(self, path: str) -> None:
        """Remove by ``DELETE /files/remove``."""
        async with self._exchange("a removal"):
            file_answers.done(await self._ask("DELETE", "remove", path, {"path": path}))

    async def watch(self, path: str) -> Changes:
        """Watch by the websocket ``/files/watch``; it counts from the far side's first word on."""
        changes = SocketChanges(await self._open_socket(path), self._watches.discard)
        self._watches.add(changes)
        try:
            await changes.begin(path)
        except BaseException:
            await changes.aclose()
            raise
        return changes

    async def aclose(self) -> None:
        """End all watches. Bounded; may be called again."""
        async with anyio.create_task_group() as group:
            for changes in list(self._watches):
                group.start_soon(changes.aclose)

    # Inside.

    def _exchange(self, what: str) -> AbstractAsyncContextManager[anyio.CancelScope]:
        return exchange(self._access, what, ANSWER_SECONDS)

    async def _ask(
        self,
        verb: str,
        route: str,
        path: str,
        query: Mapping[str, str],
        body: Body | None = None,
    ) -> bytes:
        """Return the body of an answer that is not no."""
        response = await self._send(verb, route, query, body)
        async with response:
            await self._check(response, path)
            return await read_body(response, MAX_ANSWER_BYTES)

    async def _send(
        self, verb: str, route: str, query: Mapping[str, str], body: Body | None = None
    ) -> aiohttp.ClientResponse:
        return await send(self._access, verb, f"/files/{route}", query, body, admitted=True)

    async def _check(self, response: aiohttp.ClientResponse, path: str) -> None:
        if response.status == 200:
            return
        body = await read_body(response, MAX_ANSWER_BYTES)
        if response.status >= 400:
            after = response.headers.get("Retry-After")
            request = response.headers.get("X-Request-ID")
            error = file_answers.refusal(
                response.status, body, path=path, retry_after=after, request_id=request
            )
            if isinstance(error, RateLimited):
                self._access.refused(error.retry_after or DEFAULT_RETRY_AFTER)
            raise error
        shown = body[:80].decode(errors="replace")
        raise RemoteProtocolError(f"{self._access.name} answered {response.status} with {shown!r}")

    async def _open_socket(self, path: str) -> WebSocketChannel:
        def refused(status: int, body: bytes) -> HopxError | None:
            if not body.startswith(b"{"):
                return None  # something on the way, that lets no socket pass
            if status < 400:
                return RemoteProtocolError(f"{self._access.name} knows no watches: {body[:80]!r}")
            return file_answers.refusal(status, body, path=path)

        url = "ws" + self._access.name.removeprefix("http") + "/files/watch"
        name = self._access.name
        return await authorized(
            self._access,
            lambda headers: open_channel(url, headers, name=name, refused=refused),
        )


class _HttpDownload(Download):
    def __init__(self, name: str, response: aiohttp.ClientResponse, head: bytes) -> None:
        self._name = name
        self._response = response
        self._head = head

    async def receive(self) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        with translated(self._name, "a download", ANSWER_SECONDS):
            return await self._response.content.read(PIECE_BYTES)

    async def aclose(self) -> None:
        self._response.close()


def _more_time(scope: anyio.CancelScope) -> None:
    scope.deadline = anyio.current_time() + ANSWER_SECONDS


async def _not_catch_all(response: aiohttp.ClientResponse) -> bytes:
    """Return what of a file had to be read to know that it is one: most often nothing.

    Raises:
        RemoteProtocolError: If the far side knows no downloads.
    """
    length = response.content_length
    if response.content_type != "application/json" or length is None or length > _CATCH_ALL_BYTES:
        return b""
    body = await read_body(response, _CATCH_ALL_BYTES)
    if file_answers.is_catch_all(read_json(body)):
        raise RemoteProtocolError(f"the far side knows no downloads: {body[:80]!r}")
    return body
