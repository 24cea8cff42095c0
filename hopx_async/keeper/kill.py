"""Kills with proof: TERM, grace, KILL, until two looks in a row find nobody."""

from __future__ import annotations

import contextlib
import errno
import os
import signal

from hopx_async.keeper import proc
from hopx_async.keeper.scan import EVERYTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hopx_async.keeper.command import Command
    from hopx_async.keeper.loop import Loop, Timer
    from hopx_async.keeper.scan import Found, Wanted

    Left = list[tuple[int, str]]

__all__ = ["GIVE_UP_AFTER", "Kill", "Killer"]

#: Seconds after KILL until a kill ends with saying who is left.
GIVE_UP_AFTER = 10.0
_EMPTY_ROUNDS = 2
# More are signalled, but only so many hold a descriptor; the next look finds the others.
_MOST_WATCHED = 256
_RECHECK_DELAY = 0.1


class Killer:
    """All kills under way; one scan at a time serves them all.

    Args:
        loop: Where they wait.
        ask: Sends a scan's question; its answer comes to :meth:`scanned`.
        look: Answers such a question at once, for when nobody else does.
        live: The commands that have not ended.
        known: Pid and start ticks of processes known to be a command's, by its id.
        slay: Ends all of a command at once where the kernel can; what it leaves is found.
    """

    def __init__(
        self,
        loop: Loop,
        ask: Callable[[Wanted], object],
        look: Callable[[Wanted], Found],
        live: dict[str, Command],
        known: Callable[[str], list[tuple[int, int]]],
        *,
        slay: Callable[[str], object] | None = None,
    ) -> None:
        self.loop = loop
        self.look = look
        self._ask = ask
        self._live = live
        self._known = known
        self.slay = slay or _one_by_one
        self._kills: dict[str, Kill] = {}
        self._asked: Wanted | None = None

    def kill(self, process_id: str, grace: float, done: Callable[[Left], object]) -> None:
        """End every process of the command, then call *done* with those that would not go.

        A kill that is under way is joined; the shorter grace holds.
        """
        kill = self._kills.get(process_id)
        if kill is None:
            kill = self._kills[process_id] = Kill(self, process_id)
            kill.done.append(done)
            kill.begin(grace)
        else:
            kill.done.append(done)
            kill.tighten(grace)
        self.request()

    def scanned(self, found: Found) -> None:
        """Take the answer of the scan that was asked for last."""
        asked, self._asked = self._asked or {}, None
        for process_id in asked:
            kill = self._kills.get(process_id)
            if kill is not None:
                kill.found(found.get(process_id, []))
        self.request()

    def request(self) -> None:
        """Ask for a scan if a kill wants one and none is on its way."""
        wanting = [kill.process_id for kill in self._kills.values() if kill.wants_scan]
        if wanting and self._asked is None:
            for process_id in wanting:
                self._kills[process_id].wants_scan = False
            self._asked = {process_id: self.wanted(process_id) for process_id in wanting}
            self._ask(self._asked)

    def ask_again(self) -> None:
        """Repeat the question that is open: whoever was asked has gone."""
        if self._asked is not None:
            self._ask(self._asked)

    def wanted(self, process_id: str) -> dict[str, Any]:
        """Return what a scan is told of the command."""
        command = self._live.get(process_id)
        leader = command.spawned if command is not None and not command.dead else None
        return {
            "leader": leader.pid if leader else None,
            "start_ticks": leader.start_ticks if leader else None,
            "known": self._known(process_id),
        }

    def leaders(self, process_id: str) -> list[Command]:
        """Return the commands concerned whose leaders are alive."""
        if process_id == EVERYTHING:
            concerned = list(self._live.values())
        else:
            concerned = [self._live[process_id]] if process_id in self._live else []
        return [command for command in concerned if not command.dead]

    def finished(self, kill: Kill) -> None:
        """Forget *kill*."""
        self._kills.pop(kill.process_id, None)


class Kill:
    """The killing of one command, or of everything."""

    def __init__(self, killer: Killer, process_id: str) -> None:
        self._killer = killer
        self.process_id = process_id
        #: Whether the next scan shall look for this one.
        self.wants_scan = True
        self.done: list[Callable[[Left], object]] = []
        self._killing = False
        self._empty_rounds = 0
        self._groups: set[int] = set()
        self._signalled: set[tuple[int, int]] = set()
        self._watched: dict[int, tuple[int, int, str]] = {}
        self._timer: Timer | None = None
        self._recheck: Timer | None = None

    def begin(self, grace: float) -> None:
        """Send TERM to the leader's group, or KILL if there is no grace."""
        if grace <= 0:
            self._escalate()
            return
        for command in self._killer.leaders(self.process_id):
            command.signal_group(signal.SIGTERM)
            # One that is stopped has to go on to hear of it.
            command.signal_group(signal.SIGCONT)
            # The scan's round leaves these out: a second TERM makes some programs give up early.
            self._groups.add(command.spawned.pid)
        self._timer = self._killer.loop.call_later(grace, self._escalate)

    def tighten(self, grace: float) -> None:
        """Let KILL come in at most *grace* seconds."""
        if not self._killing and self._timer is not None:
            sooner = self._killer.loop.call_later(grace, self._escalate)
            if sooner.when < self._timer.when:
                self._timer.cancel()
                self._timer = sooner
            else:
                sooner.cancel()

    def found(self, left: list[tuple[int, int, str]]) -> None:
        """Signal those who are left, and look again when they have gone."""
        if not left:
            self._empty_rounds += 1
            if self._empty_rounds >= _EMPTY_ROUNDS and not self._watched:
                self._finish([])
            else:
                self.wants_scan = not self._watched
            return
        self._empty_rounds = 0
        watched = {(pid, ticks) for pid, ticks, _ in self._watched.values()}
        for pid, ticks, name in left:
            if (pid, ticks) not in watched:
                self._catch(pid, ticks, name)
        self.wants_scan = not self._watched and self._recheck is None

    def _catch(self, pid: int, ticks: int, name: str) -> None:
        try:
            fd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno != errno.ESRCH:
                self._look_later()
            return
        # Only now the pid cannot change hands; is it still the same process?
        stat = proc.read_stat(pid)
        if stat is None or stat.start_ticks != ticks or stat.dead:
            os.close(fd)
            return
        if self._killing:
            _send(fd, signal.SIGKILL)
        elif stat.pgrp not in self._groups and (pid, ticks) not in self._signalled:
            self._signalled.add((pid, ticks))
            _send(fd, signal.SIGTERM)
            _send(fd, signal.SIGCONT)
        if len(self._watched) < _MOST_WATCHED:
            self._watched[fd] = (pid, ticks, name)
            self._killer.loop.add(fd, lambda _events: self._gone(fd))
        else:
            os.close(fd)

    def _gone(self, fd: int) -> None:
        del self._watched[fd]
        self._killer.loop.close(fd)
        if not self._watched:
            self.wants_scan = True
            self._killer.request()

    def _look_later(self) -> None:
        # No descriptor to be had: the one case in which time must do.
        if self._recheck is None:
            self._recheck = self._killer.loop.call_later(_RECHECK_DELAY, self._look_now)

    def _look_now(self) -> None:
        self._recheck = None
        self.wants_scan = True
        self._killer.request()

    def _escalate(self) -> None:
        self._killing = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._killer.loop.call_later(GIVE_UP_AFTER, self._give_up)
        for command in self._killer.leaders(self.process_id):
            command.signal_group(signal.SIGKILL)
        self._killer.slay(self.process_id)
        for fd in self._watched:
            _send(fd, signal.SIGKILL)
        self.wants_scan = True
        self._killer.request()

    def _give_up(self) -> None:
        found = self._killer.look({self.process_id: self._killer.wanted(self.process_id)})
        self._finish([(pid, name) for pid, _, name in found[self.process_id]])

    def _finish(self, left: Left) -> None:
        for timer in (self._timer, self._recheck):
            if timer is not None:
                timer.cancel()
        for fd in self._watched:
            self._killer.loop.close(fd)
        self._watched.clear()
        self._killer.finished(self)
        for done in self.done:
            done(left)


def _one_by_one(_process_id: str) -> None:
    return None


def _send(pidfd: int, number: int) -> None:
    # It may be gone meanwhile, or another user's: then it is among those who are left.
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(pidfd, number)
