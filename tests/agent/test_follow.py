"""Tests of hopx_async.agent.follow, on an agent around a keeper's double."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import example, given

from hopx_async.agent.follow import Follower
from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol import records
from hopx_async.protocol.cursor import Position
from hopx_async.protocol.events import Exited, Lost, Started, Stdout, Truncated
from tests.agent.harness import serving
from tests.agent.keeper_double import PATIENCE
from tests.protocol.damaged import LAST_TOO_LARGE, DamagedLog, damages

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


@given(damages)
@example(LAST_TOO_LARGE)
def test_a_damaged_log_has_an_end_or_is_told(damage: tuple[int, int]) -> None:
    """Whatever byte of a finished log is changed, a follower ends, or says that it is damaged."""
    log = DamagedLog(damage)

    async def follow() -> None:
        last = None
        follower = Follower(log, log.process_id)
        try:
            while (event := await follower.next()) is not None:
                last = event
        except RemoteProtocolError as error:
            assert log.process_id in str(error)  # noqa: PT017  # one of two good ends
        else:
            assert isinstance(last, Exited | Lost)

    asyncio.run(asyncio.wait_for(follow(), PATIENCE))


async def test_behind_the_end_there_is_nothing() -> None:
    """A follower that begins behind the last record is told of none, and of no damage."""
    log = DamagedLog((0, 0))
    follower = Follower(log, log.process_id, Position(log.end(log.process_id), 0, 0))
    assert await follower.next() is None
