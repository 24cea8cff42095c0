"""Tails: what is read back, and from how far."""

from __future__ import annotations

from hopx_async.keeper.tails import last_of
from hopx_async.protocol.records import STDERR, STDOUT


def test_the_last_bytes_are_cut_and_joined() -> None:
    """last_of cuts the first piece, and joins neighbours of one stream."""
    found = [(STDOUT, b"aaaa"), (STDERR, b"bb"), (STDERR, b"cc"), (STDOUT, b"d")]

    assert last_of(found, 6) == [("stdout", b"a"), ("stderr", b"bbcc"), ("stdout", b"d")]
    assert last_of(found, 0) == []
    assert last_of([], 10) == []
