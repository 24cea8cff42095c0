"""The index: one line per start and one per end, so that an agent need not open logs.

It is a hint. When it cannot be written it counts as broken, and whoever wants to know
looks at the logs themselves.
"""

from __future__ import annotations

import json
import os

from hopx_async.keeper.channel import compact

__all__ = ["Index", "end_line", "start_line"]


def start_line(process_id: str, spec: str, pid: int | None, started_at: float | None) -> str:
    """Return the line of a command that was started, or could not be (then without pid)."""
    head = f'{{"id":"{process_id}","spec":{spec}'
    if pid is None:
        return f'{head},"pid":null,"started_at":null}}'
    return f'{head},"pid":{pid},"started_at":{compact(started_at)}}}'


def end_line(process_id: str, end: int, size: int, outcome: str) -> str:
    """Return the line of an end, whose record is the last *size* bytes; *outcome* is its JSON."""
    head = f'{{"id":"{process_id}","end":{end},"last":[{end - size},{size}]'
    return f'{head},"exit":{outcome}}}'


class Index:
    """Appends to ``STATE/index``; lines are written when :meth:`flush` is called."""

    def __init__(self, state_dir: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(f"{state_dir}/index", flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._lines: list[str] = []
        self._broken = False

    @property
    def valid_bytes(self) -> int | None:
        """Bytes of the file that can be trusted, None when it is broken."""
        return None if self._broken else self._size

    def ended_ids(self) -> set[str]:
        """Return the ids whose end the file tells; cut a torn last line off."""
        ended: set[str] = set()
        with open(self._fd, "rb", closefd=False) as file:
            whole = 0
            for line in file:
                entry = _parse(line)
                if entry is None:
                    break
                whole += len(line)
                if "last" in entry:
                    ended.add(str(entry.get("id")))
        if whole != self._size:
            os.ftruncate(self._fd, whole)
            self._size = whole
        return ended

    def add(self, line: str) -> None:
        """Append *line* with the next :meth:`flush`."""
        if not self._broken:
            self._lines.append(line)

    def flush(self) -> None:
        """Write what was added."""
        if not self._lines:
            return
        data = ("\n".join(self._lines) + "\n").encode("ascii")
        self._lines.clear()
        try:
            whole = os.pwrite(self._fd, data, self._size) == len(data)
        except OSError:
            whole = False
        if whole:
            self._size += len(data)
        else:
            # A hint with a hole would mislead; the next keeper makes it whole again.
            self._broken = True


def _parse(line: bytes) -> dict[str, object] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
