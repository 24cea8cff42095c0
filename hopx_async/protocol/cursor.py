"""Positions in a command's log: as numbers inside, as an opaque text outside.

A cursor stands at the end of a record.  It says how far the log was read and how
many bytes of each stream came before, so that what retention cut is exact.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

from hopx_async.errors import BadCursor

__all__ = ["CURSOR_RULE", "START", "Position", "parse_cursor", "print_cursor"]

#: Fits the header Last-Event-ID, a URL and a file name.
CURSOR_RULE = "[0-9A-Za-z._-]{1,64}"
_LOG_CURSOR = re.compile(r"L1\.(\d{1,16})\.(\d{1,16})\.(\d{1,16})\.([0-9a-f]{8})")
_FEED = re.compile(r"([A-Z]\d+)\.")


class Position(NamedTuple):
    """A place between two records.

    Attributes:
        offset: Log bytes before it.
        stdout_bytes: Bytes of stdout before it.
        stderr_bytes: Bytes of stderr before it.
    """

    offset: int
    stdout_bytes: int
    stderr_bytes: int


START = Position(0, 0, 0)


def print_cursor(process_id: str, position: Position) -> str:
    """Return *position* in the log of *process_id* as a cursor."""
    offset, out, err = position
    return f"L1.{offset}.{out}.{err}.{crc32(f'{process_id}.{offset}.{out}.{err}'.encode()):08x}"


def parse_cursor(process_id: str, cursor: object) -> Position:
    """Return the position that *cursor* stands for in the log of *process_id*.

    Raises:
        BadCursor: If it is no cursor, one of another command, or one of another kind of far side.
    """
    match = _LOG_CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    if match is None or not isinstance(cursor, str):
        feed = _FEED.match(cursor) if isinstance(cursor, str) else None
        rule = "a cursor that an event of this command carried"
        if feed is not None and feed[1] != "L1":
            rule += f"; this one is of a feed {feed[1]}, here it is L1"
        raise BadCursor("after", repr(cursor)[:120], rule)
    position = Position(int(match[1]), int(match[2]), int(match[3]))
    if print_cursor(process_id, position) != cursor:
        raise BadCursor("after", repr(cursor), f"a cursor of command {process_id}, not of another")
    return position
