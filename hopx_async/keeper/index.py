"""A keeper's index: one line per start and one per end, so that an agent need not open logs.

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
    """Appends to ``STATE/index.N``; lines are written when :meth:`flush` is called.

    Args:
        state_dir: The state directory.
        number: The keeper's.
    """

    def __init__(self, state_dir: str, number: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._name = f"index.{number}"
        self._state_dir = state_dir
        self._fd = os.open(f"{state_dir}/{self._name}", flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._lines: list[str] = []
        self._broken = False

    @property
    def valid_bytes(self) -> int | None:
        """Bytes of the file that can be trusted, None when it is broken."""
        return None if self._broken else self._size

    def ended_ids(self) -> set[str]:
        """Return the ids whose end this or another keeper's file tells.

        A torn last line is cut off; in the others' files, whose keepers may be writing, it
        is ignored.
        """
        ended: set[str] = set()
        whole = _take_ends(self._fd, ended)
        if whole != self._size:
            os.ftruncate(self._fd, whole)
            self._size = whole
        for name in os.listdir(self._state_dir):
            if name.startswith("index.") and name != self._name:
                fd = os.open(f"{self._state_dir}/{name}", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    _take_ends(fd, ended)
                finally:
                    os.close(fd)
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


def _take_ends(fd: int, ended: set[str]) -> int:
    """Add the ids whose end a file tells to *ended*; return the size of its whole lines."""
    whole = 0
    with open(fd, "rb", closefd=False) as file:
        for line in file:
            entry = _parse(line)
            if entry is None:
                break
            whole += len(line)
            if "last" in entry:
                ended.add(str(entry.get("id")))
    return whole


def _parse(line: bytes) -> dict[str, object] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
