"""``start``, ``ps``, ``logs``, ``wait`` and ``kill``: commands of an agent that runs."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import attrs
from rich.console import Console

from hopx_async.cli.job import Command, shortened
from hopx_async.cli.output import LineCutter, Printer, Writer, complain, visible
from hopx_async.cli.status import error_status, exit_status
from hopx_async.cli.table import Process, draw, processes_table
from hopx_async.errors import CommandNotFound, HopxError, InvalidArgument
from hopx_async.handle import CommandHandle
from hopx_async.model import CommandInfo, Exit, Status
from hopx_async.protocol.cursor import UNKNOWN, Position, parse_cursor, print_cursor
from hopx_async.protocol.events import Stderr, Stdout
from hopx_async.sandbox import Sandbox
from hopx_async.stream import looks_back

__all__ = ["find", "kill", "logs", "ps", "start", "wait"]

# Wider than any line that a table in a pipe has: there nothing is cut.
_UNCUT = 1_000_000


async def find(sandbox: Sandbox, wanted: str) -> CommandHandle:
    """Return the command with this id, or the one that runs under this name, or ran last.

    Raises:
        CommandNotFound: If there is none.
        InvalidArgument: If several run under this name.
    """
    try:
        return await sandbox.commands.get(wanted)
    except (CommandNotFound, InvalidArgument):
        named = await sandbox.commands.list(name=wanted)
    running = [info.process_id for info in named if info.exit is None]
    if len(running) > 1:
        rule = f"{len(running)} commands run under this name: {', '.join(running)}"
        raise InvalidArgument("command", repr(wanted), rule)
    if not named:
        raise CommandNotFound(wanted, message=f"no command has the id or name {wanted!r}")
    return await sandbox.commands.get(running[0] if running else named[-1].process_id)


async def start(
    sandbox: Sandbox, command: Command, *, as_json: bool = False, **options: Any
) -> int:
    """Start a command and print its id, as JSON with its sandbox and name."""
    handle = await sandbox.commands.start(command, **options)
    facts = {
        "process_id": handle.process_id,
        "sandbox_id": sandbox.sandbox_id,
        "name": handle.name,
        "pid": handle.pid,
    }
    print(json.dumps(facts) if as_json else handle.process_id, flush=True)
    return 0


async def ps(sandbox: Sandbox, *, status: Status | None = None, as_json: bool = False) -> int:
    """Print the commands that the agent knows, oldest first."""
    infos = await sandbox.commands.list(status=status)
    if as_json:
        for info in infos:
            print(json.dumps(_as_dict(info)))
        sys.stdout.flush()
        return 0
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else _UNCUT)
    rows = [
        Process(info.process_id, info.status, _seconds(info), info.name or "", _command(info))
        for info in infos
    ]
    draw(processes_table(rows, console.width), console)
    return 0


def _seconds(info: CommandInfo) -> float | None:
    if info.exit is not None:
        return info.exit.duration
    # By the clocks of both sides, which may differ.
    return None if info.started_at is None else max(0.0, time.time() - info.started_at)


def _command(info: CommandInfo) -> str:
    return shortened(info.command, 1000)


def _as_dict(info: CommandInfo) -> dict[str, Any]:
    value = attrs.asdict(info, recurse=False)
    value["exit"] = None if info.exit is None else info.exit.to_dict()
    return value | {"tags": dict(info.tags)}


async def logs(
    sandbox: Sandbox, wanted: str, *, follow: bool, last: int | None, as_json: bool = False
) -> int:
    """Print what a command has printed, and with *follow* what it prints up to its end.

    Args:
        sandbox: Where it runs.
        wanted: Its id or name.
        follow: Whether to go on with what comes.
        last: Print the last so many lines only; None for all.
        as_json: Print events instead, as JSON, one a line.
    """
    if as_json and last is not None:
        raise InvalidArgument("--last", str(last), "with --json, which prints events, not lines")
    if last is not None and last < 1:
        raise InvalidArgument("--last", str(last), "a number of lines above 0")
    handle = await find(sandbox, wanted)
    info = await handle.info()
    if last is None:
        await _print_events(handle, None if follow else info.log_end, as_json=as_json)
    elif follow or info.exit is not None:
        out, err = Writer(sys.stdout, ""), Writer(sys.stderr, "")
        async for line in handle.lines(last=last):
            (out if line.stream == "stdout" else err).say(line.text)
    else:
        await _print_last(handle, info.log_end, last)
    return 0


async def _print_events(handle: CommandHandle, end: int | None, *, as_json: bool) -> None:
    printer = Printer(None)
    if end is None or end > 0:
        async for event in handle.events():
            if as_json:
                print(json.dumps(event.to_dict()), flush=True)
            else:
                printer.take(event)
            if end is not None and parse_cursor(handle.process_id, event.cursor).offset >= end:
                break
    printer.close()


async def _print_last(handle: CommandHandle, end: int, last: int) -> None:
    """Print the last lines as they are now; the end of a log that grows is not waited for.

    As in `CommandHandle.lines`, from farther and farther back.
    """
    writers = {"stdout": Writer(sys.stdout, ""), "stderr": Writer(sys.stderr, "")}
    lines: deque[tuple[str, bytes]] = deque()
    for start in looks_back(end):
        lines = await _lines_between(handle, start, end, last)
        if len(lines) == last:
            break
    for stream, line in lines:
        writers[stream].feed(line + b"\n")


async def _lines_between(
    handle: CommandHandle, start: int, end: int, last: int
) -> deque[tuple[str, bytes]]:
    lines: deque[tuple[str, bytes]] = deque(maxlen=last)
    if start >= end:
        return lines
    # What begins in the middle of a line is none.
    begun = set() if start else {"stdout", "stderr"}

    def emit(stream: str, line: bytes) -> None:
        if stream in begun:
            lines.append((stream, line))
        begun.add(stream)

    cutters = {kind.type: LineCutter(partial(emit, kind.type)) for kind in (Stdout, Stderr)}
    place = print_cursor(handle.process_id, Position(start, UNKNOWN, UNKNOWN)) if start else None
    async with handle.events(after=place) as events:
        async for event in events:
            if isinstance(event, (Stdout, Stderr)):
                cutters[event.type].feed(event.data)
            if parse_cursor(handle.process_id, event.cursor).offset >= end:
                break
    for cutter in cutters.values():
        cutter.close()
    return lines


async def wait(sandbox: Sandbox, wanted: str, *, quiet: bool = False, as_json: bool = False) -> int:
    """Wait for a command's end, say how it ended, and return that as an exit status."""
    handle = await find(sandbox, wanted)
    fate = await handle.wait()
    if as_json or not quiet:
        _tell(wanted, handle, fate, as_json=as_json)
    return exit_status(fate)


async def kill(
    sandbox: Sandbox, wanted: Sequence[str], grace: float, *, as_json: bool = False
) -> int:
    """End commands with all that they started, and say how each ended, or that it did not."""
    handles = [await find(sandbox, one) for one in wanted]
    statuses = [0]

    async def end(name: str, handle: CommandHandle) -> None:
        try:
            fate = await handle.kill(grace)
        except HopxError as error:  # it keeps no other from being ended
            complain(error)
            statuses.append(error_status(error))
        else:
            _tell(name, handle, fate, as_json=as_json)

    try:
        async with anyio.create_task_group() as group:
            for name, handle in zip(wanted, handles, strict=True):
                group.start_soon(end, name, handle)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return max(statuses)


def _tell(name: str, handle: CommandHandle, fate: Exit, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"process_id": handle.process_id, **fate.to_dict()}), flush=True)
        return
    print(visible(f"{name}: {fate}"), file=sys.stderr)
