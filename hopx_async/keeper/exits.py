"""The payloads of starts and ends, as they stand in logs."""

from __future__ import annotations

import os
import resource
import signal
import time
from base64 import b64encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resource import struct_rusage

    from hopx_async.keeper.spawn import Spawned

__all__ = ["encode_tail", "failed_exit", "lost_exit", "signal_name", "started_payload", "totals"]

# What a zombie has read and written cannot be looked up any more; wait tells it in blocks.
_BLOCK = 512
# Without this file the kernel counts nothing, and a count of 0 would be an invention.
_COUNTS_IO = os.path.exists("/proc/self/io")


def totals(usage: struct_rusage) -> str:
    """Return what a leader and its reaped children have used, as JSON."""
    # Until it executes its program, a leader shares the keeper's memory, and the kernel
    # counts that as the leader's. So a peak that is not above the keeper's says nothing.
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = usage.ru_maxrss * 1024 if usage.ru_maxrss > ours else "null"
    seconds = usage.ru_utime + usage.ru_stime
    read, written = (f"{_BLOCK * count}" for count in (usage.ru_inblock, usage.ru_oublock))
    if not _COUNTS_IO:
        read = written = "null"
    return (
        f'{{"cpu_seconds":{seconds:.6f},"max_rss_bytes":{peak},'
        f'"read_bytes":{read},"write_bytes":{written}}}'
    )


def started_payload(spawned: Spawned, boot_id: str) -> bytes:
    """Return the payload of ``Started``."""
    text = f'{{"pid":{spawned.pid},"start_ticks":{spawned.start_ticks},"boot_id":"{boot_id}"}}'
    return text.encode("ascii")


def failed_exit(number: int, filename: str) -> dict[str, object]:
    """Return the exit of a command whose program could not be started."""
    return _exit_without_leader("spawn_failed", None, time.time(), number, filename)


def lost_exit(started_at: float | None, ended_at: float) -> dict[str, object]:
    """Return the exit of a command whose end nobody has seen, *ended_at* the last sign of it."""
    return _exit_without_leader("lost", started_at, ended_at, None, None)


def _exit_without_leader(
    reason: str, started_at: float | None, ended_at: float, number: int | None, filename: str | None
) -> dict[str, object]:
    return {
        "exit_code": None,
        "signal": None,
        "reason": reason,
        "started_at": started_at,
        "ended_at": ended_at,
        "duration": 0.0 if started_at is None else round(max(0.0, ended_at - started_at), 6),
        "survivors": 0,
        "errno": number,
        "filename": filename,
        "usage": None,
    }


def encode_tail(tail: list[tuple[str, bytes]]) -> list[list[str]]:
    """Return a tail as JSON can hold it."""
    return [[stream, b64encode(data).decode("ascii")] for stream, data in tail]


def signal_name(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        # Real-time signals have no names of their own but the first and the last.
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
