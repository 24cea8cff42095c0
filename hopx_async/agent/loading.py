"""What a new agent reads from the disk: the keepers' indexes, and logs that they do not name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hopx_async.agent.board import Command
from hopx_async.agent.exits import exit_of
from hopx_async.agent.keeper_link import Snapshot
from hopx_async.protocol import records

__all__ = ["load", "read_log", "read_logs"]


class _IndexLine(msgspec.Struct, gc=False, frozen=True):
    id: str
    spec: msgspec.Raw = msgspec.Raw(b"")
    pid: int | None = None
    started_at: float | None = None
    end: int | None = None
    last: tuple[int, int] | None = None
    exit: msgspec.Raw = msgspec.Raw(b"")
    gone: float | None = None


_index_line = msgspec.json.Decoder(_IndexLine)


def load(
    state_dir: Path, snapshots: Mapping[int, Snapshot]
) -> tuple[list[Command], dict[str, float]]:
    """Return every command of which something is kept, and when others were forgotten.

    The keepers' *snapshots* have those that run.  Those that ended are in an index, a hint:
    of commands that none names, or not whole, the logs are read.

    Args:
        state_dir: The state directory, with ``logs/`` and ``index.N``.
        snapshots: What each keeper has told first, by its number.
    """
    logs = state_dir / "logs"
    segments = _segments(logs)
    found: dict[str, Command] = {}
    for number, snapshot in snapshots.items():
        for news in snapshot.commands:
            command = found[news.id] = Command(news.id, keeper=number)
            command.apply(news)
    whole = True
    gone: dict[str, float] = {}
    for number, path in _indexes(state_dir).items():
        # An index without a keeper is from an earlier root's, and nobody writes it now.
        size = snapshots[number].index_bytes if number in snapshots else path.stat().st_size
        whole = whole and size is not None
        for command in _indexed(path, size, number, gone):
            if command.process_id in segments:
                command.keep_segments(segments[command.process_id])
                # It may have ended while the snapshot was being told.
                found[command.process_id] = command
    known = found.keys() if whole else set()
    unknown = {name: starts for name, starts in segments.items() if name not in known}
    for command in read_logs(logs, unknown):
        found[command.process_id] = command
    return list(found.values()), gone


def read_logs(logs: Path, segments: Mapping[str, list[int] | None]) -> list[Command]:
    """Return those of the commands that have ended as their logs tell them.

    Args:
        logs: The directory.
        segments: Start offsets of their segments, None if they are to be looked up.
    """
    missing = [process_id for process_id, starts in segments.items() if starts is None]
    there = _segments(logs) if missing else {}
    found = []
    for process_id, starts in segments.items():
        command = read_log(logs, process_id, starts or there.get(process_id, []))
        if command is not None:
            found.append(command)
    return found


def read_log(logs: Path, process_id: str, segments: list[int] | None = None) -> Command | None:
    """Return a command that has ended as its log tells it.

    None means that its log has no head, no end (then the keeper knows more), or is damaged.
    """
    if segments is None:
        segments = _segments(logs, process_id).get(process_id, [])
    if not segments or segments[0] != 0:
        return None
    try:
        command = _read_head(logs, process_id)
        if command is None:
            return None
        command.keep_segments(segments)
        return command if _read_end(logs, command) else None
    except (OSError, ValueError):
        return None


def _segments(logs: Path, only: str | None = None) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for path in logs.iterdir():
        parsed = records.parse_segment_name(path.name)
        if parsed is not None and only in (None, parsed[0]):
            found.setdefault(parsed[0], []).append(parsed[1])
    for starts in found.values():
        starts.sort()
    return found


def _indexes(state_dir: Path) -> dict[int, Path]:
    found = {}
    for path in state_dir.glob("index.*"):
        number = path.name.partition(".")[2]
        if number.isdigit():
            found[int(number)] = path
    return found


def _indexed(
    path: Path, index_bytes: int | None, keeper: int, gone: dict[str, float]
) -> list[Command]:
    """Return the commands whose start and end are both in the index; add tombstones to *gone*."""
    if not index_bytes:
        return []
    begun: dict[str, Command] = {}
    ended: dict[str, Command] = {}
    with path.open("rb") as file:
        for line in file.read(index_bytes).split(b"\n")[:-1]:
            try:
                entry = _index_line.decode(line)
                if entry.gone is not None:
                    gone[entry.id] = entry.gone
                    ended.pop(entry.id, None)
                else:
                    _take_line(entry, begun, ended, keeper)
            except ValueError:
                break  # what follows is read from the logs
    return list(ended.values())


def _take_line(
    line: _IndexLine, begun: dict[str, Command], ended: dict[str, Command], keeper: int
) -> None:
    if bytes(line.spec):
        command = begun[line.id] = Command(line.id, bytes(line.spec), keeper)
        command.pid, command.started_at = line.pid, line.started_at
    if line.end is not None and line.last is not None and line.id in begun:
        command = begun.pop(line.id)
        command.end = line.end
        command.end_with(bytes(line.exit), line.last[1])
        ended[line.id] = command


def _read_head(logs: Path, process_id: str) -> Command | None:
    command = None
    reader = records.RecordReader()
    with (logs / records.segment_name(process_id, 0)).open("rb") as file:
        while chunk := file.read(records.BLOCK):
            reader.feed(chunk)
            while (record := reader.read()) is not None:
                if record.kind == records.SPEC:
                    command = Command(process_id, record.payload)
                    command.keeper = command.view().keeper
                    command.end = record.end
                elif record.kind == records.STARTED and command is not None:
                    _take_started(command, record)
                    return command
                elif record.kind != records.BASE:
                    return command
    return command


def _take_started(command: Command, record: records.Record) -> None:
    pid = record.json().get("pid")
    if isinstance(pid, int):
        command.pid, command.started_at = pid, record.at


def _read_end(logs: Path, command: Command) -> bool:
    """Find the terminal record: the last one, whole in the last block of the last segment."""
    start = command.segments[-1]
    path = logs / records.segment_name(command.process_id, start)
    with path.open("rb") as file:
        end = start + os.fstat(file.fileno()).st_size
        # A record begins at every block boundary behind the spec.
        block = max(start, (end - 1) // records.BLOCK * records.BLOCK, 0)
        if start == 0:
            block = max(block, command.end)
        file.seek(block - start)
        tail = file.read(records.BLOCK)
    reader = records.RecordReader(block)
    reader.feed(tail)
    while (record := reader.read()) is not None:
        if record.kind in records.TERMINAL_KINDS and record.end == end:
            whole = tail[record.offset - block :]
            command.end = end
            command.end_with(exit_of(whole, end), len(whole))
            return True
    return False
