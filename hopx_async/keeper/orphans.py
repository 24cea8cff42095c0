"""The orphans that the keeper has adopted: whose they are, and how many live."""

from __future__ import annotations

import os

from hopx_async.keeper import proc

__all__ = ["Orphans"]

# The kernel hands out this file in pieces of about a page.
_PIECE = 65536


class Orphans:
    """Children of this process that are no leaders.

    The keeper is a subreaper: when a leader ends, what it leaves behind becomes the
    keeper's. A child is looked at once, when it is first seen, and remembered until it is
    reaped; only the keeper reaps it, so its pid cannot change hands in between.
    """

    def __init__(self) -> None:
        self._me = os.getpid()
        # The first thread's, which has the number of the process: there orphans arrive.
        path = f"/proc/self/task/{self._me}/children"
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1
        self._marks: dict[int, str] = {}
        self._leaders: dict[int, str] = {}
        self._owners: dict[int, tuple[str, int]] = {}
        self._children: list[int] | None = None

    def expect(self, process_id: str, leader: int, mark: int) -> None:
        """Know the command's processes by *mark*, or by the session of *leader*."""
        self._marks[mark] = process_id
        self._leaders[leader] = process_id

    def forget(self, leader: int, mark: int) -> None:
        """Expect no new orphans of the command, which has ended."""
        self._marks.pop(mark, None)
        self._leaders.pop(leader, None)

    def changed(self) -> None:
        """Look anew when next asked: processes have ended."""
        self._children = None

    def reaped(self, pid: int) -> None:
        """Note that *pid* is gone."""
        self._owners.pop(pid, None)

    def known(self, process_id: str) -> list[tuple[int, int]]:
        """Return pid and start ticks of the command's orphans seen so far."""
        return [(pid, ticks) for pid, (owner, ticks) in self._owners.items() if owner == process_id]

    def count(self, process_id: str) -> int:
        """Return how many processes live on behind the command's leader."""
        self._look()
        if not self._owners:
            return 0
        return sum(self._living(pid) for pid, _ in self.known(process_id))

    def _living(self, pid: int) -> int:
        stat = proc.read_stat(pid)
        if stat is None or stat.dead:
            return 0
        below = (proc.read_stat(child) for child in proc.descendants(pid))
        return 1 + sum(1 for stat in below if stat is not None and not stat.dead)

    def _look(self) -> None:
        if self._children is not None:
            return
        self._children = self._read()
        for pid in self._children:
            if pid not in self._leaders and pid not in self._owners:
                stat = proc.read_stat(pid)
                if stat is not None:
                    self._owners[pid] = (self._owner(pid, stat), stat.start_ticks)

    def _owner(self, pid: int, stat: proc.Stat) -> str:
        mark = proc.read_mark(pid)
        if mark in self._marks:
            return self._marks[mark]
        return self._leaders.get(stat.session) or self._leaders.get(stat.pgrp, "")

    def _read(self) -> list[int]:
        if self._file < 0:
            return proc.children(self._me)
        data = b""
        while piece := os.pread(self._file, _PIECE, len(data)):
            data += piece
        return [int(pid) for pid in data.split()]
