"""Tests of events, and of reading them from a log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hopx_async.errors import RemoteProtocolError
from hopx_async.model import Exit
from hopx_async.protocol import lifecycle, records
from hopx_async.protocol.cursor import Position, parse_cursor, print_cursor
from hopx_async.protocol.events import (
    Event,
    EventReader,
    Exited,
    Lost,
    Started,
    Stderr,
    Stdout,
    Truncated,
    exit_event,
)
from hopx_async.testing.memory_log import MemoryLog

END = {"reason": "exited", "exit_code": 0}


class Log(MemoryLog):
    """A log in memory, easy to write."""

    def __init__(self, *, started: bool = True) -> None:
        super().__init__(segment_bytes=records.BLOCK)
        self.json(records.SPEC, {})
        if started:
            self.json(records.STARTED, {"pid": 7})

    def json(self, kind: int, value: dict[str, Any]) -> None:
        """Append a record of JSON."""
        self.append(records.encode_json(kind, 5.0, value), 5.0)

    def out(self, data: bytes) -> None:
        """Append to stdout."""
        self.append_data(records.STDOUT, 6.0, data)

    def err(self, data: bytes) -> None:
        """Append to stderr."""
        self.append_data(records.STDERR, 6.0, data)

    def send(self, reader: EventReader) -> None:
        """Feed a reader with everything that it lacks."""
        while (piece := self.read(reader.fed, 50_000))[1]:
            reader.feed(*piece)


def drain(reader: EventReader) -> list[Event]:
    """Return all events that can be read."""
    events = []
    while (event := reader.read()) is not None:
        events.append(event)
    return events


def header(kind: int, payload: bytes) -> bytes:
    """Return the bytes of a log that begins with Spec, Started and one more record."""
    head = records.encode_json(records.SPEC, 1.0, {})
    head += records.encode_json(records.STARTED, 1.0, {"pid": 7})
    return head + records.encode(kind, 1.0, payload)


def test_a_log_becomes_events_in_order() -> None:
    """EventReader yields Started, output with its cursor, and the end."""
    log = Log()
    log.out(b"one")
    log.err(b"two")
    log.json(records.EXITED, END)
    reader = EventReader("cmd_1")
    log.send(reader)
    started, out, err, exited = drain(reader)

    assert isinstance(started, Started)
    assert (started.pid, started.at, started.process_id) == (7, 5.0, "cmd_1")
    assert isinstance(out, Stdout)
    assert out.data == b"one"
    assert isinstance(err, Stderr)
    assert err.data == b"two"
    assert isinstance(exited, Exited)
    assert exited.exit == Exit(reason="exited", exit_code=0)
    assert parse_cursor("cmd_1", err.cursor)[1:] == (3, 3)
    assert parse_cursor("cmd_1", exited.cursor) == (log.end, 3, 3)
    assert reader.ended
    assert reader.at == 5.0
    assert reader.position == (log.end, 3, 3)


@pytest.mark.parametrize(("kind", "cls"), [(records.EXITED, Exited), (records.LOST, Lost)])
def test_a_command_may_end_without_a_start(kind: int, cls: type[Event]) -> None:
    """A spawn that failed, or a loss, ends a log that has only its spec."""
    log = Log(started=False)
    log.json(kind, {"reason": "spawn_failed" if kind == records.EXITED else "lost"})
    reader = EventReader("cmd_1")
    log.send(reader)

    assert [type(event) for event in drain(reader)] == [cls]


def test_nothing_is_read_behind_the_end() -> None:
    """Bytes behind the terminal record are left alone."""
    log = Log()
    log.json(records.EXITED, END)
    reader = EventReader("cmd_1")
    log.send(reader)
    reader.feed(reader.fed, b"\0garbage")
    drain(reader)

    assert reader.read() is None
    assert reader.pending == 8
    reader.drop()
    assert reader.pending == 0


def test_duplicates_fall_away() -> None:
    """Feed takes only what it had not."""
    log = Log()
    log.out(b"x" * 1000)
    reader = EventReader("cmd_1")
    offset, data = log.read(0, 100)

    assert reader.feed(offset, data) == 100
    assert reader.feed(offset, data) == 0
    assert reader.feed(*log.read(50, 100)) == 50
    log.send(reader)
    assert len(drain(reader)) == 2


def test_a_reader_goes_on_at_a_cursor() -> None:
    """EventReader begins behind the event whose cursor it was given."""
    log = Log()
    log.out(b"one")
    first = EventReader("cmd_1")
    log.send(first)
    event = drain(first)[-1]
    log.out(b"two")
    second = EventReader("cmd_1", parse_cursor("cmd_1", event.cursor))
    log.send(second)

    (rest,) = drain(second)
    assert isinstance(rest, Stdout)
    assert rest.data == b"two"


@pytest.mark.parametrize("early", [0, 200, 30_000, 65_500])
def test_what_retention_cut_is_counted_exactly(early: int) -> None:
    """Truncated tells the bytes of both streams that are gone, a half record among them."""
    log = Log()
    log.out(b"a" * 100_000)
    log.err(b"b" * 100_000)
    log.out(b"c" * 100_000)
    reader = EventReader("cmd_1")
    reader.feed(*log.read(0, early))
    before = drain(reader)
    log.retain(0)
    log.send(reader)
    after = drain(reader)

    truncated = [event for event in before + after if isinstance(event, Truncated)]
    out = sum(len(event.data) for event in before + after if isinstance(event, Stdout))
    err = sum(len(event.data) for event in before + after if isinstance(event, Stderr))
    assert out + sum(event.stdout_bytes for event in truncated) == 200_000
    assert err + sum(event.stderr_bytes for event in truncated) == 100_000
    assert truncated
    assert reader.position[1:] == (200_000, 100_000)


def test_a_cut_that_took_no_output_is_silent() -> None:
    """No Truncated comes for records that carried no output."""
    log = Log()
    log.roll(6.0)
    log.json(records.USAGE, {})
    log.roll(6.0)
    log.out(b"x")
    reader = EventReader("cmd_1")
    reader.feed(*log.read(0, 100))
    log.retain(0)
    log.send(reader)

    assert [type(event) for event in drain(reader)] == [Started, Stdout]


def test_what_came_behind_a_gap_waits_for_what_came_before() -> None:
    """Bytes of several pieces behind a gap are kept, counted, and read in order."""
    log = Log()
    log.out(b"a" * 400_000)
    log.retain(250_000)
    reader = EventReader("cmd_1")
    log.send(reader)

    assert reader.fed == log.end
    assert reader.missing == 0
    assert reader.pending > 0
    assert reader.feed(*log.read(0, 100)) == 0
    drain(reader)
    assert reader.position.stdout_bytes == 400_000


def test_rewind_drops_what_was_not_read() -> None:
    """After rewind a reader wants the bytes behind its last event again."""
    log = Log()
    log.out(b"a" * 200_000)
    reader = EventReader("cmd_1")
    reader.feed(*log.read(0, 100))
    drain(reader)
    position = reader.position
    log.retain(0)
    log.send(reader)
    reader.rewind()

    assert (reader.pending, reader.fed, reader.position) == (0, position.offset, position)
    log.send(reader)
    assert [type(event) for event in drain(reader)] == [Stdout, Truncated, Stdout]


@pytest.mark.parametrize(
    ("log", "problem"),
    [
        (b"\0", "kind 0"),
        (records.encode(records.STDOUT, 1.0, b"\0" * 9), "Stdout cannot follow in state 'empty'"),
        (header(records.STARTED, b"{}"), "Started cannot follow in state 'running'"),
        (header(records.STDOUT, b"\1" + b"\0" * 8), "is byte 1 of its stream, expected 0"),
        (header(records.STDERR, b"\1" + b"\0" * 8), "is byte 1 of its stream, expected 0"),
        (header(records.EXITED, b"[]"), "no JSON object"),
        (header(records.EXITED, b"{}"), "unknown end reason None"),
        (header(records.EXITED, b'{"reason": "exited"}'), "an exit without a code"),
        (header(records.EXITED, b'{"reason": "lost", "usage": 5}'), "no exit of cmd_1"),
        (header(records.USAGE, b'{"cpu_seconds":1' + b"0" * 4000 + b"}"), "no usage"),
        (header(records.USAGE, b'{"cpu_seconds":1,"rss_bytes":1e999}'), "no usage"),
        (header(records.EXITED, b'{"reason":' + b"9" * 5000 + b"}"), "no JSON"),
        (header(records.BASE, b"x"), "a Base of 1 bytes"),
        (header(records.EXITED, b"{"), "no JSON in"),
    ],
)
def test_a_log_that_breaks_its_grammar_is_refused(log: bytes, problem: str) -> None:
    """EventReader raises RemoteProtocolError for what cannot be in a log."""
    reader = EventReader("cmd_1")
    reader.feed(0, log)

    with pytest.raises(RemoteProtocolError, match=problem):
        drain(reader)


@pytest.mark.parametrize("counts", [(1, 0), (0, 1)])
def test_a_base_that_counts_otherwise_is_refused(counts: tuple[int, int]) -> None:
    """Output that is missing without a gap is an error, not a truncation."""
    figures = b'{"cpu_seconds":1,"rss_bytes":1,"read_bytes":1,"write_bytes":1}'
    head = header(records.USAGE, figures)
    reader = EventReader("cmd_1")
    reader.feed(0, head + records.encode_base(1.0, len(head), *counts))

    with pytest.raises(RemoteProtocolError, match="counts"):
        drain(reader)


@pytest.mark.parametrize("counts", [(1, 5), (5, 1)])
def test_a_base_that_counts_less_is_refused(counts: tuple[int, int]) -> None:
    """A Base behind a gap cannot count less than was read."""
    log = Log()
    log.out(b"abc")
    log.err(b"def")
    reader = EventReader("cmd_1")
    log.send(reader)
    drain(reader)
    reader.feed(records.BLOCK, records.encode_base(1.0, records.BLOCK, *counts))

    with pytest.raises(RemoteProtocolError, match="counts"):
        drain(reader)


def test_a_gap_without_a_base_is_refused() -> None:
    """The first record behind a gap must say what is missing."""
    reader = EventReader("cmd_1", Position(100, 0, 0))
    reader.feed(records.BLOCK, records.encode(records.USAGE, 1.0, b"{}"))

    with pytest.raises(RemoteProtocolError, match=r"a gap before .* without a Base"):
        drain(reader)


def test_a_start_without_a_pid_is_refused() -> None:
    """Started carries a number."""
    reader = EventReader("cmd_1")
    spec = records.encode_json(records.SPEC, 1.0, {})
    reader.feed(0, spec + records.encode_json(records.STARTED, 1.0, {"pid": "7"}))

    with pytest.raises(RemoteProtocolError, match="no pid"):
        drain(reader)


def test_missing_and_state_tell_what_is_expected() -> None:
    """Missing is what the record at the head lacks; the state is the table's."""
    reader = EventReader("cmd_1")
    reader.feed(0, records.encode_json(records.SPEC, 1.0, {"a": "x" * 100})[:40])

    assert reader.read() is None
    assert reader.missing > 50
    assert reader.state == lifecycle.EMPTY
    assert EventReader("cmd_1", Position(9, 0, 0)).state == lifecycle.RUNNING


@pytest.mark.parametrize(
    ("event", "extra"),
    [
        (Started(process_id="c", cursor="x", at=1.0, pid=3), {"type": "started", "pid": 3}),
        (Stdout(process_id="c", cursor="x", at=1.0, data=b"a"), {"type": "stdout", "data": "a"}),
        (
            Stderr(process_id="c", cursor="x", at=1.0, data=b"\xff"),
            {"type": "stderr", "data_base64": "/w=="},
        ),
        (
            Truncated(process_id="c", cursor="x", at=1.0, stdout_bytes=1, stderr_bytes=2),
            {"type": "truncated", "stdout_bytes": 1, "stderr_bytes": 2},
        ),
    ],
)
def test_an_event_becomes_json(event: Event, extra: dict[str, Any]) -> None:
    """to_dict holds the type and the fields, output as text where it is one."""
    assert event.to_dict() == {"process_id": "c", "cursor": "x", "at": 1.0, **extra}


def test_an_end_becomes_json() -> None:
    """to_dict of an end holds the exit, which JSON can hold."""
    fate = Exit(reason="exited", exit_code=0, tail=b"\xff")
    value = Exited(process_id="c", cursor="x", at=1.0, exit=fate).to_dict()

    assert json.loads(json.dumps(value))["exit"]["ok"] is True


def test_exit_event_carries_its_position() -> None:
    """exit_event makes the event of a terminal record at a place."""
    data = records.encode_json(records.LOST, 4.0, {"reason": "lost"})
    record = records.Record(records.LOST, 4.0, 0, data, 0, len(data))
    event = exit_event("cmd_1", record, Position(9, 1, 2))

    assert isinstance(event, Lost)
    assert event.cursor == print_cursor("cmd_1", Position(9, 1, 2))
