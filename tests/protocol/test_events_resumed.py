"""Events read from positions whose counts are ahead of their offset, or not known."""

from __future__ import annotations

import pytest

from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol import records
from hopx_async.protocol.cursor import UNKNOWN, Position, parse_cursor
from hopx_async.protocol.events import EventReader, Stdout, Truncated
from tests.protocol.test_events import Log, drain


def test_counts_ahead_of_the_offset_fall_away() -> None:
    """A reader that goes on behind a line skips what was read of the records before it."""
    log = Log()
    before = log.end
    log.out(b"one\ntw")
    log.err(b"x\n")
    log.out(b"o\n")
    reader = EventReader("cmd_1", Position(before, 4, 2))
    log.send(reader)

    assert [(event.type, getattr(event, "data", b"")) for event in drain(reader)] == [
        ("stdout", b"tw"),
        ("stdout", b"o\n"),
    ]
    assert reader.position == Position(log.end, 8, 2)


def test_counts_ahead_of_a_base_stay() -> None:
    """A gap takes nothing from a stream that was read further than the Base counts."""
    reader = EventReader("cmd_1", Position(100, 9, 3))
    reader.feed(records.BLOCK, records.encode_base(1.0, records.BLOCK, 5, 4))

    (cut,) = drain(reader)
    assert isinstance(cut, Truncated)
    assert (cut.stdout_bytes, cut.stderr_bytes) == (0, 1)
    assert reader.position[1:] == (9, 4)


def test_a_repeated_byte_is_refused_once_caught_up() -> None:
    """A stream whose count has been met may not go back."""
    log = Log()
    log.out(b"abc")
    reader = EventReader("cmd_1")
    log.send(reader)
    drain(reader)
    pieces, _ = records.place_data(reader.fed, records.STDOUT, 1.0, 1, b"bc")
    reader.feed(reader.fed, b"".join(pieces))

    with pytest.raises(RemoteProtocolError, match="expected 3"):
        drain(reader)


def test_unknown_counts_are_learned() -> None:
    """A reader that joined at the end takes a stream's count from its first record, or a Base."""
    log = Log()
    log.out(b"abc")
    end = log.end
    log.out(b"de")
    reader = EventReader("cmd_1", Position(end, UNKNOWN, UNKNOWN))
    log.send(reader)

    (event,) = drain(reader)
    assert isinstance(event, Stdout)
    assert event.data == b"de"
    assert reader.position == Position(log.end, 5, UNKNOWN)
    assert parse_cursor("cmd_1", event.cursor) == reader.position
    log.roll(1.0)
    log.send(reader)
    assert drain(reader) == []
    assert reader.position[1:] == (5, 0)
