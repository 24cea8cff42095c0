from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.keeper.log import DiskFullError, Log
from hopx_async.keeper.store import Store
from hopx_async.protocol import lifecycle, records
from hopx_async.protocol.records import BLOCK, EXITED, STARTED, STDERR, STDOUT
from tests.keeper.harness import make_state, output, read_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    stores: list[Store] = []

    def open_store(*numbers: int) -> Store:
        stores.append(Store(str(make_state(tmp_path)), *numbers))
        return stores[-1]

    yield open_store
    for store in stores:
        for fd in [*store._open.values(), store._dir, store._reserve]:
            os.close(fd)


def _begin(store: Store, process_id: str = "a", spec: bytes = b'{"x":1}') -> Log:
    log = Log(store, process_id)
    log.claim(spec)
    log.append(STARTED, b'{"pid":1}')
    return log


class _FullDisk:
    """``pwritev`` of a disk with room for so many bytes more."""

    def __init__(self, patch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._pwritev = os.pwritev
        patch.setattr(os, "pwritev", self.write)

    def write(self, fd: int, buffers: list[bytes], offset: int) -> int:
        data = b"".join(buffers)[: self.room]
        if not data:
            raise OSError(errno.ENOSPC, "full")
        self.room -= len(data)
        return self._pwritev(fd, [data], offset)


def test_records_follow_the_grammar(open_store: Callable[..., Store], tmp_path: Path) -> None:
    """A log is Base, Spec, Started, data, Exited, with each stream's offsets."""
    log = _begin(open_store())
    log.append_data(STDOUT, memoryview(b"one"))
    log.append_data(STDERR, memoryview(b"two"))
    log.append_data(STDOUT, memoryview(b"three"))
    log.append(EXITED, b"{}")
    found = read_log(tmp_path, "a")

    kinds = [records.BASE, records.SPEC, STARTED, STDOUT, STDERR, STDOUT, EXITED]
    assert [record.kind for record in found] == kinds
    assert found[0].base() == (0, 0, 0)
    assert [record.stream_offset for record in found[3:6]] == [0, 0, 3]
    assert found[-1].end == log.end


def test_claim_is_exclusive(open_store: Callable[..., Store]) -> None:
    """An id is claimed once, by its file."""
    store = open_store()
    _begin(store)
    with pytest.raises(FileExistsError):
        Log(store, "a").claim(b"{}")


def test_nothing_follows_the_end(open_store: Callable[..., Store]) -> None:
    """A record that cannot follow raises and leaves the log as it is."""
    log = _begin(open_store())
    log.append(EXITED, b"{}")
    end = log.end
    with pytest.raises(lifecycle.LifecycleError):
        log.append(EXITED, b"{}")
    with pytest.raises(lifecycle.LifecycleError):
        log.append_data(STDOUT, memoryview(b"x"))

    assert log.end == end


@pytest.mark.parametrize("more", [-200, -100, 0, BLOCK + 1])
def test_started_stands_in_the_head_behind_a_spec_of_any_length(
    open_store: Callable[..., Store], tmp_path: Path, more: int
) -> None:
    """What retention frees never has Started in it, so that the rest is a log by the grammar."""
    log = _begin(open_store(4 * BLOCK, 16 * BLOCK), spec=bytes(records.HEAD_BYTES + more))
    for _ in range(40):
        log.append_data(STDOUT, memoryview(bytes(BLOCK)))

    assert log.readable_from == log.segments[1]
    kinds = [record.kind for record in read_log(tmp_path, "a")]
    assert kinds[:3] == [records.BASE, records.SPEC, STARTED]


@pytest.mark.parametrize("seed", range(5))
def test_no_record_straddles_a_block(
    open_store: Callable[..., Store], tmp_path: Path, seed: int
) -> None:
    """Whatever the sizes, no record but the spec straddles a block, and all bytes are there."""
    chance = random.Random(seed)  # noqa: S311  # repeatable is what matters
    log = _begin(open_store(4 * BLOCK), spec=b'"' + b"s" * chance.choice([9, 3 * BLOCK]) + b'"')
    sent: dict[int, bytes] = {STDOUT: b"", STDERR: b""}
    for _ in range(60):
        kind = chance.choice([STDOUT, STDERR])
        size = chance.choice([1, 7, 100, BLOCK - 24, BLOCK, 200_000])
        data = chance.randbytes(size)
        sent[kind] += data
        log.append_data(kind, memoryview(data))
    log.append(EXITED, b"{}")

    for record in read_log(tmp_path, "a"):
        if record.kind != records.SPEC:
            assert record.offset // BLOCK == (record.end - 1) // BLOCK
    assert output(tmp_path, "a") == (sent[STDOUT], sent[STDERR])
    for start in log.segments:
        data = (tmp_path / "logs" / records.segment_name("a", start)).read_bytes()
        assert data[0] == records.BASE


def test_retention_frees_whole_segments(open_store: Callable[..., Store], tmp_path: Path) -> None:
    """The oldest segments go, the head stays, offsets do not move, and Base says what is gone."""
    store = open_store(BLOCK, 8 * BLOCK)
    log = _begin(store)
    sent = b""
    paths: list[Path] = []
    for number in range(400):
        data = b"%04d" % number * 1000
        sent += data
        log.append_data(STDOUT, memoryview(data))
        paths = sorted((tmp_path / "logs").iterdir())
        assert sum(path.stat().st_size for path in paths) <= 9 * BLOCK
    log.append(EXITED, b"{}")

    assert log.segments[0] == 0
    assert log.segments[1] > BLOCK
    assert [path.name for path in paths] == [
        records.segment_name("a", start) for start in log.segments
    ]
    found = read_log(tmp_path, "a")
    first = next(record for record in found if record.offset == log.segments[1])
    kept = b"".join(
        record.data for record in found if record.offset > first.offset and record.kind == STDOUT
    )
    assert first.base()[1:] == (len(sent) - len(kept), 0)
    assert sent.endswith(kept)


def test_short_write_is_repeated_whole(
    open_store: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a full disk cut is not announced, and is written whole from the record's start."""
    store = open_store()
    log = _begin(store)
    before = log.end
    disk = _FullDisk(monkeypatch, 100)
    log.append_data(STDOUT, memoryview(b"x" * 5000))
    log.append_data(STDERR, memoryview(b"later"))
    assert log.stuck
    assert log.end == before
    assert not log.retry()
    disk.room = 10**9
    assert log.retry()
    assert not log.stuck
    log.append(EXITED, b"{}")

    assert store.waiting == set()
    assert output(tmp_path, "a") == (b"x" * 5000, b"later")


@pytest.mark.parametrize("room", range(0, 200_000, 9973))
def test_any_amount_of_room_will_do(
    open_store: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Wherever a disk fills up, across segments too, nothing is lost or written twice."""
    store = open_store(BLOCK, 100 * BLOCK)
    log = _begin(store)
    disk = _FullDisk(monkeypatch, room)
    sent = random.Random(room).randbytes(200_000)  # noqa: S311  # as above
    log.append_data(STDOUT, memoryview(sent))
    freed = 0
    while log.stuck:
        # What was written over counts again here, hence each attempt finds more room.
        freed += 20_000
        disk.room = freed
        store.refill()
    disk.room = 10**9
    log.append(EXITED, b"{}")

    assert output(tmp_path, "a")[0] == sent
    assert read_log(tmp_path, "a")[-1].kind == EXITED


def test_end_uses_the_reserve(
    open_store: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end is written into the reserve's room when there is no other."""
    store = open_store()
    log = _begin(store)
    disk = _FullDisk(monkeypatch, 0)
    release = store.release

    def released() -> bool:
        disk.room = 1000
        return release()

    monkeypatch.setattr(store, "release", released)
    log.append(EXITED, b"{}")

    assert not log.stuck
    assert read_log(tmp_path, "a")[-1].kind == EXITED


def test_claim_without_room_leaves_nothing(
    open_store: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that finds the disk full raises, and the id is free again."""
    store = open_store()

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DiskFullError):
            Log(store, "a").claim(b"{}")
    assert list((tmp_path / "logs").iterdir()) == []
    _begin(store)


def test_give_up_keeps_the_end(
    open_store: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """give_up drops output that waits, says how much, and the end can still be written."""
    store = open_store()
    log = _begin(store)
    disk = _FullDisk(monkeypatch, 10)
    log.append_data(STDOUT, memoryview(b"x" * 5000))
    assert log.give_up() == 5000
    disk.room = 1000
    log.append(EXITED, b"{}")

    assert [record.kind for record in read_log(tmp_path, "a")][-2:] == [STARTED, EXITED]


def test_what_may_be_missing_waits_for_nothing(
    open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An offered record is dropped on a full disk, takes no reserve, and leaves no trace."""
    store = open_store()
    log = _begin(store)
    disk = _FullDisk(monkeypatch, 10)

    assert not log.offer(records.USAGE, b"{}")
    assert not log.stuck
    assert store._reserved
    disk.room = 1000
    assert log.offer(records.USAGE, b"{}")
    log.append(EXITED, b"{}")
    assert not log.stuck
    with pytest.raises(lifecycle.LifecycleError):
        log.offer(records.USAGE, b"{}")
    kinds = [records.KIND_NAMES[record.kind] for record in read_log(tmp_path, "a")]
    assert kinds == ["Base", "Spec", "Started", "Usage", "Exited"]
