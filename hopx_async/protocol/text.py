"""Bytes as text and as lines, incrementally, with cursors that lose and repeat nothing.

A line or a text that is handed out carries a cursor: where to read on, and how many
bytes of each stream were handed out.  Bytes that wait (an unfinished line, the first
half of a character) are not handed out, so the place to read on may lie before bytes
that were: what was handed out falls away again by its count.
"""

from __future__ import annotations

import re

import attrs

from hopx_async.model import Stream
from hopx_async.protocol.cursor import UNKNOWN, Position, print_cursor
from hopx_async.protocol.events import Event, Exited, Lost, Stderr, Stdout, Truncated

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


@attrs.frozen(kw_only=True)
class Text:
    """A piece of one stream, decoded; cut anywhere, but never within a character.

    Attributes:
        stream: ``"stdout"`` or ``"stderr"``.
        text: The text; bytes that are not UTF-8 became U+FFFD.
        cursor: The position behind it.
        at: Unix time at which its last bytes were observed.
    """

    stream: Stream
    text: str
    cursor: str
    at: float


@attrs.frozen(kw_only=True)
class Line:
    """A line of one stream, without its newline.

    Attributes:
        stream: ``"stdout"`` or ``"stderr"``.
        text: The text; bytes that are not UTF-8 became U+FFFD.
        at: Unix time at which its last bytes were observed.
        lost_before: Bytes of its stream that retention freed before this line was read.
        partial: Whether the line goes on in the next one of its stream: it is over 16 MiB, or
            its rest was freed.
    """

    stream: Stream
    text: str
    at: float
    lost_before: int = 0
    partial: bool = False
    _process_id: str = attrs.field(alias="process_id", repr=False)
    _position: Position = attrs.field(alias="position", repr=False)

    @property
    def cursor(self) -> str:
        """The position behind the line: it covers an unfinished line of the other stream too."""
        return print_cursor(self._process_id, self._position)


def strip_escapes(data: bytes) -> bytes:
    """Return *data* without terminal escape sequences; a lone ESC stays."""
    return _ESCAPE.sub(b"", data) if b"\x1b" in data else data


class _Waiting:
    """The bytes of one stream that were read and not handed out.

    Attributes:
        chunks: The bytes.
        size: How many they are.
        offset: Where in the log reading has to go on to see them again.
        handed: Bytes of the stream handed out, or lost.
        lost: Bytes lost since the last that was handed out.
    """

    __slots__ = ("chunks", "handed", "lost", "offset", "size")

    def __init__(self, handed: int) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.offset = 0
        self.handed = handed
        self.lost = 0

    def take(self) -> bytes:
        data = b"".join(self.chunks)
        self.chunks.clear()
        self.handed += self.size
        self.size = 0
        return data

    def hold(self, data: bytes, offset: int) -> None:
        if not data:
            return
        if not self.chunks:
            self.offset = offset
        self.chunks.append(data)
        self.size += len(data)


class _Reader:
    """What lines and texts have in common: two streams, and the position behind what was given."""

    def __init__(
        self, process_id: str, position: Position, stream: Stream | None, *, strip: bool
    ) -> None:
        self._process_id = process_id
        self._strip = strip
        self._wanted = stream
        self._waiting = (_Waiting(position.stdout_bytes), _Waiting(position.stderr_bytes))

    def _position(self, offset: int) -> Position:
        out, err = self._waiting
        for waiting in self._waiting:
            if waiting.chunks:
                offset = min(offset, waiting.offset)
        return Position(offset, out.handed, err.handed)

    def _learn(self, event: Stdout | Stderr, after: Position) -> None:
        index = 0 if isinstance(event, Stdout) else 1
        if self._waiting[index].handed == UNKNOWN:
            self._waiting[index].handed = after[index + 1] - len(event.data)

    def _decode(self, data: bytes) -> str:
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
            self._learn(event, after)
            return self._data(event, before.offset, after.offset)
        if isinstance(event, Truncated):
            return self._cut(event, after.offset)
        if isinstance(event, (Exited, Lost)):
            return self._flush(event.at, after.offset)
        return []

    def _data(self, event: Stdout | Stderr, before: int, after: int) -> list[Line]:
        index = 0 if isinstance(event, Stdout) else 1
        waiting = self._waiting[index]
        if self._skips(_STREAMS[index]):
            waiting.handed += len(event.data)
            return []
        *whole, last = event.data.split(b"\n")
        lines = []
        for data in whole:
            waiting.hold(data, before)
            if waiting.size > MAX_LINE_BYTES:
                lines += self._pieces(index, event.at, before, before)
            lines.append(self._line(index, event.at, before, newline=True))
        waiting.hold(last, before)
        if waiting.size > MAX_LINE_BYTES:
            lines += self._pieces(index, event.at, before, after)
        elif lines and not last:
            lines[-1] = attrs.evolve(lines[-1], position=self._position(after))
        return lines

    def _pieces(self, index: int, at: float, before: int, after: int) -> list[Line]:
        waiting = self._waiting[index]
        earlier, newest = waiting.offset, len(waiting.chunks[-1])
        lines = []
        while waiting.size > MAX_LINE_BYTES:
            data = b"".join(waiting.chunks)
            cut = whole_characters(data, MAX_LINE_BYTES)
            waiting.chunks, waiting.size = [data[:cut]], cut
            line = self._line(index, at, before, newline=False, partial=True)
            rest = data[cut:]
            # A character may have begun in the record before.
            waiting.hold(rest, before if len(rest) <= newest else earlier)
            lines.append(attrs.evolve(line, position=self._position(after)))
        return lines

    def _line(
        self, index: int, at: float, offset: int, *, newline: bool, partial: bool = False
    ) -> Line:
        waiting = self._waiting[index]
        text = self._decode(waiting.take())
        waiting.handed += newline
        lost, waiting.lost = waiting.lost, 0
        return Line(
            stream=_STREAMS[index],
            text=text,
            at=at,
            lost_before=lost,
            partial=partial,
            process_id=self._process_id,
            position=self._position(offset),
        )

    def _cut(self, event: Truncated, after: int) -> list[Line]:
        lines = []
        for index, lost in enumerate((event.stdout_bytes, event.stderr_bytes)):
            waiting = self._waiting[index]
            if lost and waiting.size:
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
            if self._waiting[index].size
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
            self._learn(event, after)
            index = 0 if isinstance(event, Stdout) else 1
            waiting = self._waiting[index]
            if self._skips(_STREAMS[index]):
                waiting.handed += len(event.data)
                return []
            waiting.hold(event.data, before.offset)
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
        data = b"".join(waiting.chunks)
        cut = len(data)
        if self._strip and (match := _UNFINISHED_ESCAPE.search(data[-_MAX_ESCAPE_BYTES:])):
            cut = max(0, len(data) - _MAX_ESCAPE_BYTES) + match.start()
        cut = whole_characters(data, cut)
        if not cut:
            waiting.chunks = [data]
            return []
        waiting.chunks, waiting.size = [data[:cut]], cut
        taken = waiting.take()
        waiting.hold(data[cut:], before)
        return self._text(index, taken, at, after)

    def _rests(self, at: float, after: int) -> list[Text]:
        texts = []
        for index in (0, 1):
            if self._waiting[index].size:
                texts += self._text(index, self._waiting[index].take(), at, after)
        return texts

    def _text(self, index: int, data: bytes, at: float, after: int) -> list[Text]:
        text = self._decode(data)
        if not text:
            return []
        cursor = print_cursor(self._process_id, self._position(after))
        return [Text(stream=_STREAMS[index], text=text, cursor=cursor, at=at)]


def whole_characters(data: bytes, end: int) -> int:
    """Return the largest place up to *end* in which no UTF-8 character is cut."""
    for back in range(1, min(4, end + 1)):
        byte = data[end - back]
        if byte & 0xC0 != 0x80:  # the first byte of a character
            length = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return end if length <= back else end - back
    return end
