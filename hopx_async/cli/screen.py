"""The live table on a terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

from hopx_async.cli.interrupt import Interruption
from hopx_async.cli.job import Job
from hopx_async.cli.table import live_table

__all__ = ["REFRESH_SECONDS", "Screen", "note"]

#: Seconds between two pictures.
REFRESH_SECONDS = 0.1


def note(count: int) -> str:
    """Return what is said below the table after so many Ctrl-C."""
    return ("", "ending all commands; Ctrl-C kills them at once", "killing all commands")[
        min(count, 2)
    ]


class Screen:
    """Draws the table of *jobs* while its block runs, and takes it away at the end.

    Owns the task that draws; it ends with the block.
    """

    def __init__(self, jobs: Sequence[Job], interruption: Interruption) -> None:
        self._jobs = jobs
        self._interruption = interruption
        self._live = Live(
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
            console=Console(highlight=False),
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._live.start()
        self._task = asyncio.create_task(self._draw())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        self._live.stop()
        if not self._task.cancelled():
            self._task.result()

    async def _draw(self) -> None:
        while True:
            self._live.update(self._picture(), refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)

    def _picture(self) -> RenderableType:
        now = time.monotonic()
        width, height = self._live.console.size
        rows = [job.row(now) for job in self._jobs]
        return live_table(rows, width, height, note(self._interruption.count))
