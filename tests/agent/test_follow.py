"""Tests of hopx_async.agent.follow, on an agent around a keeper's double."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hopx_async.protocol import records
from hopx_async.protocol.events import Exited, Started, Stdout, Truncated
from tests.agent.harness import serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.harness import Serving


async def known(server: Serving, process_id: str = "one") -> None:
    """Wait until the agent has heard of a command."""
    while server.agent._board.get(process_id) is None:
        await asyncio.sleep(0)


async def test_events_come_as_they_are_written(tmp_path: Path) -> None:
    """A follower gets what is there, waits for the rest, and ends with the command."""
    async with serving(tmp_path / "s") as server:
        log = server.keeper.running("one")
        await known(server)
        with server.agent._followers.follow("one") as follower:
            assert isinstance(await follower.next(), Started)
            waiting = asyncio.create_task(follower.next())
            await asyncio.sleep(0)
            assert not waiting.done()
            log.write(b"hi")
            server.keeper.tell(log)
            event = await waiting
            assert isinstance(event, Stdout)
            assert event.data == b"hi"
            server.keeper.finish("one", exit_code=3)
            event = await follower.next()
            assert isinstance(event, Exited)
            assert event.exit.exit_code == 3
            assert await follower.next() is None
        assert server.agent._followers._open == {}


async def test_a_cancelled_wait_loses_nothing(tmp_path: Path) -> None:
    """What comes after a wait was cancelled is there for the next one."""
    async with serving(tmp_path / "s") as server:
        log = server.keeper.running("one")
        await known(server)
        with server.agent._followers.follow("one") as follower:
            await follower.next()
            waiting = asyncio.create_task(follower.next())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            log.write(b"kept")
            server.keeper.tell(log)
            event = await follower.next()

        assert isinstance(event, Stdout)
        assert event.data == b"kept"


async def test_it_stops_where_it_is_told(tmp_path: Path) -> None:
    """With an offset a running command is read up to there, and not waited for."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        log = server.keeper.running("one")
        log.write(b"a")
        server.keeper.tell(log)
        subscription = client.subscribe("one")
        await client.next(subscription)
        await client.next(subscription)
        with server.agent._followers.follow("one") as follower:
            found = [await follower.next(until=log.end) for _ in range(3)]

        assert [type(one).__name__ for one in found] == ["Started", "Stdout", "NoneType"]


async def test_what_was_freed_is_told(tmp_path: Path) -> None:
    """A gap that retention left is one event with its size."""
    async with serving(tmp_path / "s") as server:
        log = server.keeper.running("one")
        log.roll()
        log.write(b"freed", records.STDOUT)
        log.roll()
        log.write(b"kept")
        log.free()
        server.keeper.finish("one")
        await known(server)
        await server.agent._board.ended(server.agent._board.require("one"))
        with server.agent._followers.follow("one") as follower:
            events = [await follower.next() for _ in range(4)]

        assert isinstance(events[1], Truncated)
        assert events[1].stdout_bytes == 5
