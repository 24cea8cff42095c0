"""The listings: one row for each command, with every name that some client reads."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

import msgspec

from hopx_async.agent.board import Board, Command
from hopx_async.agent.dialect.answers import stamp
from hopx_async.agent.dialect.asks import KIND, LANGUAGE, execution_id, text_of
from hopx_async.agent.dialect.running import code_of
from hopx_async.agent.follow import Followers
from hopx_async.model import Exit
from hopx_async.protocol.collect import HeadTail
from hopx_async.protocol.cursor import START, UNKNOWN, Position
from hopx_async.protocol.events import Stderr, Stdout
from hopx_async.protocol.records import BLOCK

__all__ = ["MAX_ROWS", "TAIL_BYTES", "Rows"]

#: Rows of one listing, the newest first of all when there are more.
MAX_ROWS = 1000
#: Bytes of each stream's end in a row.
TAIL_BYTES = 64 * 1024
# Bytes of ends in one listing; older rows go without when the newer ones need them all.
_LISTED_BYTES = 4 * 1024 * 1024
# Log bytes in which the ends of both streams are looked for.
_LOOK_BYTES = 4 * BLOCK
_TEXT = 4096
_Tails = tuple[str, str, bool, bool]


class _Spec(msgspec.Struct):
    command: Any
    timeout: float | None = None
    name: str | None = None
    tags: dict[str, str] = {}
    working_dir: str | None = None
    created_at: float = 0.0


_spec = msgspec.json.Decoder(_Spec)


class Rows:
    """Makes rows.

    Args:
        board: The commands that are known.
        followers: Reads their output.
    """

    def __init__(self, board: Board, followers: Followers) -> None:
        self._board = board
        self._followers = followers
        # The ends of commands that have ended do not change any more.
        self._kept: OrderedDict[str, _Tails] = OrderedDict()
        self._kept_bytes = 0

    async def all(self) -> list[dict[str, Any]]:
        """Return the rows of every command, oldest first; of those that were waited for in
        one request only while they run."""
        chosen = self._chosen()
        rows: list[dict[str, Any]] = []
        left = _LISTED_BYTES
        for command, spec in reversed(chosen):
            tails = await self._tails(command) if left > 0 else ("", "", True, True)
            left -= len(tails[0]) + len(tails[1])
            rows.append(_row(command, spec, tails))
        return rows[::-1]

    def _chosen(self) -> list[tuple[Command, _Spec]]:
        found: list[tuple[Command, _Spec]] = []
        after: str | None = ""
        while after is not None:
            page, after = self._board.page(after=after)
            for command in page:
                spec = _spec.decode(command.spec)
                waited_for = spec.tags.get(KIND) in {"run", "stream", "terminal"}
                if command.exit is None or not waited_for:
                    found.append((command, spec))
        found.sort(key=lambda pair: pair[1].created_at)
        return found[-MAX_ROWS:]

    async def _tails(self, command: Command) -> _Tails:
        kept = self._kept.get(command.process_id)
        if kept is not None:
            return kept
        ended = command.exit is not None
        tails = await self._read(command)
        if ended and command.process_id not in self._kept:  # by another meanwhile
            self._kept[command.process_id] = tails
            self._kept_bytes += len(tails[0]) + len(tails[1])
            while self._kept_bytes > _LISTED_BYTES or len(self._kept) > MAX_ROWS:
                old = self._kept.popitem(last=False)[1]
                self._kept_bytes -= len(old[0]) + len(old[1])
        return tails

    async def _read(self, command: Command) -> _Tails:
        position = START
        # Behind the spec a record begins at every block's start.
        block = (command.end - _LOOK_BYTES) // BLOCK * BLOCK
        if block > len(command.spec) + 2 * BLOCK:
            position = Position(block, UNKNOWN, UNKNOWN)
        streams = HeadTail(2 * TAIL_BYTES), HeadTail(2 * TAIL_BYTES)
        sizes = [0, 0]
        with self._followers.follow(command.process_id, position) as follower:
            while (event := await follower.next(until=command.end)) is not None:
                if isinstance(event, (Stdout, Stderr)):
                    index = 0 if isinstance(event, Stdout) else 1
                    streams[index].add(event.data)
                    sizes[index] += len(event.data)
        whole = position is START
        stdout, stderr = (s.bytes()[-TAIL_BYTES:].decode(errors="replace") for s in streams)
        return (
            stdout,
            stderr,
            not whole or sizes[0] > TAIL_BYTES,
            (not whole or sizes[1] > TAIL_BYTES),
        )


def _row(command: Command, spec: _Spec, tails: _Tails) -> dict[str, Any]:
    process_id, text = command.process_id, text_of(spec.command)[:_TEXT]
    exit_ = None
    if command.exit is not None:
        exit_ = Exit.from_payload(msgspec.json.decode(command.exit))
    begun = command.started_at or spec.created_at
    now = time.time() if exit_ is None else exit_.ended_at or begun
    seconds = max(0.0, now - begun)
    if exit_ is not None and exit_.duration is not None:
        seconds = exit_.duration
    # HopX has no word for one whose end is not known.
    status = "failed" if command.status == "lost" else command.status
    ended = None if exit_ is None else stamp(exit_.ended_at or begun)
    stdout, stderr, more_out, more_err = tails
    return {
        "process_id": process_id,
        "processId": process_id,
        "execution_id": execution_id(process_id),
        "pid": command.pid or 0,
        "name": spec.name or text.partition("\n")[0][:80],
        "command": text,
        "language": spec.tags.get(LANGUAGE, "shell"),
        "status": status,
        "exit_code": None if exit_ is None else code_of(exit_),
        "timed_out": exit_ is not None and exit_.reason in {"timed_out", "idle_timed_out"},
        "signal": None if exit_ is None else exit_.signal,
        "reason": None if exit_ is None else exit_.reason,
        **dict.fromkeys(("start_time", "started_at"), stamp(begun)),
        **dict.fromkeys(("end_time", "completed_at"), ended),
        **dict.fromkeys(("duration", "execution_time"), round(seconds, 6)),
        "timeout": spec.timeout,
        "workdir": spec.working_dir or "/workspace",
        "stdout": stdout,
        "stderr": stderr,
        "stdout_truncated": more_out,
        "stderr_truncated": more_err,
        "cpu_percent": 0.0,
        "memory_mb": 0.0,
        "user": "",
    }
