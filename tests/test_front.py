"""The time that a connection has for its first request, whatever it sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from hopx_async import front
from hopx_async.front import FirstRequest

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def connected() -> AsyncGenerator[
    tuple[asyncio.StreamReader, asyncio.StreamWriter, list[FirstRequest]]
]:
    """Be connected to a server that answers every request with 204; give its side as well."""
    made: list[FirstRequest] = []

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=204)

    def protocol() -> FirstRequest:
        made.append(FirstRequest(served, loop=loop))
        return made[-1]

    loop = asyncio.get_running_loop()
    served = web.Server(answer)
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer, made
    finally:
        writer.close()
        server.close()
        await served.shutdown(0.1)


async def test_who_sends_a_byte_now_and_then_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for the whole head: bytes that never end do not move it."""
    monkeypatch.setattr(front, "HEAD_SECONDS", 0.2)

    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /")
        while True:
            writer.write(b"a")
            await asyncio.sleep(0.01)

    async with connected() as (reader, writer, _):
        trickling = asyncio.create_task(trickle(writer))
        try:
            # A reset says the same: it was sent more when it had closed.
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        finally:
            trickling.cancel()
            await asyncio.gather(trickling, return_exceptions=True)


async def test_a_head_in_pieces_is_one() -> None:
    """The end of a head is seen wherever it is cut; then no time runs any more."""
    for cut in range(len(REQUEST) - 4, len(REQUEST)):
        async with connected() as (reader, writer, there):
            for piece in (REQUEST[:cut], REQUEST[cut:]):
                writer.write(piece)
                await anyio.wait_all_tasks_blocked()
            assert (await reader.readline()).startswith(b"HTTP/1.1 204")
            assert [one._deadline for one in there] == [None]


async def test_who_leaves_before_is_waited_for_no_longer() -> None:
    """A connection that is lost without a request leaves no timer."""
    async with connected() as (_, writer, there):
        while not (there and there[0]._deadline):
            await anyio.lowlevel.checkpoint()
        writer.close()
        await writer.wait_closed()
        while there[0]._deadline:
            await anyio.lowlevel.checkpoint()
