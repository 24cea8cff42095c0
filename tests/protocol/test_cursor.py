"""Tests of cursors."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.errors import BadCursor
from hopx_async.protocol.cursor import CURSOR_RULE, START, Position, parse_cursor, print_cursor

NUMBERS = st.integers(0, 10**16 - 1)


@given(offset=NUMBERS, out=NUMBERS, err=NUMBERS)
def test_a_cursor_comes_back(offset: int, out: int, err: int) -> None:
    """parse_cursor reads what print_cursor printed, and it fits headers and file names."""
    cursor = print_cursor("cmd_1", Position(offset, out, err))

    assert re.fullmatch(CURSOR_RULE, cursor)
    assert parse_cursor("cmd_1", cursor) == (offset, out, err)


def test_a_cursor_of_another_command_is_refused() -> None:
    """BadCursor names the command that the cursor is not of."""
    cursor = print_cursor("cmd_2", Position(10, 1, 2))

    with pytest.raises(BadCursor, match="a cursor of command cmd_1, not of another") as caught:
        parse_cursor("cmd_1", cursor)
    assert caught.value.value == repr(cursor)


@pytest.mark.parametrize("cursor", ["M1.5.ab", "P1.x"])
def test_a_cursor_of_another_feed_is_refused(cursor: str) -> None:
    """BadCursor names the kind of far side that the cursor is of."""
    with pytest.raises(BadCursor, match=f"this one is of a feed {cursor[:2]}, here it is L1"):
        parse_cursor("cmd_1", cursor)


@pytest.mark.parametrize(
    "cursor", ["", "x", "L1", "L1.1.2.3", "L1.-1.0.0.00000000", "L1.1.2.3.zzzzzzzz", None, 7, b"L1"]
)
def test_what_is_no_cursor_is_refused(cursor: object) -> None:
    """BadCursor says what a cursor is."""
    with pytest.raises(BadCursor, match=r"a cursor that an event of this command carried$"):
        parse_cursor("cmd_1", cursor)


def test_a_changed_cursor_is_refused() -> None:
    """A number that was changed by hand does not pass."""
    cursor = print_cursor("cmd_1", START)

    with pytest.raises(BadCursor):
        parse_cursor("cmd_1", cursor.replace("L1.0", "L1.5"))


def test_a_long_wrong_cursor_is_cut_in_the_message() -> None:
    """The message stays short however long the text is."""
    with pytest.raises(BadCursor) as caught:
        parse_cursor("cmd_1", "x" * 10_000)
    assert len(str(caught.value)) < 250
