"""Positions in a command's log: as numbers inside, as an opaque text outside.

A cursor stands at the end of a record.  It says how far the log was read and how
many bytes of each stream came before, so that what retention cut is exact.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

from hopx_async.errors import BadCursor

__all__ = ["CURSOR_RULE", "START", "UNKNOWN", "Position", "parse_cursor", "print_cursor"]

#: Fits the header Last-Event-ID, a URL and a file name.
CURSOR_RULE = "[0-9A-Za-z._-]{1,64}"
_LOG_CURSOR = re.compile(r"L1\.(\d{1,16})\.(\d{1,16}|-)\.(\d{1,16}|-)\.([0-9a-f]{8})")
_FEED = re.compile(r"([A-Z]\d+)\.")


#: The count of a stream that was joined at its end and has printed nothing since.
UNKNOWN = -1


class Position(NamedTuple):
    """How far a command was read.

    Attributes:
        offset: Log bytes before the place to read on, which lies between two records.
        stdout_bytes: Bytes of stdout that were read, or `UNKNOWN`.
        stderr_bytes: Bytes of stderr that were read, or `UNKNOWN`.

    The bytes of an event are read as a whole. Those of a line may end within a record
    that has to be read again for the rest: then the counts are ahead of the offset.
    """

    offset: int
    stdout_bytes: int
    stderr_bytes: int


START = Position(0, 0, 0)


def print_cursor(process_id: str, position: Position) -> str:
    """Return *position* in the log of *process_id* as a cursor."""
    offset, out, err = position
    place = f"{offset}.{'-' if out == UNKNOWN else out}.{'-' if err == UNKNOWN else err}"
    return f"L1.{place}.{crc32(f'{process_id}.{place}'.encode()):08x}"


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
    out, err = (UNKNOWN if count == "-" else int(count) for count in match.group(2, 3))
    position = Position(int(match[1]), out, err)
    if print_cursor(process_id, position) != cursor:
        raise BadCursor("after", repr(cursor), f"a cursor of command {process_id}, not of another")
    return position
