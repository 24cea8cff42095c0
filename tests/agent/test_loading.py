"""Tests of hopx_async.agent.loading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from hopx_async.agent.board import Command, News
from hopx_async.agent.keeper_link import Snapshot
from hopx_async.agent.loading import load, read_log
from hopx_async.protocol import records
from tests.agent.keeper_double import PID, FakeLog, make_state, public

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return make_state(tmp_path / "state")


def make_log(
    state: Path, process_id: str = "one", *, ended: bool = True, **spec: object
) -> FakeLog:
    log = FakeLog(state / "logs", process_id, public(process_id, **spec))
    log.start()
    log.write(b"hello")
    if ended:
        log.finish(exit_code=3)
    return log


def index_of(state: Path, *logs: FakeLog) -> int:
    text = "".join(log.index_lines() for log in logs)
    (state / "index.1").write_text(text)
    return len(text)


def seen(command: Command) -> tuple[object, ...]:
    exit_code = None if command.exit is None else msgspec.json.decode(command.exit)["exit_code"]
    spec = msgspec.json.decode(command.spec)
    return command.process_id, spec, command.pid, command.end, command.segments, exit_code


def truth(log: FakeLog, exit_code: int | None = 3) -> tuple[object, ...]:
    return log.process_id, log.spec, PID, log.end, tuple(log.segments), exit_code


def news_of(log: FakeLog) -> News:
    spec = msgspec.Raw(msgspec.json.encode(log.spec))
    return News(log.process_id, spec, PID, 1.0, log.end, log.segments)


def load_with(state: Path, snapshot: list[News], index_bytes: int | None) -> list[Command]:
    return load(state, {1: Snapshot(snapshot, index_bytes)})[0]


def test_index_and_logs_tell_the_same(state: Path) -> None:
    """An ended command is the same read from the index, a torn index, or its log."""
    log = make_log(state)
    size = index_of(state, log)

    for index_bytes in (size, None, 0, size - 5):
        [command] = load_with(state, [], index_bytes)
        assert seen(command) == truth(log)
        assert command.last_size == len(log.last or b"")
        assert command.status == "failed"


def test_a_garbled_index_is_made_good_by_the_logs(state: Path) -> None:
    """What stands behind a bad line of the index is read from the logs."""
    first, second = make_log(state, "a"), make_log(state, "b")
    text = first.index_lines() + "{garbage\n" + second.index_lines()
    (state / "index.1").write_text(text)

    assert sorted(map(seen, load_with(state, [], len(text)))) == [truth(first), truth(second)]


def test_a_running_command_is_as_the_snapshot_tells(state: Path) -> None:
    """A live command comes from the snapshot, with the end told there."""
    log = make_log(state, ended=False)
    news = news_of(log)
    log.write(b"not told yet")
    [command] = load_with(state, [news], index_of(state, log))

    assert command.end == news.end
    assert command.exit is None


@pytest.mark.parametrize("broken", [False, True])
def test_an_end_during_the_snapshot_is_seen(state: Path, *, broken: bool) -> None:
    """A command in the snapshot that the index or the log shows as ended has ended."""
    log = make_log(state, ended=False)
    news = news_of(log)
    log.finish(exit_code=3)
    size = index_of(state, log)
    [command] = load_with(state, [news], None if broken else size)

    assert seen(command) == truth(log)


def test_a_log_without_end_is_left_to_the_keeper(state: Path) -> None:
    """A log that nobody tells of and that has no end is not taken for a command."""
    make_log(state, ended=False)

    assert load_with(state, [], 0) == []
    assert read_log(state / "logs", "one") is None


def test_an_indexed_command_without_its_log_is_gone(state: Path) -> None:
    """The index is a hint: without a log there is no command."""
    log = make_log(state)
    size = index_of(state, log)
    log._path(0).unlink()

    assert load_with(state, [], size) == []


def test_a_log_of_many_segments_is_read(state: Path) -> None:
    """The end is found in the last segment, though segments in between were freed."""
    log = make_log(state, ended=False)
    for _ in range(3):
        log.write(bytes(100_000))
        log.roll()
    log.write(bytes(70_000))
    log.free()
    log.finish(exit_code=3)
    [command] = load_with(state, [], None)

    assert seen(command) == truth(log)
    assert command.segments[1] > records.BLOCK


def test_an_end_that_fills_its_block_is_found(state: Path) -> None:
    """A terminal record may end exactly at a block's end."""
    size = len(make_log(state, "probe").last or b"")
    log = make_log(state, ended=False)
    header = records.HEADER.size + records.DATA_PREFIX.size
    log.write(bytes(records.BLOCK - log.end - header - size))
    log.finish(exit_code=3)
    assert log.end == records.BLOCK

    command = read_log(state / "logs", "one")
    assert command is not None
    assert seen(command) == truth(log)


@pytest.mark.parametrize("behind", [b"\0", b"junk", records.encode_base(1.0, 9, 0, 0)])
def test_nothing_stands_behind_the_end(state: Path, behind: bytes) -> None:
    """A log that goes on behind its terminal record is damaged."""
    log = make_log(state)
    log._append(behind)

    assert read_log(state / "logs", "one") is None


@pytest.mark.parametrize("room", range(200, 520, 8))
def test_the_end_is_found_wherever_it_stands_in_its_block(state: Path, room: int) -> None:
    """A terminal record that fills its block, or begins the next one, is found."""
    log = make_log(state, ended=False)
    header = records.HEADER.size + records.DATA_PREFIX.size
    log.write(bytes(records.BLOCK - log.end - header - room))
    assert log.end == records.BLOCK - room
    log.finish(exit_code=3)
    command = read_log(state / "logs", "one")

    assert command is not None
    assert seen(command) == truth(log)


def test_a_command_that_could_not_be_started_is_read(state: Path) -> None:
    """A log of a spec and an end has a command without pid."""
    log = FakeLog(state / "logs", "one", public())
    log.finish(exit_code=None, reason="spawn_failed", errno=2, filename="nope", started_at=None)
    [command] = load_with(state, [], None)

    assert (command.pid, command.status) == (None, "failed")


def test_a_spec_larger_than_a_block_is_read(state: Path) -> None:
    """A spec may straddle blocks; the records behind it are found."""
    log = make_log(state, command=["x" * 100_000, "y" * 60_000])
    [command] = load_with(state, [], None)

    assert seen(command) == truth(log)


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"junk"])
def test_a_damaged_log_is_no_command(state: Path, damage: bytes) -> None:
    """A file that is no log is passed over, and the others are read."""
    good = make_log(state, "good")
    (state / "logs" / records.segment_name("bad", 0)).write_bytes(damage)
    (state / "logs" / "stranger").write_bytes(b"?")

    assert list(map(seen, load_with(state, [], None))) == [truth(good)]


def test_a_log_without_its_head_is_no_command(state: Path) -> None:
    """Segments whose head is gone tell nothing."""
    log = make_log(state, ended=False)
    log.roll()
    log.finish()
    log._path(0).unlink()

    assert load_with(state, [], None) == []
    assert read_log(state / "logs", "never") is None
