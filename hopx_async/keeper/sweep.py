"""Ending what dead keepers have left behind, of this root or of one before it."""

from __future__ import annotations

import os

from hopx_async.keeper import proc
from hopx_async.keeper.kill import Killer
from hopx_async.keeper.scan import MOST_LOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from hopx_async.keeper.loop import Loop
    from hopx_async.keeper.scan import Found, Wanted

__all__ = ["Sweeper", "strangers", "strays"]

_STRANGERS = "strangers"


class Sweeper:
    """Kills strays in the root's loop, which goes on meanwhile.

    The root is a subreaper: what a dead keeper leaves behind becomes the root's, whatever
    it has done to hide. The commands of keepers that live stay below those.

    Args:
        loop: Where it waits.
        own: Processes of ours, which are no strays.
        nonce: The sandbox's part of the scopes.
    """

    def __init__(self, loop: Loop, own: Container[int], nonce: str) -> None:
        self._loop = loop
        self._own = own
        self._nonce = nonce
        self._marks: Container[int] = ()
        self._killer = Killer(loop, self._ask, self._look, {}, lambda _: [])

    def sweep(self, number: int, done: Callable[[list[tuple[int, str]]], object]) -> None:
        """Kill until two looks find nobody, then call *done* with those that would not end.

        Output of theirs has nowhere to go any more, hence there is no grace.
        """
        self._killer.kill(str(number), 0.0, done)

    def sweep_strangers(
        self, marks: Container[int], done: Callable[[list[tuple[int, str]]], object]
    ) -> None:
        """Kill what commands of an earlier root have left, which had these *marks*."""
        self._marks = marks
        self._killer.kill(_STRANGERS, 0.0, done)

    def _ask(self, wanted: Wanted) -> None:
        self._loop.call_later(0.0, lambda: self._killer.scanned(self._look(wanted)))

    def _look(self, wanted: Wanted) -> Found:
        found = dict.fromkeys(wanted, strays(self._own))
        if _STRANGERS in wanted:
            found[_STRANGERS] = strangers(self._nonce, self._marks)
        return found


def strays(own: Container[int]) -> list[tuple[int, int, str]]:
    """Return pid, start ticks and name of this process's living descendants.

    Processes of *own*, and what is below them, are left out. Who became a child of this
    process while the others were looked at is looked at as well.
    """
    found: list[tuple[int, int, str]] = []
    seen: set[int] = set()
    for _ in range(MOST_LOOKS):
        waiting = [pid for pid in proc.children(os.getpid()) if pid not in own and pid not in seen]
        if not waiting:
            break
        while waiting:
            pid = waiting.pop()
            stat = None if pid in seen else proc.read_stat(pid)
            seen.add(pid)
            if stat is not None and not stat.dead:
                found.append((pid, stat.start_ticks, stat.name))
                waiting += proc.children(pid)
    return found


def strangers(nonce: str, marks: Container[int]) -> list[tuple[int, int, str]]:
    """Return pid, start ticks and name of processes of the sandbox that are not below this one.

    They have one of its *marks*, or its *nonce* in their scope.
    """
    found: list[tuple[int, int, str]] = []
    for pid in proc.pids():
        ours = any(entry.startswith(f"{nonce}/") for entry in proc.read_scopes(pid))
        mark = proc.read_mark(pid)
        if ours or (mark is not None and mark in marks):
            stat = proc.read_stat(pid)
            if stat is not None and not stat.dead and _is_stranger(stat):
                found.append((pid, stat.start_ticks, stat.name))
    return found


def _is_stranger(stat: proc.Stat) -> bool:
    me = os.getpid()
    above: proc.Stat | None = stat
    while above is not None and above.ppid > 0:
        if above.ppid == me:
            return False
        above = proc.read_stat(above.ppid)
    # A parent that ended at this moment: the next look knows more.
    return above is not None
