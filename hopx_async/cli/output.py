"""What is written: lines, prefixed or not, and nothing that plays tricks with a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import BinaryIO, TextIO

from hopx_async.protocol.events import Event, Exited, Lost, Stderr, Stdout, Truncated

__all__ = [
    "MAX_LINE",
    "LineCutter",
    "Printer",
    "Writer",
    "complain",
    "forget_output",
    "is_terminal",
    "visible",
]

#: A line longer than this, in bytes, is printed in pieces.
MAX_LINE = 64 * 1024
# What a terminal may obey instead of showing: controls, and what turns the direction of text.
_TRICKS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_COLOURS = re.compile(r"(\x1b\[[0-9;:]*m)")
_PLAIN = "\x1b[0m"


def visible(text: str, *, colours: bool = False) -> str:
    r"""Return *text* with every character spelt out that a terminal might obey.

    Tabs stay; so do colours if asked for, and they end with the text.

    >>> print(visible("\x1b]0;title\x07 \x1b[2J"))
    \x1b]0;title\x07 \x1b[2J
    """
    if not colours:
        return _TRICKS.sub(_spelt, text)
    parts = _COLOURS.split(text)
    parts[::2] = [_TRICKS.sub(_spelt, part) for part in parts[::2]]
    return "".join(parts) + (_PLAIN if len(parts) > 1 else "")


def _spelt(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


class LineCutter:
    """Cuts bytes into lines; holds less than a line of `MAX_LINE` bytes.

    A longer line is handed on in pieces, none of which ends within a character of UTF-8.
    """

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._emit = emit
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Add bytes; whole lines are handed on, without their newline."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(self._cut(line))
        self._rest = self._cut(rest)

    def close(self) -> None:
        """Hand on what stands behind the last newline."""
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(rest)

    def _cut(self, line: bytes) -> bytes:
        while len(line) > MAX_LINE:
            place = MAX_LINE
            while place > MAX_LINE - 4 and line[place] & 0xC0 == 0x80:
                place -= 1
            self._emit(line[:place])
            line = line[place:]
        return line


class Writer:
    """Writes one stream of a command.

    Into a file or a pipe go the bytes as they are. On a terminal, what could move the
    cursor or change the title is spelt out; colours stay, up to the end of their line.

    Args:
        file: Where to.
        label: What stands before each line, "" for nothing; None to hand on whatever comes
            at once, whole line or not, which on a terminal is as "".
    """

    def __init__(self, file: TextIO, label: str | None) -> None:
        self._text = file  # which would close the other when it goes
        self._file: BinaryIO = file.buffer
        self._terminal = file.isatty()
        self._label = label.encode() + b" " if label else b""
        self._raw = label is None and not self._terminal
        self._cutter = LineCutter(self._write)

    def feed(self, data: bytes) -> None:
        """Write the lines that *data* completes."""
        if self._raw:
            self._file.write(data)
        else:
            self._cutter.feed(data)
        self._file.flush()

    def say(self, text: str) -> None:
        """Write a line of our own."""
        self._write(text.encode())
        self._file.flush()

    def close(self) -> None:
        """Write what stands behind the last newline."""
        self._cutter.close()
        self._file.flush()

    def _write(self, line: bytes) -> None:
        if self._terminal:
            line = visible(line.decode(errors="replace").rstrip("\r"), colours=True).encode()
        self._file.write(self._label + line + b"\n")


class Printer:
    """Writes what a command's events say: stdout to stdout, stderr to stderr."""

    def __init__(self, label: str | None) -> None:
        self._out, self._err = Writer(sys.stdout, label), Writer(sys.stderr, label)

    def take(self, event: Event) -> None:
        """Write what *event* brings."""
        if isinstance(event, Stdout):
            self._out.feed(event.data)
        elif isinstance(event, Stderr):
            self._err.feed(event.data)
        elif isinstance(event, Truncated):
            lost = event.stdout_bytes + event.stderr_bytes
            self._err.say(f"({lost} bytes were freed before they were read)")
        elif isinstance(event, (Exited, Lost)):
            self.close()

    def close(self) -> None:
        """Write what stands behind the last newlines."""
        self._out.close()
        self._err.close()


def complain(text: object) -> None:
    """Say on stderr, in one line, what went wrong."""
    print(visible(f"hopx-async: {text}"), file=sys.stderr)


def forget_output() -> None:
    """Let what Python still holds for a reader that has gone vanish, not fail at the exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for file in (sys.stdout, sys.stderr):
        os.dup2(nowhere, file.fileno())
    os.close(nowhere)


def is_terminal() -> bool:
    """Tell whether stdout is a screen on which a table can live."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}
