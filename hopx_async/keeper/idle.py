"""The limit on how long a command may print nothing."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hopx_async.keeper.loop import Loop, Timer

__all__ = ["Idle"]


class Idle:
    """Watches one command by one timer, which is not set anew with every output.

    Args:
        loop: Its loop.
        seconds: How long the command may print nothing.
        fds: Returns the descriptors of its outputs; what waits there unread is output, too.
        run_out: Called once when it has printed nothing for so long.
    """

    __slots__ = ("_fds", "_held_at", "_last", "_loop", "_run_out", "_seconds", "_stopped", "_timer")

    def __init__(
        self,
        loop: Loop,
        seconds: float,
        fds: Callable[[], Iterable[int]],
        run_out: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._fds = fds
        self._run_out = run_out
        self._last = time.monotonic()
        self._held_at: float | None = None
        self._stopped = False
        self._timer: Timer | None = loop.call_at(self._last + seconds, self._look)

    def touched(self) -> None:
        """Note that there was output."""
        self._last = time.monotonic()

    def hold(self) -> None:
        """Stop the clock: its output is held back by us, not by the command."""
        if self._held_at is None and not self._stopped:
            self._held_at = time.monotonic()

    def go_on(self) -> None:
        """Let the clock run again."""
        if self._held_at is not None:
            self._last += time.monotonic() - self._held_at
            self._held_at = None
            if self._timer is None:
                self._timer = self._loop.call_at(self._last + self._seconds, self._look)

    def stop(self) -> None:
        """Watch no more. May be called again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Nor does `go_on` begin anew, although the rest of the output may be held back, too.
        self._stopped = True
        self._held_at = None

    def _look(self) -> None:
        self._timer = None
        if self._held_at is not None:
            return
        now = time.monotonic()
        if now < self._last + self._seconds:
            self._timer = self._loop.call_at(self._last + self._seconds, self._look)
        elif _readable(self._fds()):
            # We are late, not the command: its output waits for its turn.
            self._timer = self._loop.call_at(now + self._seconds, self._look)
        else:
            self._run_out()


def _readable(fds: Iterable[int]) -> bool:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))
