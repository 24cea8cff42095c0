"""Output held in memory: whole up to a bound, or its two ends."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.protocol.collect import Collector, HeadTail, TooMuch, marker
from hopx_async.protocol.events import Event, Stderr, Stdout, Truncated


def out(data: bytes) -> Event:
    """Return an event of stdout."""
    return Stdout(process_id="x", cursor="c", at=0.0, data=data)


@given(st.lists(st.binary(max_size=50)), st.integers(min_value=2, max_value=200))
def test_head_and_tail_are_the_ends(pieces: list[bytes], bound: int) -> None:
    """What is held is the stream, or its ends around a marker that counts the rest."""
    held = HeadTail(bound)
    for piece in pieces:
        held.add(piece)
    whole, got = b"".join(pieces), held.bytes()
    if len(whole) <= bound:
        assert got == whole
        return
    match = re.search(rb"\n\[\.\.\. (\d+) bytes cut \.\.\.\]\n", got)
    assert match is not None
    head, tail = got[: match.start()], got[match.end() :]
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(head) + len(tail) + int(match[1]) == len(whole)
    assert bound - 8 <= len(head) + len(tail) <= bound


def test_no_character_is_cut() -> None:
    """Both ends are whole characters."""
    held = HeadTail(11)
    held.add("\u20ac".encode() * 100)
    assert "\ufffd" not in held.bytes().decode(errors="replace")


def test_a_long_stream_is_held_in_bounded_memory() -> None:
    """What lies between the ends is dropped as it comes."""
    held = HeadTail(100)
    for _ in range(10_000):
        held.add(b"x" * 1000)
    assert len(held._tail) < 200_000
    assert marker(10_000_000 - 100) in held.bytes()


def test_a_bound_is_kept_for_each_stream() -> None:
    """A stream may fill its bound, not more, whatever the other does; losses are counted."""
    collector = Collector(4)
    collector.add(out(b"1234"))
    collector.add(Stderr(process_id="x", cursor="c", at=0.0, data=b"abcd"))
    collector.add(Truncated(process_id="x", cursor="c", at=0.0, stdout_bytes=3, stderr_bytes=4))
    assert (collector.stdout, collector.stderr, collector.lost_bytes) == (b"1234", b"abcd", 7)
    with pytest.raises(TooMuch, match="stdout"):
        collector.add(out(b"5"))


def test_a_stream_may_be_cut() -> None:
    """With cut, a longer stream keeps its ends."""
    collector = Collector(4, cut=True)
    collector.add(out(b"0123456789"))
    assert collector.stdout == b"01" + marker(6) + b"89"
