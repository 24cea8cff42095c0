"""Lines, however they were made."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import pytest

from hopx_async.protocol.cursor import Position, print_cursor
from hopx_async.protocol.line import Line, WholeLine

PLACE = ("cmd_1", 100, 7, 3)


def quick() -> Line:
    """Return a line as the hot path makes it."""
    made: Any = WholeLine("stdout", "hi", 2.0, PLACE)
    made.__class__ = Line
    line: Line = made
    return line


def test_a_line_made_quickly_is_like_any_other() -> None:
    """It is equal, hashes, prints, copies and pickles as one that attrs has made."""
    usual = Line(stream="stdout", text="hi", at=2.0, place=PLACE)

    assert quick() == usual
    assert hash(quick()) == hash(usual)
    assert repr(quick()) == repr(usual)
    assert attrs.evolve(quick(), text="ho") == attrs.evolve(usual, text="ho")
    assert pickle.loads(pickle.dumps(quick())) == usual  # noqa: S301  # our own
    assert attrs.asdict(quick()) == attrs.asdict(usual)


def test_a_line_made_quickly_has_every_field() -> None:
    """A field that is added to Line and forgotten there would be missing."""
    fields = {field.name for field in attrs.fields(Line)}

    assert vars(quick()).keys() == fields


def test_a_line_made_quickly_is_frozen() -> None:
    """Nobody can change it."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        quick().text = "ho"  # type: ignore[misc]


def test_a_cursor_is_of_where_a_line_ends() -> None:
    """The cursor stands for its place."""
    assert quick().cursor == print_cursor("cmd_1", Position(100, 7, 3))
