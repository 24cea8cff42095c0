"""Tests of hopx_async.agent.link_route: what it bounds, and how connections end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hopx_async.agent import errands
from hopx_async.agent import link_route as module
from hopx_async.agent.link_route import Connection
from hopx_async.protocol import wire
from hopx_async.protocol.peer import Peer
from tests.agent.harness import closed, greeting, serving
from tests.agent.keeper_double import PATIENCE, full_spec

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

    from tests.agent.harness import Serving


async def gone(server: Serving) -> None:
    """Wait until the agent has forgotten its connections."""
    async with asyncio.timeout(PATIENCE):
        while server.agent._connections:
            await asyncio.sleep(0)


async def blocked(server: Serving) -> None:
    """Wait until a connection takes nothing more."""
    serving = server.agent._runner.server
    assert serving is not None
    async with asyncio.timeout(PATIENCE):
        while not any(
            handler.transport is not None and handler.transport.get_write_buffer_size() > 1 << 16
            for handler in serving.connections
        ):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([wire.encode([wire.Leave(1)])], "hello"),
        ([wire.encode([wire.Hello(99)])], "version 99"),
        ([greeting(), "nonsense"], "unknown frame"),
        ([greeting(), '[{"t":"dance"}]'], "unknown frame"),
        ([greeting(), b"binary"], "binary"),
        ([greeting(), wire.encode([wire.Ask(1, "one"), wire.Ask(1, "one")])], "used twice"),
    ],
)
async def test_breaking_the_protocol_closes_with_1002(
    tmp_path: Path, frames: list[str | bytes], reason: str
) -> None:
    """A frame against the protocol ends the connection with 1002 and says why; others go on."""
    async with serving(tmp_path / "s") as server, server.link() as other:
        server.keeper.running("one")
        await other.call("info", process_id="one")
        async with server.connect() as socket:
            for frame in frames:
                await socket.send(frame)
            code, told_reason = await closed(socket)

        assert code == 1002
        assert reason in (told_reason or "")
        await other.call("statistics")


async def test_an_oversized_frame_closes_with_1009(tmp_path: Path) -> None:
    """A frame above the bound ends the connection with 1009."""
    async with serving(tmp_path / "s") as server, server.connect() as socket:
        await socket.send(greeting())
        with suppress(ConnectionClosed):  # the answer may come before all is sent
            await socket.send("x" * (wire.MAX_CONTROL_BYTES + 1))

        assert (await closed(socket))[0] == 1009


async def test_a_frame_of_the_largest_call_is_taken(tmp_path: Path) -> None:
    """A start of nearly 1 MiB fits."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        arguments = ["echo", *["x" * 100_000] * 10]
        answer = await client.call("start", **full_spec(command=arguments))

        assert answer["info"]["spec"]["command"] == arguments


async def test_the_link_is_a_websocket_only(tmp_path: Path) -> None:
    """A plain request for the link is refused in words."""
    async with serving(tmp_path / "s") as server:
        status, answer = await server.ask("GET", "/v1/link")

        assert (status, "websocket" in answer["error"]["message"]) == (426, True)


async def test_compression_is_not_offered(tmp_path: Path) -> None:
    """A client that asks for compression gets none: it costs ten times what it saves here."""
    async with serving(tmp_path / "s") as server:
        async with server.http.ws_connect("/v1/link", compress=15) as socket:
            assert socket.compress == 0


async def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One websocket too many is refused with 429; when one leaves, there is room."""
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    async with serving(tmp_path / "s") as server:
        async with server.link() as client:
            await client.call("statistics")
            with pytest.raises(InvalidStatus, match="429"):
                await server.connect()
        await gone(server)
        async with server.link() as client:
            await client.call("statistics")


async def answers(socket: ClientConnection, count: int) -> list[int]:
    """Read until so many calls are answered; return their numbers, sorted."""
    answered: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while len(answered) < count:
            frame = wire.decode_agent(await socket.recv())
            answered += [reply.call for reply in frame if isinstance(reply, wire.Reply)]
    return sorted(answered)


async def test_calls_of_a_connection_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many calls in one frame, so many are under way as allowed; answers make room."""
    monkeypatch.setattr(errands, "_MAX_CALLS", 2)
    async with serving(tmp_path / "s") as server, server.connect() as socket:
        keeper = server.keeper
        keeper.silent = True
        await socket.send(greeting(*[wire.Call(n, "start", full_spec(f"c{n}")) for n in range(6)]))
        await keeper.asked(2)
        async with server.link() as other:
            await other.call("statistics")
        assert len(keeper.requests) == 2
        keeper.silent = False
        for request in keeper.requests[:2]:
            keeper.answer(request)

        assert await answers(socket, 6) == list(range(6))


async def test_unread_answers_stop_the_answering(tmp_path: Path) -> None:
    """Unread answers are bounded in bytes; once they are read, all calls are answered."""
    async with serving(tmp_path / "s") as server, server.connect(max_queue=1) as socket:
        for n in range(8):
            spec = full_spec(f"c{n}", command="x" * 100_000)
            await server.ask("PUT", f"/v1/commands/c{n}", json=spec)
        await socket.send(greeting())
        await socket.send(wire.encode([wire.Call(n, "list", {}) for n in range(200)]))
        peer = next(iter(server.agent._connections._open)).peer
        async with asyncio.timeout(PATIENCE):
            while not peer.congested:
                await asyncio.sleep(0)
            for _ in range(1000):
                await asyncio.sleep(0)
            # One answer, a page, was made while there was still room.
            assert peer._outbox.size <= wire.MAX_CONTROL_BYTES + wire.MAX_CALL_BYTES

        assert await answers(socket, 200) == list(range(200))


class Endless:
    """A log that goes on for ever, all of it in memory."""

    def end(self, process_id: str) -> int:
        return 1 << 50

    def over(self, process_id: str) -> bool:
        return False

    def read(self, process_id: str, offset: int, limit: int) -> tuple[int, bytes]:
        return offset, bytes(limit)

    def last(self, process_id: str) -> None:
        return None


class Swift:
    """A socket that takes every frame without waiting, up to a bound that stands for ever."""

    def __init__(self) -> None:
        self.frames = 0

    async def send_str(self, data: str) -> None:
        pass

    async def send_bytes(self, data: bytes) -> None:
        self.frames += 1
        if self.frames > 100:
            raise ConnectionResetError


async def test_a_swift_reader_leaves_turns_to_others() -> None:
    """Writing to a socket that is never full lets the loop do its other work in between."""
    peer, socket = Peer(Endless()), Swift()
    peer.receive(greeting(wire.Ask(1, "one", total=1 << 50)))
    connection = Connection(socket, None, peer)  # type: ignore[arg-type]  # only what is used
    writing = asyncio.create_task(connection._write())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert socket.frames <= 2
    await writing


async def test_what_retention_frees_is_not_held_open(tmp_path: Path) -> None:
    """The news that a segment was freed closes its descriptor: it would hold the disk's room."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        log = server.keeper.running("one")
        for _ in range(3):
            log.roll()
        server.keeper.tell(log)
        server.keeper.finish("one")
        await client.events("one")
        assert (await client.call("statistics"))["open_logs"] == 4
        log.free()
        server.keeper.tell(log)
        # What the keeper says next comes behind those news.
        await client.call("signal", process_id="one", signal_id="s", name="SIGHUP")

        assert (await client.call("statistics"))["open_logs"] == 3


async def test_calls_end_with_their_connection(tmp_path: Path) -> None:
    """A connection that breaks leaves no task and no request waiting; a start goes on."""
    async with serving(tmp_path / "s") as server:
        keeper = server.keeper
        keeper.running("one")
        keeper.silent = True
        async with server.link() as client:
            asked = [
                asyncio.create_task(client.call("kill", process_id="one")),
                asyncio.create_task(client.call("start", **full_spec("two"))),
            ]
            await keeper.asked(2)
            client.socket.transport.abort()
            await gone(server)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

        assert server.agent.keepers.pending == 1  # the start


async def test_a_stop_closes_with_1001(tmp_path: Path) -> None:
    """Every open connection is closed with 1001 when the agent stops, one that never reads, too."""
    async with serving(tmp_path / "s") as server:
        log = server.keeper.running("one")
        log.write(bytes(30_000_000))
        server.keeper.tell(log)
        async with server.connect() as socket, server.connect(max_queue=1) as stuck:
            await socket.send(greeting())
            # More than any system keeps in its buffers.
            await stuck.send(greeting(*[wire.Ask(n, "one", total=1 << 40) for n in range(50)]))
            await socket.recv()
            await blocked(server)
            stopping = asyncio.create_task(server.agent.aclose())

            assert await closed(socket) == (1001, "the agent is being stopped")
            await stopping
            stuck.transport.abort()


async def test_a_stop_does_not_wait_for_a_dead_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection whose close does not come through is left after a bounded time."""
    monkeypatch.setattr(module, "_CLOSE_TIME", 0.01)
    async with serving(tmp_path / "s") as server, server.connect() as socket:
        await socket.recv()
        monkeypatch.setattr(Connection, "go_away", lambda _: asyncio.Event().wait())
        async with asyncio.timeout(PATIENCE):
            await server.agent.aclose()


async def test_a_bug_in_the_writer_closes_with_1011(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected exception while writing ends the connection instead of silencing it."""
    async with serving(tmp_path / "s") as server, server.connect() as socket:
        await socket.recv()
        log = server.keeper.running("one")
        log.finish()
        monkeypatch.setattr(server.agent._logs, "read", lambda *_: 1 / 0)
        await socket.send(greeting(wire.Ask(1, "one", total=99)))

        assert (await closed(socket))[0] == 1011
        assert "ZeroDivisionError" in capsys.readouterr().err
