"""A keeper's index: one line per start and one per end, so that an agent need not open logs.

It is a hint. When it cannot be written it counts as broken, and whoever wants to know
looks at the logs themselves.
"""

from __future__ import annotations

import json
import os
import time

from hopx_async.protocol import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["Index", "end_line", "gone_line", "start_line"]


def start_line(process_id: str, spec: str, pid: int | None, started_at: float | None) -> str:
    """Return the line of a command that was started, or could not be (then without pid)."""
    head = f'{{"id":"{process_id}","spec":{spec}'
    if pid is None:
        return f'{head},"pid":null,"started_at":null}}'
    return f'{head},"pid":{pid},"started_at":{started_at!r}}}'


def end_line(process_id: str, end: int, size: int, outcome: str) -> str:
    """Return the line of an end, whose record is the last *size* bytes; *outcome* is its JSON."""
    head = f'{{"id":"{process_id}","end":{end},"last":[{end - size},{size}]'
    return f'{head},"exit":{outcome}}}'


def gone_line(process_id: str, at: float) -> str:
    """Return the line of a command that was forgotten at the Unix time *at*."""
    return f'{{"id":"{process_id}","gone":{at!r}}}'


class Index:
    """Appends to ``STATE/index.N``; lines are written when :meth:`flush` is called.

    Args:
        state_dir: The state directory.
        number: The keeper's.
    """

    def __init__(self, state_dir: str, number: int) -> None:
        self._name = f"index.{number}"
        self._state_dir = state_dir
        self._fd = self._open(self._name)
        #: Bytes of the file.
        self.size = os.fstat(self._fd).st_size
        self._lines: list[str] = []
        self._broken = False

    @property
    def valid_bytes(self) -> int | None:
        """Bytes of the file that can be trusted, None when it is broken."""
        return None if self._broken else self.size

    def ends(self) -> dict[str, float]:
        """Return the ids whose end the file tells, with the Unix time; cut a torn last line off."""
        return self._own().times

    def _own(self) -> _Lines:
        read = _Lines()
        read.take(self._fd)
        if read.whole != self.size:
            os.ftruncate(self._fd, read.whole)
            self.size = read.whole
        return read

    def ended(self) -> dict[str, int]:
        """Return the ids whose end this or another keeper's file tells, with the log offset behind.

        A torn last line is cut off; in the others' files, whose keepers may be writing, it
        is ignored.
        """
        ended = self._own().log_ends
        for name in self._others():
            read = _Lines()
            read.take_file(f"{self._state_dir}/{name}")
            ended |= read.log_ends
        return ended

    def take_over(self) -> None:
        """Take the lines of all other files over, which nobody writes any more.

        What cannot be written now is found in the logs.
        """
        others = self._others()
        read = _Lines()
        read.take(self._fd)
        for name in others:
            read.take_file(f"{self._state_dir}/{name}")
        if self._rewrite(read, read.times):
            for name in others:
                os.unlink(f"{self._state_dir}/{name}")

    def compact(self, kept: Container[str]) -> None:
        """Write the file anew without the lines of commands that are not *kept*.

        An agent that reads meanwhile finds either file whole. Tombstones stay for their time.
        """
        self.flush()
        read = _Lines()
        read.take(self._fd)
        self._rewrite(read, kept)

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
            whole = os.pwrite(self._fd, data, self.size) == len(data)
        except OSError:
            whole = False
        if whole:
            self.size += len(data)
        else:
            # A hint with a hole would mislead; the next keeper makes it whole again.
            self._broken = True

    def _open(self, name: str) -> int:
        return os.open(f"{self._state_dir}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _others(self) -> list[str]:
        # A draft that a keeper left behind has a name of another kind.
        names = os.listdir(self._state_dir)
        return [name for name in names if name.startswith("index.") and name != self._name]

    def _rewrite(self, read: _Lines, kept: Container[str]) -> bool:
        data = b"".join(read.lines(kept))
        draft = f"draft-{self._name}"
        fd = self._open(draft)
        try:
            os.ftruncate(fd, 0)
            whole = os.pwrite(fd, data, 0) == len(data)
            if whole:
                os.rename(f"{self._state_dir}/{draft}", f"{self._state_dir}/{self._name}")
        except OSError:
            whole = False
        if not whole:
            # No room for another; the one that is there is as true.
            os.close(fd)
            return False
        os.close(self._fd)
        self._fd, self.size = fd, len(data)
        return True


class _Lines:
    """What index files say, by id."""

    def __init__(self) -> None:
        #: Size of the whole lines of the file read last.
        self.whole = 0
        #: When those ended whose end is told, and which were not forgotten.
        self.times: dict[str, float] = {}
        #: Log offsets behind their ends.
        self.log_ends: dict[str, int] = {}
        self._starts: dict[str, bytes] = {}
        self._ends: dict[str, bytes] = {}
        self._gone: dict[str, tuple[float, bytes]] = {}

    def take_file(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.take(fd)
        finally:
            os.close(fd)

    def take(self, fd: int) -> None:
        self.whole = 0
        with open(fd, "rb", closefd=False) as file:
            file.seek(0)
            for line in file:
                entry = _parse(line)
                if entry is None:
                    break
                self.whole += len(line)
                self._take(str(entry.get("id")), entry, line)

    def lines(self, kept: Container[str]) -> list[bytes]:
        """Return the lines of *kept* commands, and the youngest tombstones in their order."""
        oldest = time.time() - records.TOMBSTONE_SECONDS
        young = [one for one in self._gone.values() if one[0] > oldest]
        young = sorted(young)[-records.MAX_TOMBSTONES :]
        found = [line for _, line in young]
        for process_id, line in self._starts.items():
            if process_id in kept:
                found.append(line)
                if process_id in self._ends:
                    found.append(self._ends[process_id])
        return found

    def _take(self, process_id: str, entry: dict[str, object], line: bytes) -> None:
        if "spec" in entry:
            self._starts[process_id] = line
        elif "last" in entry:
            self._ends[process_id] = line
            outcome = entry.get("exit")
            at = outcome.get("ended_at") if isinstance(outcome, dict) else None
            self.times[process_id] = at if isinstance(at, (int, float)) else 0.0
            end = entry.get("end")
            self.log_ends[process_id] = end if isinstance(end, int) else 0
        elif "gone" in entry:
            at = entry["gone"]
            self._gone[process_id] = (at if isinstance(at, (int, float)) else 0.0, line)
            for known in (self._starts, self._ends, self.times, self.log_ends):
                known.pop(process_id, None)


def _parse(line: bytes) -> dict[str, object] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
