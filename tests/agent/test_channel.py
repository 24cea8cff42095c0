"""Tests of hopx_async.agent.channel."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from hopx_async.agent import channel as channels
from hopx_async.agent.channel import Channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Owner:
    """What a channel hands over, and the other end of its socket."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.ends: list[str] = []
        self.arrived = asyncio.Event()
        self.channel = Channel(self.take, self.end)
        ours, self.other = socket.socketpair()
        self.other.setblocking(False)
        self.sock = ours

    def take(self, line: bytes) -> None:
        self.lines.append(line)
        self.arrived.set()
        if line == b"bad":
            raise ValueError("bad")

    def end(self, reason: str) -> None:
        self.ends.append(reason)
        self.arrived.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.lines) + len(self.ends) < count:
                self.arrived.clear()
                await self.arrived.wait()


@asynccontextmanager
async def owning() -> AsyncGenerator[Owner]:
    owner = Owner()
    await owner.channel.open(owner.sock)
    try:
        yield owner
    finally:
        owner.channel.close()
        owner.other.close()
        await asyncio.sleep(0)


async def send(owner: Owner, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(owner.other, data)


async def test_lines_arrive_whole_however_they_are_cut() -> None:
    """A line is handed over once its newline has come, several at once in order."""
    async with owning() as owner:
        for piece in (b"on", b"e\ntw", b"o", b"\nthree\n\nfo", b"ur\n"):
            owner.channel.data_received(piece)
        await send(owner, b"five\n")
        await owner.until(6)

        assert owner.lines == [b"one", b"two", b"three", b"", b"four", b"five"]


async def test_held_lines_wait_for_the_release() -> None:
    """Lines behind the one that held the channel come after release, none is lost."""
    async with owning() as owner:

        def take(line: bytes) -> None:
            owner.take(line)
            if line == b"hold":
                owner.channel.hold()

        owner.channel._on_line = take
        await send(owner, b"hold\nafter\nhold\nlast\n")
        await owner.until(1)
        assert owner.lines == [b"hold"]

        owner.channel.release()
        assert owner.lines == [b"hold", b"after", b"hold"]

        owner.channel.release()
        assert owner.lines[3:] == [b"last"]


async def test_a_line_that_is_none_ends_the_channel() -> None:
    """A line that the owner cannot read ends the channel, and nothing behind it is taken."""
    async with owning() as owner:
        await send(owner, b"good\nbad\nmore\n")
        await owner.until(3)

        assert owner.lines == [b"good", b"bad"]
        assert len(owner.ends) == 1


async def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than the bound ends the channel."""
    monkeypatch.setattr(channels, "MAX_LINE", 10)
    async with owning() as owner:
        await send(owner, b"x" * 11)
        await owner.until(1)

        assert owner.ends == ["a line of more than 10 bytes"]


async def test_the_end_of_the_other_side_is_told_once() -> None:
    """The owner hears once that the other side has gone."""
    async with owning() as owner:
        owner.other.close()
        await owner.until(1)

        assert owner.ends == ["the other side has gone"]


async def test_an_own_close_is_not_told() -> None:
    """Closing a channel calls nobody, twice neither."""
    async with owning() as owner:
        owner.channel.close()
        owner.channel.close()
        await asyncio.sleep(0)

        assert owner.ends == []


async def test_lines_of_one_turn_are_written_together() -> None:
    """What is sent in one turn of the loop costs one write, in order, and is there after it."""
    async with owning() as owner:
        assert owner.channel._transport is not None
        for number in range(100):
            owner.channel.send(b"%d" % number)
        with pytest.raises(BlockingIOError):
            owner.other.recv(10)
        await asyncio.sleep(0)

        assert owner.other.recv(10_000).split() == [b"%d" % number for number in range(100)]


async def test_what_was_sent_before_a_close_is_written() -> None:
    """A last line reaches the other side although the channel is closed in the same turn."""
    async with owning() as owner:
        owner.channel.send(b"last")
        owner.channel.close()

        assert owner.other.recv(100) == b"last\n"


async def test_what_waits_for_the_end_of_a_turn_is_bounded() -> None:
    """Much is written at once, so that room() knows of it within the same turn."""
    async with owning() as owner:
        owner.channel.send(b"x" * 8_000_000)

        assert not owner.channel._unsent
        waiting = asyncio.create_task(owner.channel.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


async def test_room_waits_until_the_other_side_reads() -> None:
    """Sending much makes room() wait, and reading it lets it return."""
    async with owning() as owner:
        await owner.channel.room()
        owner.channel.send(b"x" * 8_000_000)
        waiting = asyncio.create_task(owner.channel.room())
        await asyncio.sleep(0)
        assert not waiting.done()

        async with asyncio.timeout(30):
            received = 0
            while received < 8_000_001:
                received += len(await asyncio.get_running_loop().sock_recv(owner.other, 1 << 20))
            await waiting


async def test_what_is_said_to_nobody_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """Lines sent after the other side has gone, and before that is known, cause no complaint."""
    async with owning() as owner:
        owner.other.close()
        for _ in range(20):
            owner.channel.send(b"line")
        await owner.until(1)

        assert len(owner.ends) == 1
    assert caplog.records == []
