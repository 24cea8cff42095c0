"""Looking for a pattern in output as it comes, with a cursor exactly behind what was found.

What is looked at is bounded: a window of the last output.  A character of the window
stands for known bytes, also where they are not UTF-8, so that a match ends at a byte.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from hopx_async.model import Stream
from hopx_async.protocol.cursor import UNKNOWN, Position
from hopx_async.protocol.events import Event, Exited, Lost, Stderr, Stdout, Truncated
from hopx_async.protocol.text import whole_characters

__all__ = ["WINDOW_CHARACTERS", "Found", "OutputSearch"]

#: Characters of the last output in which a pattern is looked for, at least.
WINDOW_CHARACTERS = 64 * 1024
# So many new characters are worth a look, while more is there to be read.
_ENOUGH = 16 * 1024
_STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")


class Found(NamedTuple):
    """A match, and where to read on behind it.

    Attributes:
        text: What matched.
        before: The output before it, as far as the window holds it.
        groups: What its groups matched, None for those that took no part.
        position: Exactly behind it, for a cursor.
    """

    text: str
    before: str
    groups: tuple[str | None, ...]
    position: Position


class _Segment:
    """Output of one record: its stream, its text, its bytes, and where it can be read again."""

    __slots__ = ("index", "offset", "size", "text")

    def __init__(self, index: int, text: str, size: int, offset: int) -> None:
        self.index = index
        self.text = text
        self.size = size
        self.offset = offset


class OutputSearch:
    """Looks for *pattern* in the output that it is fed.

    Args:
        pattern: What to look for. It sees both streams in the order observed.
        position: Where the events begin.
        stream: Only look into this stream, None for both.
    """

    def __init__(self, pattern: re.Pattern[str], position: Position, stream: Stream | None) -> None:
        self._pattern = pattern
        self._wanted = stream
        self._text = ""
        self._segments: deque[_Segment] = deque()
        # By stream: bytes before the window, the first bytes of a character, and where they are.
        self._handed = [position.stdout_bytes, position.stderr_bytes]
        self._pending = [b"", b""]
        self._pending_offset = [0, 0]
        self._end = position.offset
        self._new = 0

    @property
    def worth_a_look(self) -> bool:
        """Whether so much is new that it should be looked at before more is fed."""
        return self._new >= _ENOUGH

    def feed(self, event: Event, before: Position, after: Position) -> None:
        """Take in the next event.

        Args:
            event: The event.
            before: A position at which its record can be read again.
            after: The position behind its record.
        """
        if isinstance(event, (Stdout, Stderr)):
            self._data(0 if isinstance(event, Stdout) else 1, event.data, before, after)
        elif isinstance(event, Truncated):
            # What lies on both sides of a gap does not belong together.
            self._drop(len(self._segments))
            for index, lost in enumerate((event.stdout_bytes, event.stderr_bytes)):
                self._handed[index] += len(self._pending[index]) + lost
                self._pending[index] = b""
        elif isinstance(event, (Exited, Lost)):
            for index, rest in enumerate(self._pending):
                self._add(index, rest, self._pending_offset[index])
                self._pending[index] = b""
        self._end = after.offset

    def find(self) -> Found | None:
        """Return the first match in what was fed, None if there is none yet."""
        self._new = 0
        match = self._pattern.search(self._text)
        if match is not None:
            return Found(
                _shown(match[0]),
                _shown(self._text[: match.start()]),
                tuple(None if group is None else _shown(group) for group in match.groups()),
                self._position_behind(match.end()),
            )
        excess, count = len(self._text) - WINDOW_CHARACTERS, 0
        for segment in self._segments:
            excess -= len(segment.text)
            if excess < 0:
                break
            count += 1
        self._drop(count)
        return None

    def _data(self, index: int, data: bytes, before: Position, after: Position) -> None:
        if self._handed[index] == UNKNOWN:
            self._handed[index] = after[index + 1] - len(data)
        if self._wanted not in {None, _STREAMS[index]}:
            self._skip(index, len(data), before.offset)
            return
        pending, offset = self._pending[index], before.offset
        if pending:
            offset = self._pending_offset[index]
        joined = pending + data
        cut = whole_characters(joined, len(joined))
        self._add(index, joined[:cut], offset)
        self._pending[index] = joined[cut:]
        self._pending_offset[index] = before.offset if cut else offset

    def _add(self, index: int, data: bytes, offset: int) -> None:
        if data:
            text = data.decode(errors="surrogateescape")
            self._segments.append(_Segment(index, text, len(data), offset))
            self._text += text
            self._new += len(text)

    def _skip(self, index: int, size: int, offset: int) -> None:
        # Not looked at, but not to be passed over either when it comes behind the match.
        last = self._segments[-1] if self._segments else None
        if last is not None and last.index == index:
            last.size += size
        else:
            self._segments.append(_Segment(index, "", size, offset))

    def _drop(self, count: int) -> None:
        for _ in range(count):
            segment = self._segments.popleft()
            self._handed[segment.index] += segment.size
            self._text = self._text[len(segment.text) :]

    def _position_behind(self, end: int) -> Position:
        counts, offset, place = list(self._handed), self._end, 0
        for segment in self._segments:
            inside = max(0, min(end - place, len(segment.text)))
            place += len(segment.text)
            if place < end or (place == end and segment.text):
                counts[segment.index] += segment.size
                continue
            counts[segment.index] += _size(segment.text[:inside])
            offset = min(offset, segment.offset)
        for index, pending in enumerate(self._pending):
            if pending:
                offset = min(offset, self._pending_offset[index])
        return Position(offset, *counts)


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


def _shown(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")
