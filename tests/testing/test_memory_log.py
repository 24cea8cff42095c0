"""Tests of logs in memory: they have the layout of real ones."""

from __future__ import annotations

import pytest

from hopx_async.protocol import records
from hopx_async.protocol.lifecycle import LifecycleError
from hopx_async.protocol.records import BLOCK, Record, RecordReader
from hopx_async.testing.memory_log import MemoryLog, MemoryLogs


@pytest.fixture
def logs() -> MemoryLogs:
    """Return logs with one running command, in small segments."""
    logs = MemoryLogs(segment_bytes=BLOCK)
    logs.create("cmd_1", {"command": "x"}, 1.0)
    logs.append_json("cmd_1", records.STARTED, 1.0, {"pid": 7})
    return logs


def whole(log: MemoryLog) -> list[Record]:
    """Return every record that is kept."""
    found = []
    for start in log.segments:
        reader = RecordReader(start)
        offset = start
        while (piece := log.read(offset, 10_000))[1] and piece[0] == offset:
            reader.feed(piece[1])
            offset += len(piece[1])
        while (record := reader.read()) is not None:
            found.append(record)
        if offset == log.end:
            break
    return found


@pytest.mark.parametrize("size", [1, 1000, BLOCK, 300_000])
def test_segments_begin_at_blocks_with_what_came_before(logs: MemoryLogs, size: int) -> None:
    """Each segment starts at a block, with a Base that counts the bytes before it."""
    for _ in range(5):
        logs.append_data("cmd_1", records.STDOUT, 2.0, b"x" * size)
    logs.append_json("cmd_1", records.EXITED, 3.0, {})
    log = logs["cmd_1"]
    counted = 0
    for record in whole(log):
        if record.kind == records.BASE:
            assert record.offset % BLOCK == 0
            assert record.base() == (record.offset, counted, 0)
        elif record.kind == records.STDOUT:
            assert record.stream_offset == counted
            counted += len(record.data)
    assert counted == 5 * size
    assert len(log.segments) == 1 + log.end // BLOCK if size > 1000 else 1
    assert logs.over("cmd_1")
    assert logs.last("cmd_1") == log.last


def test_retention_frees_whole_segments_but_the_head(logs: MemoryLogs) -> None:
    """Retain keeps the head, which holds the spec, and the segment that is written."""
    log = logs["cmd_1"]
    log.append_data(records.STDERR, 2.0, b"x" * 300_000)
    segments = log.segments
    log.retain(3 * BLOCK)
    assert log.segments == [0, *segments[-2:]]
    log.retain(0)

    assert log.segments == [0, segments[-1]]
    assert log.read(BLOCK, 10)[0] == segments[-1]
    assert log.read(log.end, 10) == (log.end, b"")


def test_logs_keep_what_retention_allows() -> None:
    """append_data frees what is too much."""
    logs = MemoryLogs(segment_bytes=BLOCK, retention_bytes=2 * BLOCK)
    logs.create("cmd_1", {}, 1.0)
    logs.append_json("cmd_1", records.STARTED, 1.0, {})
    logs.append_data("cmd_1", records.STDOUT, 2.0, b"x" * 500_000)

    assert len(logs["cmd_1"].segments) == 2


def test_the_head_holds_the_start_however_large_the_spec(logs: MemoryLogs) -> None:
    """No segment begins between a spec and its start."""
    logs.create("cmd_2", {"command": "x" * (3 * BLOCK)}, 1.0)
    logs.append_data("cmd_1", records.STDOUT, 1.0, b"x")
    logs.append_json("cmd_2", records.STARTED, 1.0, {})

    assert logs["cmd_2"].segments == [0]


def test_a_segment_can_begin_early(logs: MemoryLogs) -> None:
    """Roll pads to the next block and begins a segment there."""
    logs["cmd_1"].roll(2.0)

    assert logs["cmd_1"].segments == [0, BLOCK]


def test_what_cannot_follow_is_refused(logs: MemoryLogs) -> None:
    """A log in memory keeps the grammar."""
    with pytest.raises(LifecycleError):
        logs.append_json("cmd_1", records.SPEC, 2.0, {})


def test_an_unknown_command_has_nothing(logs: MemoryLogs) -> None:
    """A log that is not there, or was forgotten, has neither end nor bytes."""
    logs.forget("cmd_1")

    assert logs.end("cmd_1") is None
    assert not logs.over("cmd_1")
    assert logs.read("cmd_1", 0, 10) is None
    assert logs.last("cmd_1") is None
