"""Tests of hopx_async.control.front: answers to connections that never get a request through."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from hopx_async import front
from hopx_async.control.server import ControlServer
from tests.control.plane_double import KEY, FakeMachines

if TYPE_CHECKING:
    from pathlib import Path


async def test_bytes_that_are_no_request_are_answered_in_json(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """They get 400 in both envelopes and a closed connection; nothing of them is kept."""
    server = ControlServer(tmp_path, FakeMachines(), [KEY])
    await server.open("127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.url.rpartition(":")[2])
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: geheim\0\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    finally:
        await server.aclose()
    told = json.loads(body)

    assert b" 400 Bad Request" in head
    assert told["code"] == told["error"]["code"] == "INVALID_REQUEST"
    assert "geheim" not in body.decode() + caplog.text + capsys.readouterr().err


@pytest.mark.parametrize("sent", [b"", b"GET /v1/sandboxes HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_without_a_request_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Whoever says nothing, or half a head, is cut off."""
    monkeypatch.setattr(front, "HEAD_SECONDS", 0.05)
    server = ControlServer(tmp_path, FakeMachines(), [KEY])
    await server.open("127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.url.rpartition(":")[2])
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    finally:
        await server.aclose()
