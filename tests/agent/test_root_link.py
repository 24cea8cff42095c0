"""Tests of hopx_async.agent.root_link."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hopx_async.agent.root_link import RootLink
from tests.agent.keeper_double import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Linked:
    """A link, the root's end of its socket, and what it has told."""

    def __init__(self) -> None:
        self.root, self._its = socket.socketpair()
        self.lines: list[tuple[bytes, int | None]] = []
        self.ends: list[str] = []
        self._told = asyncio.Event()
        self.link = RootLink(self._take, self._end)
        self.link.open(self._its)

    def _take(self, line: bytes) -> None:
        if line == b"nonsense":
            raise ValueError("it is none")
        fd = self.link.take_fd() if line.endswith(b"fd") else None
        self.lines.append((line, fd))
        self._told.set()

    def _end(self, reason: str) -> None:
        self.ends.append(reason)
        self._told.set()

    async def told(self) -> None:
        """Wait until it has told something more."""
        async with asyncio.timeout(PATIENCE):
            await self._told.wait()
        self._told.clear()


@asynccontextmanager
async def linked() -> AsyncGenerator[Linked]:
    it = Linked()
    try:
        yield it
    finally:
        it.link.close()
        it.root.close()


async def test_lines_come_whole_with_their_descriptors() -> None:
    """Each line that asks for a descriptor gets its own, however lines and reads fall."""
    async with linked() as it:
        pairs = [os.pipe() for _ in range(2)]
        socket.send_fds(it.root, [b"first\nsecond fd\nthird "], [pairs[0][1]])
        await it.told()
        assert [line for line, _ in it.lines] == [b"first", b"second fd"]
        socket.send_fds(it.root, [b"fd\nlast\n"], [pairs[1][1]])
        await it.told()
        assert [line for line, _ in it.lines[2:]] == [b"third fd", b"last"]
        for (reader, writer), (_, fd) in zip(pairs, it.lines[1:3], strict=True):
            assert fd is not None
            assert not os.get_inheritable(fd)
            os.write(fd, b"x")
            assert os.read(reader, 2) == b"x"
            for one in (reader, writer, fd):
                os.close(one)


async def test_descriptors_that_nobody_takes_are_closed() -> None:
    """close closes what came with lines that did not ask for it."""
    reader, writer = os.pipe()
    async with linked() as it:
        socket.send_fds(it.root, [b"plain\n"], [writer])
        os.close(writer)
        await it.told()
    assert os.read(reader, 1) == b""
    os.close(reader)


async def test_an_end_is_told_once() -> None:
    """A root that goes is told once, and nothing can be said any more."""
    async with linked() as it:
        it.root.close()
        await it.told()
        it.link.send(b"late")
        it.link.close()

        assert it.ends == ["the other side has gone"]


async def test_nonsense_ends_the_link() -> None:
    """A line that is none of ours ends the link; those behind it are not handed over."""
    async with linked() as it:
        it.root.sendall(b"nonsense\nbehind\n")
        await it.told()

        assert it.ends == ["a line that is none of ours: it is none"]
        assert it.lines == []


async def test_what_the_root_does_not_read_waits() -> None:
    """Lines beyond what the socket takes are sent when the root reads again, in order."""
    async with linked() as it:
        for number in range(2000):
            it.link.send(b"%d " % number + bytes(500))
        it.root.setblocking(False)
        loop = asyncio.get_running_loop()
        data = b""
        async with asyncio.timeout(PATIENCE):
            while data.count(b"\n") < 2000:
                data += await loop.sock_recv(it.root, 1 << 20)
        assert [int(line.split()[0]) for line in data.splitlines()] == list(range(2000))
