"""Tests of hopx_async.agent.logs."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent import logs as module
from hopx_async.agent.board import Board, Command
from hopx_async.agent.logs import MAX_OPEN, Logs
from hopx_async.errors import AgentFault
from tests.agent.keeper_double import PATIENCE, FakeLog, make_state, public
from tests.support.leaks import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Shelf:
    """Logs on a disk, the board that tells of them, and who was told of fetches."""

    def __init__(self, state: Path) -> None:
        self.directory = state / "logs"
        self.board = Board()
        self.fetched: list[str] = []
        self.arrived = asyncio.Event()
        self.logs = Logs(self.directory, self.board, self.ring)

    def ring(self, process_id: str) -> None:
        self.fetched.append(process_id)
        self.arrived.set()

    async def rung(self) -> None:
        """Wait until a fetch has been told of."""
        async with asyncio.timeout(PATIENCE):
            await self.arrived.wait()
        self.arrived.clear()

    def add(self, process_id: str = "one") -> FakeLog:
        log = FakeLog(self.directory, process_id, public(process_id))
        log.start()
        self.board.put(Command(process_id))
        self.tell(log)
        return log

    def tell(self, log: FakeLog) -> None:
        command = self.board.require(log.process_id)
        command.end = log.end
        command.keep_segments(log.segments)
        if log.last is not None:
            command.end_with(b'{"reason":"exited","exit_code":0}', len(log.last))

    def read_all(self, process_id: str = "one", limit: int = 10_000) -> list[tuple[int, bytes]]:
        offset, pieces = 0, []
        while (piece := self.logs.read(process_id, offset, limit)) is not None:
            pieces.append(piece)
            offset = piece[0] + len(piece[1])
        return pieces


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(make_state(tmp_path / "state"))
    yield shelf
    shelf.logs.close()


def contents(log: FakeLog) -> bytes:
    return b"".join(log._path(start).read_bytes() for start in log.segments)


def test_a_log_is_read_across_its_segments(shelf: Shelf) -> None:
    """Pieces join without gap or overlap to what the segments hold, none above the limit."""
    log = shelf.add()
    for _ in range(3):
        log.write(os.urandom(90_000))
        log.roll()
    log.write(b"end")
    shelf.tell(log)
    pieces = shelf.read_all()

    assert b"".join(data for _, data in pieces) == contents(log)
    assert max(len(data) for _, data in pieces) <= 10_000


def test_nothing_is_read_behind_what_was_told(shelf: Shelf) -> None:
    """Bytes in the file behind the told end stay unread until they are told."""
    log = shelf.add()
    told = log.end
    log.write(b"half of a rec")

    assert shelf.logs.read("one", 0, 1 << 18) == (0, contents(log)[:told])
    assert shelf.logs.read("one", told, 100) is None
    shelf.tell(log)
    piece = shelf.logs.read("one", told, 100)
    assert piece is not None
    assert piece[1].endswith(b"half of a rec")


@pytest.mark.parametrize("told", [True, False])
def test_reading_goes_on_behind_freed_segments(shelf: Shelf, *, told: bool) -> None:
    """Behind the head comes the next segment that is kept, told of or not, at its own offset."""
    log = shelf.add()
    for _ in range(3):
        log.roll()
        log.write(bytes(100_000))
    starts = log.segments
    shelf.tell(log)
    log.free(told=told)
    shelf.tell(log)
    pieces = shelf.read_all()

    offsets = [offset for offset, _ in pieces]
    gaps = [b for (a, data), b in zip(pieces, offsets[1:], strict=False) if a + len(data) != b]
    assert gaps == [starts[2]]
    assert shelf.board.require("one").segments == (0, *starts[2:])
    assert shelf.logs.read("one", starts[1] + 50, 10)[0] == starts[2]  # type: ignore[index]


def test_unknown_and_vanished_logs_give_nothing(shelf: Shelf) -> None:
    """An unknown command has no end, and a log whose files are gone has no bytes."""
    assert shelf.logs.end("nobody") is None
    assert not shelf.logs.over("nobody")
    assert shelf.logs.read("nobody", 0, 10) is None
    assert shelf.logs.last("nobody") is None

    log = shelf.add()
    log.finish()
    shelf.tell(log)
    log._path(0).unlink()
    assert shelf.logs.read("one", 0, 10) is None
    assert shelf.logs.read("one", 0, 10) is None
    assert shelf.logs.last("one") is None


def test_the_last_record_is_read(shelf: Shelf) -> None:
    """last returns the terminal record and where it stands, None while there is none."""
    log = shelf.add()
    assert shelf.logs.last("one") is None
    log.finish()
    shelf.tell(log)

    assert log.last is not None
    assert shelf.logs.last("one") == (log.end - len(log.last), log.last)
    assert shelf.logs.over("one")


def test_few_descriptors_serve_many_logs(shelf: Shelf) -> None:
    """However many logs are read, at most MAX_OPEN descriptors are held, and none after close."""
    before = len(open_descriptors())
    for n in range(MAX_OPEN + 20):
        shelf.add(f"c{n}")
        assert shelf.read_all(f"c{n}")

    assert shelf.logs.open_files == MAX_OPEN
    assert shelf.read_all("c0")
    assert len(open_descriptors()) == before + MAX_OPEN
    shelf.logs.close()
    assert len(open_descriptors()) == before - 1  # the directory's, too


def test_the_descriptor_unused_for_longest_is_closed(shelf: Shelf) -> None:
    """A log that is read again and again keeps its descriptor while others come and go."""
    shelf.add("kept")
    shelf.read_all("kept")
    others = [shelf.add(f"c{n}").process_id for n in range(MAX_OPEN - 1)]
    for name in (*others, "kept"):
        shelf.read_all(name)
    shelf.add("new")
    shelf.read_all("new")

    assert ("kept", 0) in shelf.logs._open
    assert ("c0", 0) not in shelf.logs._open


def test_descriptors_of_freed_segments_are_closed(shelf: Shelf) -> None:
    """A segment that retention has unlinked is held open no longer than its news take."""
    log = shelf.add()
    for _ in range(2):
        log.roll()
    shelf.tell(log)
    shelf.read_all()
    assert shelf.logs.open_files == 3
    log.free()
    shelf.tell(log)
    shelf.logs.forget_freed("one")

    assert shelf.logs.open_files == 2


class Cold:
    """Stands for a disk whose pages are not in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        self.calls = 0
        self.code = code
        monkeypatch.setattr(os, "preadv", self)

    def __call__(self, *args: Any) -> int:
        self.calls += 1
        raise OSError(self.code, os.strerror(self.code))


async def test_cold_pages_are_fetched_by_a_thread(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes not in memory are None first, then told of and there, though they stay cold."""
    log = shelf.add()
    Cold(monkeypatch, errno.EAGAIN)
    whole = b""
    while len(whole) < log.end:
        assert shelf.logs.read("one", len(whole), 100) is None
        assert shelf.logs.read("one", len(whole), 100) is None
        await shelf.rung()
        piece = shelf.logs.read("one", len(whole), 100)
        assert piece is not None
        whole += piece[1]

    assert whole == contents(log)
    assert shelf.logs.fetches == len(shelf.fetched) == -(-log.end // 100)


async def test_a_cold_last_record_comes_whole(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal record of which only a part is in memory is fetched whole."""
    log = shelf.add()
    log.finish()
    shelf.tell(log)
    true_preadv = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda fd, views, *rest: true_preadv(fd, [views[0][:5]], *rest)
    )
    assert shelf.logs.last("one") is None
    await shelf.rung()

    assert log.last is not None
    assert shelf.logs.last("one") == (log.end - len(log.last), log.last)


def test_a_file_system_that_cannot_tell_is_read_plainly(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where reading without waiting is not supported, it is tried once and never again."""
    log = shelf.add()
    cold = Cold(monkeypatch, errno.EOPNOTSUPP)

    assert b"".join(data for _, data in shelf.read_all(limit=50)) == contents(log)
    assert cold.calls == 1


async def test_fetched_pieces_are_bounded(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that nobody takes fall off, the oldest first."""
    monkeypatch.setattr(module, "_MAX_FETCHED", 2)
    Cold(monkeypatch, errno.EAGAIN)
    for n in range(4):
        shelf.add(f"c{n}")
        assert shelf.logs.read(f"c{n}", 0, 10) is None
        await shelf.rung()

    assert len(shelf.logs._fetched) == 2
    assert shelf.logs.read("c3", 0, 10) is not None
    assert shelf.logs.read("c0", 0, 10) is None
    await shelf.rung()


async def test_closing_while_a_thread_reads_leaves_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch under way at close rings nobody and keeps no descriptor."""
    shelf.add()
    Cold(monkeypatch, errno.EAGAIN)
    before = len(open_descriptors())
    assert shelf.logs.read("one", 0, 10) is None
    shelf.logs.close()
    shelf.logs._threads.shutdown(wait=True)
    async with asyncio.timeout(PATIENCE):
        while shelf.logs._fetching:
            await asyncio.sleep(0)

    assert shelf.fetched == []
    assert len(open_descriptors()) == before - 1  # the directory's, too


def _broken(*_: Any) -> bytes:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_disk_that_fails_at_once_is_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and last raise what the disk says, each time."""
    log = shelf.add()
    log.finish()
    shelf.tell(log)
    Cold(monkeypatch, errno.EIO)
    for _ in range(2):
        with pytest.raises(AgentFault, match=r"log of one cannot be read: .*Input/output"):
            shelf.logs.read("one", 0, 100)
        with pytest.raises(AgentFault, match="Input/output"):
            shelf.logs.last("one")


async def test_a_disk_that_fails_in_a_thread_is_told(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch that fails rings as well, and the next read raises, once."""
    shelf.add()
    Cold(monkeypatch, errno.EAGAIN)
    monkeypatch.setattr(os, "pread", _broken)
    assert shelf.logs.read("one", 0, 100) is None
    await shelf.rung()
    assert shelf.fetched == ["one"]
    with pytest.raises(AgentFault, match="Input/output"):
        shelf.logs.read("one", 0, 100)
    assert shelf.logs.read("one", 0, 100) is None
    await shelf.rung()


async def test_what_is_not_there_any_more_is_told(shelf: Shelf) -> None:
    """A log that is shorter than it should be is damaged, for readers and for who waits."""
    log = shelf.add()
    log.finish()
    shelf.tell(log)
    path = log._path(0)
    os.truncate(path, log.end - 3)
    piece = shelf.logs.read("one", 0, 1_000_000)
    assert piece is not None
    with pytest.raises(AgentFault, match="the log of one is damaged"):
        shelf.logs.read("one", len(piece[1]), 100)
    assert shelf.logs.last("one") is None
    await shelf.rung()
    with pytest.raises(AgentFault, match="the log of one is damaged"):
        shelf.logs.last("one")
