"""The channel over a websocket: refusals, ends, cancellation."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from hopx_async.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    RemoteProtocolError,
)
from hopx_async.transport.websocket import WebSocketChannel, open_channel

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def served(
    handler: Handler, *, refusal: tuple[int, bytes] | None = None
) -> AsyncGenerator[str]:
    """Serve a websocket, or refuse every handshake, and give its URL."""

    def check(connection: ServerConnection, request: Request) -> Response | None:
        assert request.headers["Authorization"] == "Bearer t"
        return None if refusal is None else Response(refusal[0], "", Headers(), refusal[1])

    async with serve(handler, "127.0.0.1", 0, process_request=check, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1/link"


async def opened(url: str) -> WebSocketChannel:
    """Open a channel as the transport does."""
    return await open_channel(url, {"Authorization": "Bearer t"}, name="there")


async def echo(connection: ServerConnection) -> None:
    """Send back what comes."""
    async for frame in connection:
        await connection.send(frame)


async def test_channel_carries_frames_in_order() -> None:
    """What is sent comes back in order, text as text and bytes as bytes."""

    async def handler(connection: ServerConnection) -> None:
        async for frame in connection:
            await connection.send(frame)
            await connection.send(b"\0" * 100)

    async with served(handler) as url:
        channel = await opened(url)
        await channel.send("one")
        await channel.send("two")
        assert [await channel.receive() for _ in range(4)] == ["one", bytes(100), "two", bytes(100)]
        await channel.aclose()
        await channel.aclose()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"", ConnectError),
        (502, b"", ConnectError),
        (401, b'{"error":{"code":"unauthorized","message":"wrong token"}}', AuthenticationError),
        (404, b"<html>", RemoteProtocolError),
        (404, b'{"error":"no dictionary"}', RemoteProtocolError),
        (404, b'{"error":{"message":"no \xff text"}}', RemoteProtocolError),
    ],
)
async def test_a_refused_handshake_says_whose_fault(
    status: int, body: bytes, kind: type[Exception]
) -> None:
    """A far side that is not ready may be asked again; one that says no may not."""
    async with served(echo, refusal=(status, body)) as url:
        with pytest.raises(kind):
            await opened(url)


@pytest.mark.parametrize("code", [1002, 1007, 1008, 1009])
async def test_a_fatal_close_is_a_protocol_error(code: int) -> None:
    """A close that the same again would bring again is no lost connection."""

    async def handler(connection: ServerConnection) -> None:
        await connection.close(code, "because")

    async with served(handler) as url:
        channel = await opened(url)
        with pytest.raises(RemoteProtocolError, match="because"):
            await channel.receive()
        await channel.aclose()


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012])
async def test_a_passing_close_is_a_lost_connection(code: int) -> None:
    """A far side that goes away may come back."""

    async def handler(connection: ServerConnection) -> None:
        await connection.close(code)

    async with served(handler) as url:
        channel = await opened(url)
        with pytest.raises(ConnectionLost):
            await channel.receive()
        with pytest.raises(ConnectionLost):
            await channel.send("x")
        await channel.aclose()


async def test_a_cut_is_a_lost_connection() -> None:
    """A connection that is torn without a close frame is ConnectionLost."""

    async def handler(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with served(handler) as url:
        channel = await opened(url)
        with pytest.raises(ConnectionLost):
            await channel.receive()
        await channel.aclose()


async def test_receive_can_be_cancelled() -> None:
    """A cancelled receive loses no frame."""
    async with served(echo) as url:
        channel = await opened(url)
        with anyio.move_on_after(0) as scope:
            await channel.receive()
        assert scope.cancelled_caught
        await channel.send("here")
        assert await channel.receive() == "here"
        await channel.aclose()


async def test_connecting_can_be_cancelled() -> None:
    """A cancelled handshake leaves no connection."""
    entered = anyio.Event()

    async def hang(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            entered.set()
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, hang)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(opened, f"ws://127.0.0.1:{port}/v1/link")
                    await entered.wait()
                    scope.cancel()
            assert scope.cancelled_caught
            group.cancel_scope.cancel()


async def test_a_log_of_everything_shows_neither_token_nor_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever logs all that the library says sees that there is a token; of frames, their size."""
    async with served(echo) as url:
        with caplog.at_level(logging.DEBUG):
            channel = await opened(url)
            await channel.send('{"env":{"A":"sesame"}}')
            await channel.receive()
            await channel.aclose()

    assert "Authorization: (not shown)" in caplog.text
    # The server of this test logs what it hears, too.
    ours = [record.getMessage() for record in caplog.records if "server" not in record.name]
    assert not [line for line in ours if "Bearer" in line or "sesame" in line]
    assert "> TEXT [22 bytes]" in ours
    assert "< TEXT [22 bytes]" in ours
