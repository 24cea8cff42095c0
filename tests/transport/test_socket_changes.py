"""Watches over websockets: how they begin, what they tell, how they end."""

from __future__ import annotations

import anyio
import pytest
from aiohttp import web

from hopx_async import errors
from hopx_async.protocol.file_answers import FileEvent
from hopx_async.transport import socket_changes
from tests.transport.files_served import Handler, served


def watched(*frames: str, end: bool = False) -> Handler:
    """Return a handler that says these frames to whoever watches."""

    async def handler(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert await socket.receive_json() == {"action": "watch", "path": "/workspace"}
        for frame in frames:
            await socket.send_str(frame)
        if not end:
            await socket.receive()
        return socket

    return handler


STATUS = '{"type":"status","status":"Watching /workspace"}'
CHANGE = (
    '{"type":"change","path":"/workspace/a","event":"created","timestamp":"1970-01-01T00:00:01Z"}'
)


@pytest.mark.parametrize("frames", [(STATUS, "", CHANGE), (CHANGE, STATUS)])
async def test_a_watch_tells_changes(frames: tuple[str, ...]) -> None:
    """Changes come, also one before the word that it watches; empty frames say nothing."""
    async with served(watched(*frames)) as (files, access):
        changes = await files.watch("/workspace")
        assert await changes.receive() == FileEvent(path="/workspace/a", kind="created", at=1.0)
        assert access.renewals == 1
        with anyio.move_on_after(0.01) as scope:
            await changes.receive()
        assert scope.cancelled_caught
        await changes.aclose()
        await changes.aclose()


async def test_a_watch_that_ends_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is told, a closed socket is a loss, a closed store ends its watches."""
    refused = '{"type":"error","error":"no","code":"FILE_NOT_FOUND"}'
    async with served(watched(refused)) as (files, _):
        with pytest.raises(errors.FileNotFound):
            await files.watch("/workspace")
    async with served(watched(STATUS, end=True)) as (files, _):
        changes = await files.watch("/workspace")
        with pytest.raises(errors.ConnectionLost):
            await changes.receive()
    async with served(watched(STATUS)) as (files, _):
        changes = await files.watch("/workspace")
        await files.aclose()
        with pytest.raises(errors.ConnectionLost):
            await changes.receive()
    async with served(watched(STATUS)) as (files, _):
        changes = await files.watch("/workspace")
        changes.abandon()
        with pytest.raises(errors.ConnectionLost):
            await changes.receive()
    monkeypatch.setattr(socket_changes, "WATCHING_SECONDS", 0.05)
    async with served(watched()) as (files, _):
        with pytest.raises(errors.RequestTimeout):
            await files.watch("/workspace")
