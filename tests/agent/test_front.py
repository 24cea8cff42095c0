"""Tests of hopx_async.agent.front: answers to connections that never get a request through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hopx_async import front
from hopx_async.agent.front import Full
from tests.agent.harness import serving

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_connection_too_many_is_told_the_bound() -> None:
    """Full answers 503 with how many there may be, unasked, and closes."""
    server = await asyncio.get_running_loop().create_server(lambda: Full(7), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"7 connections are open" in answer


async def test_bytes_that_are_no_request_are_answered_in_json(tmp_path: Path) -> None:
    """Nonsense gets 400 as JSON and a closed connection; nothing of it is repeated."""
    async with serving(tmp_path / "s") as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"geheim nonsense\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()

    assert b" 400 Bad Request" in answer
    assert b'{"error":' in answer
    assert b"geheim" not in answer


@pytest.mark.parametrize("sent", [b"", b"GET /ping HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_without_a_request_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Whoever says nothing, or half a head, is cut off; whoever has asked may idle."""
    monkeypatch.setattr(front, "HEAD_SECONDS", 0.2)
    async with serving(tmp_path / "s") as served:
        asked, asking = await asyncio.open_connection("127.0.0.1", served.port)
        for part in (b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r" % served.port, b"\n"):
            asking.write(part)
            await asking.drain()
            await asyncio.sleep(0.01)
        assert (await asked.readline()).startswith(b"HTTP/1.1 200")
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()
        await asked.readuntil(b"\r\n\r\n")
        asking.write(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % served.port)
        await asked.readuntil(b"HTTP/1.1 200")
        asking.close()
        await asking.wait_closed()
