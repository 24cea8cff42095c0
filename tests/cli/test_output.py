"""Lines, prefixes, and nothing that a terminal obeys."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.cli.output import MAX_LINE, LineCutter, Writer, visible


@given(st.text(alphabet="aü€😀\r\n"), st.lists(st.integers(0, 400)))
def test_lines_are_whole_however_the_bytes_are_cut(text: str, cuts: list[int]) -> None:
    """Lines do not depend on where chunks end, in the middle of a character or not."""
    data = text.encode()
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    lines: list[bytes] = []
    cutter = LineCutter(lines.append)
    for first, stop in pairwise(places):
        cutter.feed(data[first:stop])
    cutter.close()

    expected = data.split(b"\n")
    assert lines == (expected if expected[-1] else expected[:-1])


@pytest.mark.parametrize("step", [1000, 10 * MAX_LINE])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_long_line_comes_in_pieces(before: int, step: int) -> None:
    """A line beyond the bound is handed on in pieces of whole characters, held never longer."""
    data = b"a" * before + "😀".encode() * (MAX_LINE // 2) + b"\nend"
    pieces: list[bytes] = []
    cutter = LineCutter(pieces.append)
    for place in range(0, len(data), step):
        cutter.feed(data[place : place + step])
    cutter.close()

    assert pieces.pop() == b"end"
    assert b"".join(pieces) == data.removesuffix(b"\nend")
    assert max(map(len, pieces)) <= MAX_LINE
    assert [piece.decode() for piece in pieces]


class Terminal(io.TextIOWrapper):
    """A text file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
        ("\x1b[8mhidden", "\x1b[8mhidden\x1b[0m"),
        ("\x1b[2J\x1b[1A\rover", r"\x1b[2J\x1b[1A\rover"),
        ("a\tb\r", "a\tb"),
        ("\x1b]0;title\x07\x9b2J", r"\x1b]0;title\x07\x9b2J"),
        ("abc\u202edef", r"abc\u202edef"),
    ],
)
def test_on_a_terminal_nothing_moves(data: str, shown: str) -> None:
    """On a terminal colours end with their line, and everything else that it obeys is spelt out."""
    there = io.BytesIO()
    writer = Writer(Terminal(there, encoding="utf-8"), "[1]")
    writer.feed(data.encode())
    writer.close()

    assert there.getvalue().decode() == f"[1] {shown}\n"


def test_in_a_pipe_bytes_are_as_they_were() -> None:
    """In a pipe a line keeps its bytes, valid UTF-8 or not."""
    there = io.BytesIO()
    writer = Writer(io.TextIOWrapper(there, encoding="ascii"), "[1]")
    writer.feed(b"\xff\x1b[2J\r\n")
    writer.say("a word")

    assert there.getvalue() == b"[1] \xff\x1b[2J\r\n[1] a word\n"


def test_what_is_visible_stays() -> None:
    """Text without tricks is left alone; line breaks count as tricks."""
    assert visible("grün\t😀 [31m") == "grün\t😀 [31m"
    assert visible("a\nb\x7f\x1b[31m") == r"a\nb\x7f\x1b[31m"


def test_without_a_label_bytes_go_on_at_once() -> None:
    """Without a label a pipe gets what comes when it comes, and no newline is made up."""
    there = io.BytesIO()
    writer = Writer(io.TextIOWrapper(there, encoding="ascii"), None)
    writer.feed(b"\xff no newline")
    assert there.getvalue() == b"\xff no newline"
    writer.close()

    assert there.getvalue() == b"\xff no newline"


def test_without_a_label_a_terminal_is_still_safe() -> None:
    """Without a label lines on a terminal lose their tricks all the same."""
    there = io.BytesIO()
    writer = Writer(Terminal(there, encoding="utf-8"), None)
    writer.feed(b"\x1b[2J")
    writer.close()

    assert there.getvalue() == b"\\x1b[2J\n"
