"""Samples of what commands use, for those whose start asked for that."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hopx_async.agent.board import Command
from hopx_async.agent.keeper_link import Refusal
from hopx_async.agent.measuring import measure
from hopx_async.errors import AgentFault, Unsupported

__all__ = ["Sampler", "can_sample"]

_Figures = dict[str, Any]
# Those that only grow: a process that ended unseen may not make them shrink.
_GROWING = ("cpu_seconds", "read_bytes", "write_bytes")


def can_sample() -> bool:
    """Return whether there is psutil, which knows how to look at processes."""
    return importlib.util.find_spec("psutil") is not None


class _Watched:
    """A command whose usage is sampled."""

    __slots__ = ("before", "command", "due", "interval", "telling")

    def __init__(self, command: Command, interval: float, now: float) -> None:
        self.command = command
        self.interval = interval
        self.due = now + interval
        self.before: _Figures = {}
        self.telling: asyncio.Task[None] | None = None

    def grown(self, figures: _Figures) -> _Figures:
        """Return *figures*, each sum at least what it was: what has been used stays used."""
        for name in _GROWING:
            before = self.before.get(name)
            if figures[name] is not None and before is not None:
                figures[name] = max(figures[name], before)
        self.before = figures
        return figures


class Sampler:
    """One task for all commands that are sampled; none while there is none.

    Looks happen in a thread; one look serves all commands that are due. What is not yet
    taken by the keeper is followed by no further sample of that command.

    Args:
        tell: Hands a sample to the keeper.
        look: Returns the figures of the trees of these leaders, by process id. It blocks.
    """

    def __init__(
        self,
        tell: Callable[[Command, _Figures], Awaitable[Any]],
        look: Callable[[Mapping[str, int]], dict[str, _Figures]] = measure,
    ) -> None:
        self._tell = tell
        self._look = look
        self._watched: dict[str, _Watched] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._watched)

    def check(self, interval: float | None) -> None:
        """Refuse samples where they cannot be taken.

        Raises:
            Unsupported: If they are wanted and psutil is missing.
        """
        if interval is not None and not can_sample():
            raise Unsupported(
                "usage_interval needs psutil where the agent runs: pip install 'hopx-async[serve]'"
            )

    def watch(self, command: Command) -> None:
        """Sample *command* from now on until it ends, if its start asked for that."""
        interval = command.view().usage_interval
        if interval is None or command.exit is not None or command.pid is None:
            return
        if command.process_id in self._watched or not can_sample():
            return
        now = asyncio.get_running_loop().time()
        self._watched[command.process_id] = _Watched(command, interval, now)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        """Stop. A look that is under way is not waited for."""
        tasks = [one.telling for one in self._watched.values() if one.telling is not None]
        self._watched.clear()
        if self._task is not None:
            tasks.append(self._task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # A bug of ours. Commands go on, and nobody waits for samples.
            sys.excepthook(type(error), error, error.__traceback__)
            self._watched.clear()
        elif self._watched and not task.cancelled():
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._watched:
            due = [one for one in self._watched.values() if one.due <= loop.time()]
            for one in due:
                if one.command.exit is not None:
                    del self._watched[one.command.process_id]
            live = [one for one in due if one.command.exit is None]
            if live:
                await self._sample(live)
            elif not due:
                await self._until(min(one.due for one in self._watched.values()))

    async def _sample(self, due: list[_Watched]) -> None:
        leaders = {one.command.process_id: one.command.pid or 0 for one in due}
        found = await asyncio.to_thread(self._look, leaders)
        now = asyncio.get_running_loop().time()
        for one in due:
            one.due += one.interval
            if one.due <= now:
                # Looks that take longer than the interval do not follow each other at once.
                one.due = now + one.interval
            figures = found.get(one.command.process_id)
            if figures is not None and (one.telling is None or one.telling.done()):
                one.telling = asyncio.create_task(self._hand_over(one.command, one.grown(figures)))

    async def _hand_over(self, command: Command, figures: _Figures) -> None:
        try:
            await self._tell(command, figures)
        except (Refusal, AgentFault):
            return  # it has ended, or its keeper has: that is told elsewhere

    async def _until(self, moment: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout_at(moment):
                await self._changed.wait()
        except TimeoutError:
            return
