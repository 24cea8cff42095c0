"""Who is left of a command: one pass over /proc for any number of commands."""

from __future__ import annotations

from hopx_async.keeper import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

    Wanted = dict[str, dict[str, Any]]
    Found = dict[str, list[tuple[int, int, str]]]

__all__ = ["EVERYTHING", "MOST_LOOKS", "Scanner"]

#: The id that stands for all commands of one keeper.
EVERYTHING = "*"
#: Looks of one round; where processes are born all the time, somebody new is always there.
MOST_LOOKS = 8


class Scanner:
    """Finds the living processes of commands.

    A process belongs to a command if it is its leader or known to be its own, if it has
    the command's mark or scope, or if it descends from one that does.

    Args:
        nonce: The sandbox's part of the scopes.
        outer: The scopes around the sandbox, "" for none.
        base: The keeper: a subreaper, so that all processes of its commands descend from it.
        own: Processes that are never part of a command: root, keepers, agent.
    """

    def __init__(self, nonce: str, outer: str, base: int, own: Container[int]) -> None:
        self._nonce = nonce
        self._outer = outer
        self._base = base
        self._own = own

    def scan(self, wanted: Wanted) -> Found:
        """Return pid, start ticks and name of what is left of each wanted command.

        Args:
            wanted: By process id (or ``EVERYTHING``): ``leader`` and ``start_ticks`` (or
                None), and ``known``, pairs of pid and start ticks.
        """
        seeds: dict[str, set[int]] = {process_id: set() for process_id in wanted}
        stats = self._look(seeds)
        for process_id, ask in wanted.items():
            seeds[process_id] |= _named(ask, stats)
        if EVERYTHING in seeds:
            seeds[EVERYTHING].add(self._base)
        below: dict[int, list[int]] = {}
        for pid, stat in stats.items():
            below.setdefault(stat.ppid, []).append(pid)
        return {
            process_id: [
                (pid, stats[pid].start_ticks, stats[pid].name)
                for pid in _closure(seeds[process_id], below)
                if pid in stats and pid not in self._own
            ]
            for process_id in wanted
        }

    def _look(self, seeds: dict[str, set[int]]) -> dict[int, proc.Stat]:
        """Return the living, and add those with a command's mark or scope to its *seeds*.

        Who was born while the others were looked at is looked at as well, and each is asked
        for everything at once: a process that hands on to a child and ends, again and again,
        is to be missed by no round.
        """
        marks: dict[int, str] = {}
        scopes: dict[str, str] = {}
        for process_id in seeds:
            if process_id != EVERYTHING:
                value = proc.scope_value(self._outer, self._nonce, process_id)
                marks[proc.mark_of(value)] = process_id
                scopes[proc.scope_of(self._nonce, process_id)] = process_id
        stats: dict[int, proc.Stat] = {}
        seen: set[int] = set()
        for _ in range(MOST_LOOKS):
            born = [pid for pid in proc.pids() if pid not in seen]
            if not born:
                break
            seen.update(born)
            for pid in born:
                stat = proc.read_stat(pid)
                # A zombie's children have been handed on, hence the dead can be left out.
                if stat is not None and not stat.dead:
                    stats[pid] = stat
                    for process_id in self._claims(pid, marks, scopes) if scopes else ():
                        seeds[process_id].add(pid)
        return stats

    def _claims(self, pid: int, marks: dict[int, str], scopes: dict[str, str]) -> list[str]:
        claims = []
        mark = proc.read_mark(pid)
        if mark in marks:
            claims.append(marks[mark])
        claims += [scopes[entry] for entry in proc.read_scopes(pid) if entry in scopes]
        return claims


def _named(ask: dict[str, Any], stats: dict[int, proc.Stat]) -> set[int]:
    known: list[Any] = [(ask.get("leader"), ask.get("start_ticks")), *ask.get("known", ())]
    # Pids are used again; the start time says whether it is still the same process.
    return {
        pid
        for pid, ticks in known
        if isinstance(pid, int) and pid in stats and stats[pid].start_ticks == ticks
    }


def _closure(seeds: set[int], below: dict[int, list[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(seeds)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += below.get(pid, ())
    return found
