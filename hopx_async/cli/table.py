"""The tables, as functions from what is known to what is drawn; nothing here asks a clock.

Every text in them comes from somebody else: it is one line, of known width, and
nothing in it is obeyed by a terminal.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hopx_async.cli.output import visible
from hopx_async.protocol.text import strip_escapes, whole_characters

__all__ = [
    "LastLine",
    "Process",
    "Row",
    "SandboxRow",
    "cell",
    "draw",
    "duration",
    "live_table",
    "processes_table",
    "sandboxes_table",
]

#: Bytes of a stream in which its last line is looked for.
_TAIL = 4096
_BREAKS = re.compile(r"[\r\n]+")
_STYLES = {"running": "cyan", "completed": "green", "killed": "yellow", "starting": "dim"}
# Columns of the screen left alone: where a terminal measures a character otherwise than we do,
# and where it echoes ^C, no line may wrap.
_SPARE = 2
_GAP = 2
_STATUS, _ELAPSED = len("completed"), len("ELAPSED")
# Below this the last line says nothing any more.
_LEAST_LAST = 4


class Row(NamedTuple):
    """One command in the live table: seconds are None before it has started."""

    name: str
    status: str
    seconds: float | None
    last: str


class Process(NamedTuple):
    """One command in the table of ``ps``: seconds are None if it never started."""

    process_id: str
    status: str
    seconds: float | None
    name: str
    command: str


def cell(text: str) -> Text:
    """Return *text* for a cell: visible, in one line, and as wide as it measures.

    Characters without a width of their own go: accents that no letter took up,
    joiners, variation selectors. Terminals disagree about them.
    """
    composed = unicodedata.normalize("NFC", text.expandtabs(1))
    return Text("".join(shown for c in composed if cell_len(shown := visible(c))))


def duration(seconds: float | None) -> str:
    """Return seconds as people read them: ``9.5 s``, ``12:03``, ``1:02:03``.

    >>> duration(9.46), duration(723), duration(3723), duration(200 * 3600), duration(None)
    ('9.5 s', '12:03', '1:02:03', '8 days', '')
    """
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{min(seconds, 59.9):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours // 24} days"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class LastLine:
    """The last line that says something, of a stream; holds 4 KiB of it."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Add bytes of the stream."""
        if data.strip():
            self._tail = (self._tail + data)[-_TAIL:]

    def __str__(self) -> str:
        data = self._tail[: whole_characters(self._tail, len(self._tail))]
        text = strip_escapes(data).decode(errors="replace")
        return next((line for line in reversed(_BREAKS.split(text)) if line.strip()), "").strip()


def live_table(rows: Sequence[Row], width: int, height: int, note: str = "") -> RenderableType:
    """Return the table of commands that run, for a screen of this size.

    More rows than fit are counted in a last line; what runs is shown first.
    """
    room = max(1, height - 2 - bool(note))  # without the heading, and the line that is typed in
    shown, hidden = _select(rows, room)
    names = [cell(row.name) for row in shown]
    width -= _SPARE
    last = width - _STATUS - _ELAPSED - 3 * _GAP
    name = max(4, min(max(map(_width, names), default=4), max(8, last // 3)))
    table = _table()
    _column(table, "NAME", name)
    _column(table, "STATUS", _STATUS)
    _column(table, "ELAPSED", _ELAPSED, right=True)
    with_last = last - name >= _LEAST_LAST
    if with_last:
        _column(table, "LAST LINE" if last - name > 8 else "LAST", last - name)
    for text, row in zip(names, shown, strict=True):
        cells = [text, _status(row.status), Text(duration(row.seconds))]
        table.add_row(*cells, *([cell(row.last)] if with_last else []))
    below = [Text(line, no_wrap=True, overflow="ellipsis") for line in (hidden, note) if line]
    for line in below:
        line.truncate(width, overflow="ellipsis")
    return Group(table, *below)


def _select(rows: Sequence[Row], room: int) -> tuple[list[Row], str]:
    if len(rows) <= room:
        return list(rows), ""
    order = sorted(range(len(rows)), key=lambda index: rows[index].status != "running")
    chosen = set(order[: max(0, room - 1)])
    kept = [row for index, row in enumerate(rows) if index in chosen]
    counts = Counter(row.status for index, row in enumerate(rows) if index not in chosen)
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    return kept, f"... and {len(rows) - len(kept)} more: {told}"


def processes_table(rows: Sequence[Process], width: int) -> Table:
    """Return the table of ``ps``, for lines of this width.

    Ids are whole, for they are what one types next; the rest gets what is left.
    """
    ids = [cell(row.process_id) for row in rows]
    names = [cell(row.name) for row in rows]
    commands = [cell(row.command) for row in rows]
    process_id = max(map(_width, ids), default=2)
    left = width - process_id - 1 - _STATUS
    table = _table(1)
    table.add_column("ID", no_wrap=True, min_width=process_id)
    _column(table, "STATUS", _STATUS)
    wanted = max(map(_width, names), default=0)
    columns = [ids, [_status(row.status) for row in rows]]
    if left > _ELAPSED:
        left -= 1 + _ELAPSED
        _column(table, "ELAPSED", _ELAPSED, right=True)
        columns.append([Text(duration(row.seconds)) for row in rows])
    if wanted and left > _LEAST_LAST:
        name = max(4, min(wanted, left // 3 if left > 24 else left - 1))
        left -= 1 + name
        _column(table, "NAME", name)
        columns.append(names)
    if left > len("COMMAND"):
        command = min(left - 1, max(map(_width, commands), default=7))
        _column(table, "COMMAND", max(7, command))
        columns.append(commands)
    for cells in zip(*columns, strict=True):
        table.add_row(*cells)
    return table


class SandboxRow(NamedTuple):
    """One sandbox in the table of ``sandboxes``: seconds are None where they are not known."""

    sandbox_id: str
    status: str
    template: str
    region: str
    age: float | None
    left: float | None


def sandboxes_table(rows: Sequence[SandboxRow]) -> Table:
    """Return the table of ``sandboxes``; nothing in it is cut, for there is not much."""
    table = _table(1)
    for title in ("ID", "STATUS", "TEMPLATE", "REGION"):
        table.add_column(title, no_wrap=True)
    for title in ("AGE", "LEFT"):
        table.add_column(title, no_wrap=True, justify="right")
    for row in rows:
        times = (Text(duration(row.age)), Text(duration(row.left)))
        table.add_row(
            cell(row.sandbox_id), _status(row.status), cell(row.template), cell(row.region), *times
        )
    return table


def draw(table: RenderableType, console: Console) -> None:
    """Print *table*, without blanks at the ends of lines."""
    with console.capture() as capture:
        console.print(table, soft_wrap=True)
    lines = capture.get().splitlines()
    console.file.write("".join(f"{line.rstrip()}\n" for line in lines))
    console.file.flush()


def _table(gap: int = _GAP) -> Table:
    return Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")


def _column(table: Table, title: str, width: int, *, right: bool = False) -> None:
    justify: Literal["left", "right"] = "right" if right else "left"
    table.add_column(title, width=width, justify=justify, no_wrap=True, overflow="ellipsis")


def _width(text: Text) -> int:
    return text.cell_len


def _status(status: str) -> Text:
    return Text(status, style=_STYLES.get(status, "red"))
