"""What the processes of commands use at this moment, by psutil."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

__all__ = ["measure"]


def measure(leaders: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return the figures of whole trees, by the key of their leader.

    To a tree belong the leader's descendants and, as far as it can be seen, those that
    have left it and carry its mark. It blocks: one look at every process of the machine.

    Args:
        leaders: Keys to pids. A leader that has gone is left out of the answer.
    """
    import psutil

    processes = {process.pid: process for process in psutil.process_iter()}
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        try:
            children.setdefault(process.ppid(), []).append(pid)
        except psutil.Error:
            continue  # it has just ended
    trees = {key: _descendants(pid, children) for key, pid in leaders.items() if pid in processes}
    _add_escaped(trees, leaders, processes)
    return {key: _sum(processes[pid] for pid in tree) for key, tree in trees.items()}


def _descendants(pid: int, children: Mapping[int, list[int]]) -> set[int]:
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def _add_escaped(
    trees: dict[str, set[int]],
    leaders: Mapping[str, int],
    processes: Mapping[int, psutil.Process],
) -> None:
    """Add what has left a tree, but carries the mark that its leader was given."""
    import psutil

    marks = {key: _mark(processes[leaders[key]]) for key in trees}
    # A mark that others have as well, we ourselves among them, marks nothing.
    counted = Counter(marks.values())
    useless = {None, psutil.RLIM_INFINITY, _mark(psutil.Process())}
    keys = {mark: key for key, mark in marks.items() if counted[mark] == 1 and mark not in useless}
    if not keys:
        return
    known: set[int] = set()
    known.update(*trees.values())
    for pid, process in processes.items():
        if pid not in known and (key := keys.get(_mark(process))) is not None:
            trees[key].add(pid)


def _mark(process: psutil.Process) -> int | None:
    import psutil

    try:
        # File locks: a limit that Linux does not use any more; the keeper sets it.
        return process.rlimit(psutil.RLIMIT_LOCKS)[0]
    except (psutil.Error, OSError):
        return None


def _sum(processes: Iterable[psutil.Process]) -> dict[str, Any]:
    cpu, resident = 0.0, 0
    read: int | None = 0
    written: int | None = 0
    for process in processes:
        figures = _figures_of(process)
        if figures is None:
            continue
        cpu += figures[0]
        resident += figures[1]
        # Of what one of them may not show, the sum is not known.
        read = None if read is None or figures[2] is None else read + figures[2]
        written = None if written is None or figures[3] is None else written + figures[3]
    return {
        "cpu_seconds": round(cpu, 6),
        "rss_bytes": resident,
        "read_bytes": read,
        "write_bytes": written,
    }


def _figures_of(process: psutil.Process) -> tuple[float, int, int | None, int | None] | None:
    """Return seconds, resident bytes, bytes read and written of one; None if it has gone."""
    import psutil

    try:
        with process.oneshot():
            times = process.cpu_times()
            resident = process.memory_info().rss
            # Children that have ended and were waited for count for their parent.
            seconds = times.user + times.system + times.children_user + times.children_system
            try:
                moved = process.io_counters()
            except (psutil.AccessDenied, NotImplementedError, OSError):
                return seconds, resident, None, None
            return seconds, resident, moved.read_bytes, moved.write_bytes
    except psutil.Error:
        return None
