"""Tests of hopx_async.agent.link_route, over real websockets."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hopx_async.agent import link_route as module
from hopx_async.errors import BadCursor, CommandNotFound
from hopx_async.protocol import records, wire
from hopx_async.protocol.cursor import Position
from hopx_async.protocol.events import Exited, Lost, Started, Stderr, Stdout, Truncated
from tests.agent.harness import PATIENCE, full_spec, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.harness import FakeKeeper, Serving

HELLO = wire.encode([wire.Hello(wire.LINK_VERSION)])


def told(events: list[Any], kind: type[Stdout | Stderr] = Stdout) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, kind))


async def closed(socket: Any) -> tuple[int, str]:
    """Read until the close; return its code and reason."""
    async with asyncio.timeout(PATIENCE):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as error:
            assert error.rcvd is not None
            return error.rcvd.code, error.rcvd.reason


async def test_events_arrive_while_they_happen(tmp_path: Path) -> None:
    """A subscription sees start, output of both streams and the end, each when it is told."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        log = server.keeper.running("one")
        events = client.subscribe("one")
        assert isinstance(await client.next(events), Started)
        for data, kind in ((b"out", records.STDOUT), (b"err", records.STDERR)):
            log.write(data, kind)
            server.keeper.tell(log)
            event = await client.next(events)
            assert isinstance(event, Stdout if kind == records.STDOUT else Stderr)
            assert event.data == data
        server.keeper.finish("one", exit_code=3)
        end = await client.next(events)

        assert isinstance(end, Exited)
        assert (end.exit.exit_code, end.exit.tail) == (3, b"tail")
        assert await client.next(events) is None


async def test_an_end_alone_can_be_waited_for(tmp_path: Path) -> None:
    """A wait gets the last record and no output, before and after the end."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        log = server.keeper.running("one")
        waiting = client.subscribe("one", output=False)
        log.write(bytes(200_000))
        server.keeper.tell(log)
        server.keeper.finish("one", exit_code=5)

        for event in (await client.next(waiting), await client.exit("one")):
            assert isinstance(event, Exited)
            assert event.exit.exit_code == 5


async def test_much_output_arrives_intact(tmp_path: Path) -> None:
    """Ten megabytes over several segments arrive as they were written, and resume at any event."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        log = server.keeper.running("one")
        data = os.urandom(10_000_000)
        for start in range(0, len(data), 1_000_000):
            log.write(data[start : start + 1_000_000])
            if start % 3_000_000 == 0:
                log.roll()
        server.keeper.finish("one")
        events = await client.events("one")
        assert told(events) == data

        middle = events[len(events) // 2]
        _, offset, out, err, _ = middle.cursor.split(".")
        rest = await client.events("one", Position(int(offset), int(out), int(err)))
        assert told(rest) == data[int(out) :]


async def test_what_retention_freed_is_counted(tmp_path: Path) -> None:
    """A reader behind the oldest segment hears exactly what is missing, then goes on."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        log = server.keeper.running("one")
        log.write(b"a" * 1000)
        for n in range(3):
            log.roll()
            log.write(bytes([n]) * 100_000)
            log.write(b"e" * 10, records.STDERR)
        log.free()
        log.free(told=False)
        server.keeper.finish("one")
        events = await client.events("one")
        [gap] = [event for event in events if isinstance(event, Truncated)]

        assert (gap.stdout_bytes, gap.stderr_bytes) == (200_000, 20)
        assert told(events) == b"a" * 1000 + b"\x02" * 100_000
        assert told(events, Stderr) == b"e" * 10


async def test_a_position_that_is_none_is_refused(tmp_path: Path) -> None:
    """An offset behind the end of the log is a bad cursor; other subscriptions go on."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        log = server.keeper.running("one")
        await client.call("info", process_id="one")
        with pytest.raises(BadCursor):
            await client.events("one", Position(log.end + 1, 0, 0))
        server.keeper.finish("one")

        assert isinstance(await client.exit("one"), Exited)


async def test_an_unknown_command_is_lost(tmp_path: Path) -> None:
    """A subscription to what the agent does not know ends as lost, a call says not found."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        assert isinstance(await client.exit("nobody"), Lost)
        with pytest.raises(CommandNotFound):
            await client.call("info", process_id="nobody")


async def test_a_reader_that_stands_still_holds_back_nobody(tmp_path: Path) -> None:
    """One that takes nothing gets its window and no more; another reads everything meanwhile."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        log = server.keeper.running("one")
        log.write(os.urandom(3_000_000))
        server.keeper.finish("one")
        stuck = client.subscribe("one")
        events = await client.events("one")

        assert len(told(events)) == 3_000_000
        assert 0 < stuck.buffered <= 128 * 1024


async def test_a_socket_that_is_not_read_stops_its_writer_alone(tmp_path: Path) -> None:
    """A client that grants credit and reads nothing blocks its own connection, not another's."""
    async with serving(tmp_path / "s") as server:
        log = server.keeper.running("one")
        log.write(bytes(30_000_000))
        server.keeper.finish("one")
        async with server.connect(max_queue=1) as socket:
            ask = wire.Ask(1, "one", total=1 << 40)
            await socket.send(wire.encode([wire.Hello(wire.LINK_VERSION), ask]))
            async with server.link() as client:
                assert len(told(await client.events("one"))) == 30_000_000
            connection = next(iter(server.agent._connections._open))
            assert connection.peer.askings == 1
            socket.transport.abort()


async def test_two_connections_see_the_same(tmp_path: Path) -> None:
    """News reach every connection, and one that leaves disturbs no other."""
    async with serving(tmp_path / "s") as server, server.link() as first:
        log = server.keeper.running("one")
        events = first.subscribe("one")
        await first.next(events)
        async with server.link() as second:
            other = second.subscribe("one")
            await second.next(other)
            log.write(b"x")
            server.keeper.tell(log)
            assert (await first.next(events)) == (await second.next(other))
        server.keeper.finish("one")

        assert isinstance(await first.next(events), Exited)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([wire.encode([wire.Leave(1)])], "hello"),
        ([wire.encode([wire.Hello(99)])], "version 99"),
        ([HELLO, "nonsense"], "unknown frame"),
        ([HELLO, '[{"t":"dance"}]'], "unknown frame"),
        ([HELLO, b"binary"], "binary"),
        ([HELLO, wire.encode([wire.Ask(1, "one"), wire.Ask(1, "one")])], "used twice"),
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
        assert reason in told_reason
        await other.call("statistics")


async def test_an_oversized_frame_closes_with_1009(tmp_path: Path) -> None:
    """A frame above the bound ends the connection with 1009."""
    async with serving(tmp_path / "s") as server, server.connect() as socket:
        await socket.send(HELLO)
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
        while server.agent._connections:
            await asyncio.sleep(0)
        async with server.link() as client:
            await client.call("statistics")


async def test_calls_of_a_connection_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many calls under way as allowed nothing more is read; answers make room."""
    monkeypatch.setattr(module, "_MAX_CALLS", 2)
    async with serving(tmp_path / "s") as server, server.link() as client:
        keeper = server.keeper
        keeper.silent = True
        asked = [
            asyncio.create_task(client.call("start", **full_spec(f"c{n}"))) for n in range(6)
        ]
        await keeper.asked(2)
        async with server.link() as other:
            await other.call("statistics")
        assert len(keeper.requests) == 2
        keeper.silent = False
        for request in keeper.requests[:2]:
            keeper.answer(request)
        await asyncio.gather(*asked)

        assert len(keeper.requests) == 6


async def test_unread_answers_stop_the_reading(tmp_path: Path) -> None:
    """A client that asks and never reads the answers is not read any further."""
    async with serving(tmp_path / "s") as server, server.connect(max_queue=1) as socket:
        for n in range(8):
            spec = full_spec(f"c{n}", command="x" * 100_000)
            await server.ask("PUT", f"/v1/commands/c{n}", json=spec)
        await socket.send(HELLO)
        connection = next(iter(server.agent._connections._open))

        async def flood() -> None:
            calls = [wire.Call(n, "list", {}) for n in range(1000)]
            while True:
                await socket.send(wire.encode(calls))

        flooding = asyncio.create_task(flood())
        while not connection.peer.congested:
            await asyncio.sleep(0)
        for _ in range(2000):
            await asyncio.sleep(0)
        outbox = connection.peer._outbox.size
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)

        # What was read in one frame may still be answered, nothing behind it.
        assert outbox <= wire.MAX_CONTROL_BYTES + 1000 * 600_000
        socket.transport.abort()


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
            while server.agent._connections:
                await asyncio.sleep(0)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

        assert server.agent._keeper.pending == 1  # the start


async def test_a_stop_closes_with_1001(tmp_path: Path) -> None:
    """Every open connection is closed with 1001 when the agent stops, one that never reads, too."""
    async with serving(tmp_path / "s") as server:
        log = server.keeper.running("one")
        log.write(bytes(30_000_000))
        server.keeper.tell(log)
        async with server.connect() as socket, server.connect(max_queue=1) as stuck:
            await socket.send(HELLO)
            ask = wire.Ask(1, "one", total=1 << 40)
            await stuck.send(wire.encode([wire.Hello(wire.LINK_VERSION), ask]))
            await socket.recv()
            stopping = asyncio.create_task(server.agent.aclose())

            assert await closed(socket) == (1001, "the agent is being stopped")
            await stopping
            stuck.transport.abort()


async def test_a_bug_in_the_writer_closes_with_1011(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected exception while writing ends the connection instead of silencing it."""
    async with serving(tmp_path / "s") as server, server.connect() as socket:
        await socket.recv()
        log = server.keeper.running("one")
        log.finish()
        monkeypatch.setattr(server.agent._logs, "read", lambda *_: 1 / 0)
        await socket.send(wire.encode([wire.Hello(wire.LINK_VERSION), wire.Ask(1, "one", total=99)]))

        assert (await closed(socket))[0] == 1011
        assert "ZeroDivisionError" in capsys.readouterr().err


async def many(server: Serving, keeper: FakeKeeper, count: int) -> None:
    async with server.link() as client:
        waits = [client.subscribe(f"c{n}", output=False) for n in range(count)]
        await client.call("statistics")
        for n in range(count):
            keeper.finish(f"c{n}", exit_code=n % 200)
        codes = [await client.next(wait) for wait in waits]

        assert [event.exit.exit_code for event in codes if isinstance(event, Exited)] == [
            n % 200 for n in range(count)
        ]


async def test_a_thousand_waits_share_one_socket(tmp_path: Path) -> None:
    """A thousand commands are waited for over one connection, with no descriptor for each."""
    async with serving(tmp_path / "s") as server:
        for n in range(1000):
            server.keeper.running(f"c{n}")
        before = len(os.listdir("/proc/self/fd"))
        await many(server, server.keeper, 1000)

        assert len(os.listdir("/proc/self/fd")) <= before + 2
