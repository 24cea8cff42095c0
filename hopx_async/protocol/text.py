"""Bytes as text and as lines, incrementally, with cursors that lose and repeat nothing.

A line or a text that is handed out carries a cursor: where to read on, and how many
bytes of each stream were handed out.  Bytes that wait (an unfinished line, the first
half of a character) are not handed out, so the place to read on may lie before bytes
that were: what was handed out falls away again by its count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import attrs

from hopx_async.model import Stream
from hopx_async.protocol.cursor import UNKNOWN, Position
from hopx_async.protocol.events import Event, Exited, Lost, Stderr, Stdout, Truncated
from hopx_async.protocol.line import Line, Text, WholeLine

__all__ = [
    "MAX_LINE_BYTES",
    "Line",
    "LineReader",
    "Text",
    "TextReader",
    "strip_escapes",
    "whole_characters",
]

#: A line longer than this comes in pieces.
MAX_LINE_BYTES = 16 * 1024 * 1024
# An escape sequence longer than this is none.
_MAX_ESCAPE_BYTES = 4096
# ECMA-48: control sequences, strings (OSC, DCS, SOS, PM, APC) up to their end, and the rest.
_ESCAPE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])"
)
_UNFINISHED_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?\Z")
_STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")


def strip_escapes(data: bytes | bytearray) -> bytes | bytearray:
    """Return *data* without terminal escape sequences; a lone ESC stays."""
    return _ESCAPE.sub(b"", data) if b"\x1b" in data else data


class _Waiting:
    """The bytes of one stream that were read and not handed out.

    Attributes:
        data: The bytes; one buffer, for a line may come in millions of writes.
        offset: Where in the log reading has to go on to see them again.
        handed: Bytes of the stream handed out, or lost.
        lost: Bytes lost since the last that was handed out.
    """

    __slots__ = ("data", "handed", "lost", "offset")

    def __init__(self, handed: int) -> None:
        self.data = bytearray()
        self.offset = 0
        self.handed = handed
        self.lost = 0

    def take(self, size: int) -> bytearray:
        """Hand out the first *size* bytes."""
        data = self.data
        self.data = data[size:]
        del data[size:]
        self.handed += size
        return data

    def hold(self, data: bytes, offset: int) -> None:
        """Add what was read at *offset*."""
        if not self.data:
            self.offset = offset
        self.data += data


class _Reader:
    """What lines and texts have in common: two streams, and the position behind what was given."""

    def __init__(
        self, process_id: str, position: Position, stream: Stream | None, *, strip: bool
    ) -> None:
        self._process_id = process_id
        self._strip = strip
        self._wanted = stream
        self._waiting = (_Waiting(position.stdout_bytes), _Waiting(position.stderr_bytes))

    def _place(self, offset: int) -> tuple[str, int, int, int]:
        out, err = self._waiting
        for waiting in self._waiting:
            if waiting.data:
                offset = min(offset, waiting.offset)
        return self._process_id, offset, out.handed, err.handed

    def _learn(self, event: Stdout | Stderr, after: Position) -> int:
        index = 0 if isinstance(event, Stdout) else 1
        if self._waiting[index].handed == UNKNOWN:
            self._waiting[index].handed = after[index + 1] - len(event.data)
        return index

    def _decode(self, data: bytes | bytearray) -> str:
        return (strip_escapes(data) if self._strip else data).decode(errors="replace")

    def _skips(self, stream: Stream) -> bool:
        return self._wanted is not None and self._wanted != stream


class LineReader(_Reader):
    """Cuts events into lines. Holds the unfinished line of each stream, bounded.

    Args:
        process_id: The command.
        position: Where the events begin.
        stream: Only lines of this stream, None for both.
        strip: Whether escape sequences are taken out.
    """

    def feed(self, event: Event, before: Position, after: Position) -> list[Line]:
        """Return the lines that *event* completes.

        Args:
            event: The next event.
            before: A position at which its record can be read again.
            after: The position behind its record.
        """
        if isinstance(event, (Stdout, Stderr)):
            index = self._learn(event, after)
            if self._skips(_STREAMS[index]):
                self._waiting[index].handed += len(event.data)
                return []
            return self._data(index, event, before.offset, after.offset)
        if isinstance(event, Truncated):
            return self._cut(event, after.offset)
        if isinstance(event, (Exited, Lost)):
            return self._flush(event.at, after.offset)
        return []

    def _data(self, index: int, event: Stdout | Stderr, before: int, after: int) -> list[Line]:
        waiting, data = self._waiting[index], event.data
        lines: list[Line] = []
        begin, end = 0, data.rfind(b"\n") + 1
        # A line of which something waits or was lost, or which may be too long, goes one by one.
        while begin < end and (waiting.data or waiting.lost or end - begin > MAX_LINE_BYTES):
            newline = data.index(b"\n", begin)
            waiting.hold(data[begin:newline], before)
            begin = newline + 1
            lines += self._pieces(index, event.at, newline - begin + 1, before, before)
            # The newline may be the record's last byte.
            lines.append(self._line(index, event.at, before, newline=True))
        if begin < end:
            lines += self._whole_lines(index, event.at, data[begin : end - 1], before)
        if end < len(data):
            waiting.hold(data[end:], before)
            lines += self._pieces(index, event.at, len(data) - end, before, after)
        elif lines:
            lines[-1] = attrs.evolve(lines[-1], place=self._place(after))
        return lines

    def _whole_lines(self, index: int, at: float, data: bytes, before: int) -> list[Line]:
        if self._strip and b"\x1b" in data:
            texts = [self._decode(each) for each in data.split(b"\n")]
        else:
            texts = data.decode(errors="replace").split("\n")
        process_id, offset, *counts = self._place(before)
        count, other, stream = counts[index], counts[1 - index], _STREAMS[index]
        # Of ASCII, which is most there is, the texts are as long as the bytes.
        raws: Sequence[str | bytes] = (
            texts if data.isascii() and not self._strip else data.split(b"\n")
        )
        lines: list[Line] = []
        for text, raw in zip(texts, raws, strict=True):
            count += len(raw) + 1
            place = (
                (process_id, offset, other, count) if index else (process_id, offset, count, other)
            )
            line: Any = WholeLine(stream, text, at, place)
            line.__class__ = Line
            lines.append(line)
        self._waiting[index].handed = count
        return lines

    def _pieces(self, index: int, at: float, newest: int, before: int, after: int) -> list[Line]:
        waiting = self._waiting[index]
        lines = []
        while len(waiting.data) > MAX_LINE_BYTES:
            cut = whole_characters(waiting.data, MAX_LINE_BYTES)
            line = self._line(index, at, before, size=cut, newline=False, partial=True)
            # A character may have begun in the record before.
            if len(waiting.data) <= newest:
                waiting.offset = before
            lines.append(attrs.evolve(line, place=self._place(after)))
        return lines

    def _line(
        self,
        index: int,
        at: float,
        offset: int,
        *,
        newline: bool,
        size: int | None = None,
        partial: bool = False,
    ) -> Line:
        waiting = self._waiting[index]
        text = self._decode(waiting.take(len(waiting.data) if size is None else size))
        waiting.handed += newline
        lost, waiting.lost = waiting.lost, 0
        return Line(
            stream=_STREAMS[index],
            text=text,
            at=at,
            lost_before=lost,
            partial=partial,
            place=self._place(offset),
        )

    def _cut(self, event: Truncated, after: int) -> list[Line]:
        lines = []
        for index, lost in enumerate((event.stdout_bytes, event.stderr_bytes)):
            waiting = self._waiting[index]
            if lost and waiting.data:
                lines.append(self._line(index, event.at, after, newline=False, partial=True))
            waiting.handed += lost
            if not self._skips(_STREAMS[index]):
                waiting.lost += lost
        return lines

    def _flush(self, at: float, after: int) -> list[Line]:
        order = sorted((0, 1), key=lambda index: self._waiting[index].offset)
        return [
            self._line(index, at, after, newline=False)
            for index in order
            if self._waiting[index].data
        ]


class TextReader(_Reader):
    """Decodes events. Holds what is no whole character or escape sequence yet: a few KiB at most.

    Args:
        process_id: The command.
        position: Where the events begin.
        stream: Only text of this stream, None for both.
        strip: Whether escape sequences are taken out.
    """

    def feed(self, event: Event, before: Position, after: Position) -> list[Text]:
        """Return the texts that *event* completes; the arguments are those of `LineReader.feed`."""
        if isinstance(event, (Stdout, Stderr)):
            index = self._learn(event, after)
            if self._skips(_STREAMS[index]):
                self._waiting[index].handed += len(event.data)
                return []
            self._waiting[index].hold(event.data, before.offset)
            return self._texts(index, event.at, before.offset, after.offset)
        if isinstance(event, Truncated):
            texts = self._rests(event.at, after.offset)
            for waiting, lost in zip(
                self._waiting, (event.stdout_bytes, event.stderr_bytes), strict=True
            ):
                waiting.handed += lost
            return texts
        return self._rests(event.at, after.offset) if isinstance(event, (Exited, Lost)) else []

    def _texts(self, index: int, at: float, before: int, after: int) -> list[Text]:
        waiting = self._waiting[index]
        cut = len(waiting.data)
        if self._strip and (match := _UNFINISHED_ESCAPE.search(waiting.data[-_MAX_ESCAPE_BYTES:])):
            cut = max(0, cut - _MAX_ESCAPE_BYTES) + match.start()
        cut = whole_characters(waiting.data, cut)
        if not cut:
            return []
        taken = waiting.take(cut)
        waiting.offset = before
        return self._text(index, taken, at, after)

    def _rests(self, at: float, after: int) -> list[Text]:
        texts = []
        for index in (0, 1):
            waiting = self._waiting[index]
            if waiting.data:
                texts += self._text(index, waiting.take(len(waiting.data)), at, after)
        return texts

    def _text(self, index: int, data: bytearray, at: float, after: int) -> list[Text]:
        text = self._decode(data)
        if not text:
            return []
        return [Text(stream=_STREAMS[index], text=text, at=at, place=self._place(after))]


def whole_characters(data: bytes | bytearray, end: int) -> int:
    """Return the largest place up to *end* in which no UTF-8 character is cut."""
    for back in range(1, min(4, end + 1)):
        byte = data[end - back]
        if byte & 0xC0 != 0x80:  # the first byte of a character
            length = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return end if length <= back else end - back
    return end
