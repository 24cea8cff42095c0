"""Tests of hopx_async.agent.link_route, over real websockets."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.errors import AgentFault, BadCursor, CommandNotFound
from hopx_async.protocol import records, wire
from hopx_async.protocol.cursor import Position
from hopx_async.protocol.events import Exited, Lost, Started, Stderr, Stdout, Truncated
from tests.agent.harness import greeting, serving
from tests.support.leaks import open_descriptors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.harness import Serving
    from tests.agent.keeper_double import FakeKeeper


def told(events: list[Any], kind: type[Stdout | Stderr] = Stdout) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, kind))


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
            await socket.send(greeting(ask))
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
        before = len(open_descriptors())
        await many(server, server.keeper, 1000)

        assert len(open_descriptors()) <= before + 2


async def test_a_disk_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads or waits gets the disk's error; the connection goes on."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("one")

        def broken(*_: Any) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(os, "preadv", broken)
            with pytest.raises(AgentFault, match="the log of one cannot be read"):
                await client.next(client.subscribe("one"))
        server.keeper.finish("one")
        assert isinstance((await client.events("one"))[-1], Exited)
