"""The routes of files, confined to the workspace."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Any, BinaryIO

from aiohttp import BodyPartReader, web

from hopx_async.agent.dialect.answers import Refused, read_json, stamp
from hopx_async.agent.dialect.disk import (
    MODE,
    UNFINISHED,
    check_file,
    list_directory,
    put,
    read_file,
    replace,
    telling,
    write_all,
)
from hopx_async.agent.dialect.paths import WORKSPACE, Places
from hopx_async.agent.guard import json_response

__all__ = [
    "MAX_UPLOAD_BYTES",
    "MAX_WRITE_BYTES",
    "FileRoutes",
]

#: Bytes of a request that writes a file; larger ones are uploaded.
MAX_WRITE_BYTES = 32 * 1024 * 1024
#: Bytes of an upload.
MAX_UPLOAD_BYTES = 4 * 1024 * 1024 * 1024
_PIECE = 256 * 1024
_Body = dict[str, Any]


class FileRoutes:
    """The handlers. The disk is only touched in threads.

    Args:
        places: Where ``/workspace`` is.
    """

    def __init__(self, places: Places) -> None:
        self._places = places

    def add_to(self, app: web.Application) -> None:
        """Add every route to *app*."""
        app.add_routes(
            [
                web.get("/files/read", self._read),
                web.get("/files/download", self._download),
                web.post("/files/write", self._write),
                web.get("/files/list", self._list),
                web.get("/files/exists", self._exists),
                web.post("/files/mkdir", self._mkdir),
                web.delete("/files/remove", self._remove),
                web.post("/files/upload", self._upload),
            ]
        )

    async def _read(self, request: web.Request) -> web.Response:
        place = await self._inside(request.query.get("path"))
        data = await asyncio.to_thread(read_file, place)
        content = data.decode(errors="replace")
        return json_response({"content": content, "path": self._told(place), "size": len(data)})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        place = await self._inside(request.query.get("path"))
        size = await asyncio.to_thread(check_file, place)
        # Not aiohttp's own: that sends a file of this name with .gz, where there is one.
        response = web.StreamResponse()
        response.content_length = size
        response.content_type = "application/octet-stream"
        response.headers["Content-Disposition"] = "attachment"
        file = await _opened(place)
        try:
            await response.prepare(request)
            while size and request.method != "HEAD":
                piece = await asyncio.to_thread(file.read, min(size, _PIECE))
                if not piece:
                    _break_off(request)  # it has become shorter; the client is to know
                    break
                await response.write(piece)
                size -= len(piece)
        finally:
            file.close()  # at once: whoever is cancelled cannot wait
        return response

    async def _write(self, request: web.Request) -> web.Response:
        body = await read_json(request, MAX_WRITE_BYTES)
        data, mode = _content(body), _mode(body.get("mode"))
        overwrite = body.get("overwrite", True)
        if not isinstance(overwrite, bool):
            raise Refused("INVALID_REQUEST", "overwrite: true or false")
        place = await self._inside(body.get("path"))

        def write() -> None:
            with telling(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                replace(place, data, mode, overwrite=overwrite)

        await asyncio.to_thread(write)
        return self._done(place, len(data), "File written")

    async def _list(self, request: web.Request) -> web.Response:
        place = await self._inside(request.query.get("path") or WORKSPACE)
        told, after = self._told(place), request.query.get("after")
        found, following = await asyncio.to_thread(list_directory, place, told, after)
        answer = {"files": found, "path": told, "count": len(found), "next": following}
        return json_response(answer)

    async def _exists(self, request: web.Request) -> web.Response:
        place = await self._inside(request.query.get("path"))
        exists = await asyncio.to_thread(os.path.lexists, place)
        return json_response({"exists": exists, "path": self._told(place)})

    async def _mkdir(self, request: web.Request) -> web.Response:
        place = await self._inside((await read_json(request)).get("path"))

        def make() -> None:
            with telling(place):
                place.mkdir(parents=True, exist_ok=True)

        await asyncio.to_thread(make)
        return self._done(place, 0, "Directory created")

    async def _remove(self, request: web.Request) -> web.Response:
        # The link itself is removed, not what it leads to.
        place = await asyncio.to_thread(self._places.named, request.query.get("path"))
        if place == self._places.root:
            raise Refused("PATH_NOT_ALLOWED", "the workspace itself stays", status=403)

        def remove() -> None:
            with telling(place):
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink()

        await asyncio.to_thread(remove)
        return self._done(place, 0, "Removed")

    async def _upload(self, request: web.Request) -> web.Response:
        if not request.content_type.startswith("multipart/"):
            raise Refused("INVALID_REQUEST", "an upload is multipart/form-data with path and file")
        path = request.query.get("path")
        size, place, kept = 0, None, None
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    continue
                if part.name == "path" and part.filename is None:
                    path = path or (await part.read(decode=False)).decode(errors="replace")[:8192]
                elif part.name == "file":
                    if kept is not None:
                        raise Refused("INVALID_REQUEST", "an upload has one file")
                    kept, size = await self._keep(part)
            if kept is None:
                raise Refused("MISSING_PARAMETER", "file is missing")
            place = await self._inside(path)
            await asyncio.to_thread(put, kept, place)
            kept = None
        except ValueError as error:
            raise Refused("INVALID_REQUEST", f"no multipart body: {error}") from None
        finally:
            if kept is not None:
                await asyncio.to_thread(kept.unlink, missing_ok=True)
        return self._done(place, size, "File uploaded")

    async def _keep(self, part: BodyPartReader) -> tuple[Path, int]:
        """Write an upload into the workspace under a name of ours: half a file is never seen."""
        fd, name = await _made(self._places.root)
        size, whole = 0, False
        try:
            while chunk := await part.read_chunk(_PIECE):
                size += len(chunk)
                if size > MAX_UPLOAD_BYTES:
                    message = f"an upload has at most {MAX_UPLOAD_BYTES} bytes"
                    raise Refused("INVALID_REQUEST", message, status=413)
                with telling(self._places.root):
                    await asyncio.to_thread(write_all, fd, chunk)
            whole = True
        finally:
            os.close(fd)
            if not whole:
                os.unlink(name)  # noqa: PTH108  # at once: whoever is cancelled cannot wait
        return Path(name), size

    async def _inside(self, path: object) -> Path:
        return await asyncio.to_thread(self._places.inside, path)

    def _told(self, place: Path) -> str:
        return self._places.told(place)

    def _done(self, place: Path, size: int, message: str) -> web.Response:
        told = {"path": self._told(place), "size": size, "message": message}
        return json_response({**told, "success": True, "timestamp": stamp()})


def _content(body: _Body) -> bytes:
    content, encoding = body.get("content"), body.get("encoding")
    if content is None:
        raise Refused("MISSING_PARAMETER", "content is missing")
    if not isinstance(content, str):
        raise Refused("INVALID_REQUEST", "content: a text")
    if encoding in (None, "", "utf-8", "utf8", "text"):
        return content.encode()
    if encoding != "base64":
        raise Refused("INVALID_REQUEST", "encoding: base64, or none")
    try:
        return base64.b64decode(content, validate=True)
    except ValueError as error:
        raise Refused("INVALID_REQUEST", f"content is no base64: {error}") from None


def _mode(value: object) -> int:
    if value is None:
        return MODE
    if isinstance(value, str):
        with suppress(ValueError):
            mode = int(value, 8)
            if 0 <= mode <= 0o777:
                return mode
    raise Refused("INVALID_REQUEST", "mode: permissions as an octal text, such as '0644'")


async def _made(directory: Path) -> tuple[int, str]:
    loop = asyncio.get_running_loop()
    making = loop.run_in_executor(None, lambda: mkstemp(prefix=UNFINISHED, dir=directory))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(_remove_what_came)
        raise


def _remove_what_came(making: asyncio.Future[tuple[int, str]]) -> None:
    if making.exception() is None:
        fd, name = making.result()
        os.close(fd)
        os.unlink(name)  # noqa: PTH108  # at once: nobody waits for it any more


async def _opened(place: Path) -> BinaryIO:
    opening = asyncio.get_running_loop().run_in_executor(None, _open, place)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_what_came)
        raise


def _close_what_came(opening: asyncio.Future[BinaryIO]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _open(place: Path) -> BinaryIO:
    with telling(place):
        return place.open("rb")


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
