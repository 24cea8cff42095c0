"""Ending everything at once: what a keeper that died has left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from hopx_async.keeper import proc
from hopx_async.keeper.scan import EVERYTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hopx_async.keeper.scan import Scanner

__all__ = ["sweep"]

_GIVE_UP_AFTER = 10.0
_EMPTY_ROUNDS = 2
_ROUND = 1.0


def sweep(scanner: Scanner) -> list[tuple[int, str]]:
    """Send SIGKILL to every process of every command until two looks find nobody.

    Their output has nowhere to go any more, hence there is no grace. Blocks for 10 s at most.

    Returns:
        Pid and name of those that did not end.
    """
    deadline = time.monotonic() + _GIVE_UP_AFTER
    empty_rounds = 0
    while True:
        left = scanner.scan({EVERYTHING: {}})[EVERYTHING]
        if not left:
            empty_rounds += 1
            if empty_rounds >= _EMPTY_ROUNDS:
                return []
            continue
        empty_rounds = 0
        if time.monotonic() > deadline:
            return [(pid, name) for pid, _, name in left]
        _kill_and_wait(left)


def _kill_and_wait(left: list[tuple[int, int, str]]) -> None:
    poll = select.poll()
    fds = []
    for pid, ticks, _ in left:
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid)
            fds.append(fd)
            poll.register(fd, select.POLLIN)
            # Only now the pid cannot change hands; is it still the same process?
            stat = proc.read_stat(pid)
            if stat is not None and stat.start_ticks == ticks:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
    deadline = time.monotonic() + _ROUND
    waiting = len(fds)
    while waiting and (patience := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(patience * 1000):
            poll.unregister(fd)
            waiting -= 1
    for fd in fds:
        os.close(fd)
