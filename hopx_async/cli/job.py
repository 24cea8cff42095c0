"""One command of a run, as the screen and the summary know it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TypeAlias

import anyio
import attrs

from hopx_async.cli.table import LastLine, Row, cell
from hopx_async.errors import HopxError
from hopx_async.handle import CommandHandle
from hopx_async.model import Exit

__all__ = ["Command", "Job", "labels", "shortened"]

Command: TypeAlias = str | tuple[str, ...]

# Columns of a name before a line.
_LABEL = 20


@attrs.define(eq=False)
class Job:
    """One command of a run.

    Attributes:
        index: Its place among all, from 1 on.
        command: As it is started.
        name: Its name, None for none.
        handle: None before it has started.
        fate: How it ended, or why that is not known; None while it runs.
        started: When, by the monotonic clock; None before.
        last: Where its last line is found.
        starting: Cancelled, it is not started after all.
    """

    index: int
    command: Command
    name: str | None
    handle: CommandHandle | None = None
    fate: Exit | HopxError | None = None
    started: float | None = None
    last: LastLine = attrs.field(factory=LastLine)
    starting: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)

    @property
    def title(self) -> str:
        """Its name, or else its command, in one short line."""
        return self.name or shortened(self.command)

    def row(self, now: float) -> Row:
        """Return its row in the table, at this time of the monotonic clock."""
        seconds = None if self.started is None else now - self.started
        status = "starting" if self.handle is None else "running"
        if isinstance(self.fate, Exit):
            status = self.fate.status
            seconds = seconds if self.fate.duration is None else self.fate.duration
        elif self.fate is not None:
            status = "failed" if self.handle is None else "lost"
        said = str(self.fate) if isinstance(self.fate, HopxError) else str(self.last)
        return Row(self.title, status, seconds, said)


def labels(jobs: Sequence[Job]) -> list[str]:
    """Return what stands before the lines of each: its name or number, in brackets, aligned."""
    texts = []
    for job in jobs:
        text = cell(job.name if job.name is not None else str(job.index))
        text.truncate(_LABEL, overflow="ellipsis")
        texts.append(text)
    width = max((text.cell_len for text in texts), default=0)
    return [f"[{' ' * (width - text.cell_len)}{text.plain}]" for text in texts]


def shortened(command: Command, length: int = 60) -> str:
    """Return a command in one line of at most *length* characters."""
    text = command if isinstance(command, str) else shlex.join(command)
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."
