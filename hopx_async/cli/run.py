"""``hopx-async run``: commands at once, followed to their ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import anyio
import anyio.abc

from hopx_async.cli.interrupt import PATIENCE, Interruption
from hopx_async.cli.job import Command, Job, labels, shortened
from hopx_async.cli.output import Printer, complain, forget_output, visible
from hopx_async.cli.place import Place
from hopx_async.cli.screen import Screen
from hopx_async.cli.status import SIGNALED, exit_status
from hopx_async.errors import HopxError, InvalidArgument
from hopx_async.handle import CommandHandle
from hopx_async.model import CommandSpec
from hopx_async.protocol import lifecycle
from hopx_async.protocol.events import Event, Exited, Lost, Stderr, Stdout
from hopx_async.sandbox import Sandbox

__all__ = ["Feed", "Show", "Style", "run_all"]

#: How output is shown: each line prefixed; a table first; alone; as events.
Style: TypeAlias = Literal["lines", "table", "quiet", "json"]

Feed: TypeAlias = Callable[[CommandHandle], Coroutine[Any, Any, None]]
Show: TypeAlias = Callable[[bytes], Awaitable[None]]


async def run_all(
    commands: Sequence[Command],
    *,
    names: Sequence[str] = (),
    place: Place | None = None,
    style: Style = "lines",
    feed: Feed | None = None,
    show: Show | None = None,
    **options: Any,
) -> int:
    """Run *commands* at once, show their output, and return the exit status.

    Args:
        commands: Texts for bash, or arguments of one program.
        names: Names of the first so many of them.
        place: Where to; None for the embedded agent in the current directory.
        style: How output is shown.
        feed: Gives a command its input, from its start on; None for none.
        show: Takes each piece of stdout as it is; None for what the style makes of it.
        options: As for `Commands.start`, the same for all.

    Raises:
        InvalidArgument: If a command or an option breaks a rule; nothing was started.
        HopxError: If the agent could not be reached.
    """
    if len(names) > len(commands):
        raise InvalidArgument("--name", repr(names[-1]), "there are more names than commands")
    padded = [*names, *[None] * (len(commands) - len(names))]
    jobs = [
        Job(index, command, name)
        for index, (command, name) in enumerate(zip(commands, padded, strict=True), 1)
    ]
    for job in jobs:
        CommandSpec.make(job.command, name=job.name, **options)
    async with Interruption() as interruption:
        run = _Run(jobs, options, style, interruption, feed=feed, show=show)
        with interruption.scope:
            await run.execute(place or Place())
    if interruption.number is not None:
        return _interrupted(interruption.number, sure=run.ended)
    run.summarize()
    return next((status for job in jobs if (status := exit_status(job.fate)) != 0), 0)


class _Run:
    """One run.

    Attributes:
        ended: Whether it left nothing that runs, as far as it knows.
    """

    def __init__(
        self,
        jobs: list[Job],
        options: Mapping[str, Any],
        style: Style,
        interruption: Interruption,
        *,
        feed: Feed | None,
        show: Show | None,
    ) -> None:
        self._feed = feed
        self._show = show
        self._jobs = jobs
        self._options = options
        self._style = style
        self._interruption = interruption
        self._labels = labels(jobs)
        self.ended = True
        self._group: anyio.abc.TaskGroup | None = None

    async def execute(self, place: Place) -> None:
        sandbox = await place.open()
        try:
            if self._style == "table":
                async with Screen(self._jobs, self._interruption):
                    await self._follow_all(sandbox)
                await self._show_outputs()
            else:
                await self._follow_all(sandbox)
        except* BrokenPipeError:
            self._interruption.give_up(signal.SIGPIPE)
        finally:
            await self._close(sandbox, owned=place.owned)

    def summarize(self) -> None:
        """Say how each command ended: as much of that as the style allows."""
        alone = len(self._jobs) == 1 and self._style in {"quiet", "json"}
        for job, label in zip(self._jobs, self._labels, strict=True):
            if alone and isinstance(job.fate, HopxError):
                complain(job.fate)
            elif self._style in {"lines", "table"} or isinstance(job.fate, HopxError):
                command = shortened(job.command)
                print(visible(f"{label} {command}: {job.fate}"), file=sys.stderr)

    # Following.

    async def _follow_all(self, sandbox: Sandbox) -> None:
        async with anyio.create_task_group() as self._group:
            self._interruption.heard = self._end_all
            for job, label in zip(self._jobs, self._labels, strict=True):
                self._group.start_soon(self._follow, sandbox, job, label)
        self._interruption.heard = None

    async def _follow(self, sandbox: Sandbox, job: Job, label: str) -> None:
        try:
            with job.starting:
                options: dict[str, Any] = {**self._options, "name": job.name}
                job.handle = await sandbox.commands.start(job.command, **options)
            if job.handle is None:
                return
            job.started = time.monotonic()
            if self._interruption.number is not None:
                self._end(job)
            printer = Printer("" if self._style == "quiet" else label)
            if self._style == "quiet" and len(self._jobs) == 1:
                printer = Printer(None)
            async with anyio.create_task_group() as group:
                if self._feed is not None:
                    group.start_soon(self._feed, job.handle)
                async for event in job.handle.events():
                    if self._show is not None and isinstance(event, Stdout):
                        await self._show(event.data)
                    else:
                        self._take(job, event, printer)
                group.cancel_scope.cancel()  # nobody reads any more what comes in
        except* HopxError as errors:
            job.fate = _bare(errors)

    def _take(self, job: Job, event: Event, printer: Printer) -> None:
        if self._style == "json":
            sys.stdout.write(json.dumps(event.to_dict()) + "\n")
            sys.stdout.flush()
        elif self._style == "table":
            if isinstance(event, (Stdout, Stderr)):
                job.last.feed(event.data)
        else:
            printer.take(event)
        if isinstance(event, (Exited, Lost)):
            job.fate = event.exit

    async def _show_outputs(self) -> None:
        for job, label in zip(self._jobs, self._labels, strict=True):
            if job.handle is None:
                continue
            sys.stdout.write(visible(f"{label} {shortened(job.command)}") + "\n")
            sys.stdout.flush()
            printer = Printer(None)
            try:
                async for event in job.handle.events():
                    printer.take(event)
            except HopxError as error:
                printer.close()
                complain(error)

    # Ending.

    def _end_all(self) -> None:
        for job in self._jobs:
            if job.handle is None:
                job.starting.cancel()
            elif job.fate is None or self._interruption.count > 1:
                self._end(job)

    def _end(self, job: Job) -> None:
        assert self._group is not None
        assert job.handle is not None
        grace = lifecycle.GRACE if self._interruption.count < 2 else 0.0
        self._group.start_soon(self._kill, job.handle, grace)

    async def _kill(self, handle: CommandHandle, grace: float) -> None:
        try:
            await handle.kill(grace)
        except HopxError as error:
            self.ended = False
            complain(error)

    async def _close(self, sandbox: Sandbox, *, owned: bool) -> None:
        hurry: list[asyncio.Task[None]] = []

        def heard() -> None:
            if not hurry:
                hurry.append(asyncio.create_task(sandbox.aclose(grace=0)))

        if not owned:
            await self._end_elsewhere()
        self._interruption.heard = heard
        await sandbox.aclose(grace=0 if self._interruption.count > 1 else None)
        with anyio.CancelScope(shield=True):
            for task in hurry:
                await task

    async def _end_elsewhere(self) -> None:
        """End what still runs on an agent that stays: a run owns its commands."""
        left = [job.handle for job in self._jobs if job.handle is not None and job.fate is None]
        grace = lifecycle.GRACE if self._interruption.count < 2 else 0.0
        seconds = grace + 10 if self._interruption.count <= PATIENCE else 1
        with anyio.move_on_after(seconds, shield=True) as scope:
            async with anyio.create_task_group() as group:
                for handle in left:
                    group.start_soon(self._kill, handle, grace)
        if scope.cancelled_caught:
            self.ended = False


def _bare(error: BaseException) -> HopxError:
    """Return the one error in a group, which may be in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, HopxError)
    return error


def _interrupted(number: signal.Signals, *, sure: bool) -> int:
    if number is signal.SIGPIPE:
        forget_output()
    else:
        fate = "all commands are ended" if sure else "commands may still run there"
        print(f"interrupted: {fate}", file=sys.stderr)
    return SIGNALED + number
