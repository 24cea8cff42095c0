"""One thread's loop: epoll for descriptors, a heap for timers, a wake-up pipe for signals."""

from __future__ import annotations

import heapq
import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[int], object]

__all__ = ["Loop", "Timer"]

_EVENTS_PER_TURN = 256
# Cancelled timers stay in the heap until they are due or until they are the greater part of it.
_FEW_TIMERS = 256
# epoll takes milliseconds in an int, which is not even a month. It only looks again sooner.
_LONGEST_WAIT = 24 * 3600.0


class Timer:
    """An action that is due at a monotonic time, unless it is cancelled before."""

    __slots__ = ("_loop", "action", "when")

    def __init__(self, loop: Loop, when: float, action: Callable[[], object]) -> None:
        self._loop = loop
        self.when = when
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        """Make it never run. Harmless when it ran or was cancelled before."""
        if self.action is not None:
            self.action = None
            self._loop.count_cancelled()


class Loop:
    """Calls handlers of ready descriptors, then due timers; the owner drives it turn by turn.

    An event may be spurious (the descriptor's number may have changed hands within a
    turn), hence handlers read without blocking and take "nothing there" for an answer.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        # By descriptor: these are small numbers, and a list takes less than a table.
        self._handlers: list[Handler | None] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._timers_made = 0
        self._cancelled = 0

    # Descriptors.

    def add(self, fd: int, handler: Handler, mask: int = select.EPOLLIN) -> None:
        """Call ``handler(events)`` whenever *fd* is ready for *mask*."""
        self._epoll.register(fd, mask)
        if fd >= len(self._handlers):
            self._handlers += [None] * (fd + 1 - len(self._handlers))
        self._handlers[fd] = handler

    def modify(self, fd: int, mask: int) -> None:
        """Wait for other events of *fd*."""
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Stop waiting for *fd*, which stays open."""
        if fd < len(self._handlers) and self._handlers[fd] is not None:
            self._handlers[fd] = None
            self._epoll.unregister(fd)

    def close(self, fd: int) -> None:
        """Stop waiting for *fd* and close it."""
        # Closing alone would not do: a child that is just being spawned holds a copy for a
        # moment longer, and events of the old file would reach who gets the number next.
        self.remove(fd)
        os.close(fd)

    # Timers.

    def call_at(self, when: float, action: Callable[[], object]) -> Timer:
        """Run *action* once the monotonic clock has reached *when*."""
        timer = Timer(self, when, action)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def call_later(self, delay: float, action: Callable[[], object]) -> Timer:
        """Run *action* in *delay* seconds."""
        return self.call_at(time.monotonic() + delay, action)

    def count_cancelled(self) -> None:
        """Note that a timer in the heap will not run (for :class:`Timer`)."""
        self._cancelled += 1
        if self._cancelled > max(_FEW_TIMERS, len(self._timers) // 2):
            self._timers = [entry for entry in self._timers if entry[2].action is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    # Signals.

    def catch(self, actions: dict[int, Callable[[], object]]) -> None:
        """Run the action of a signal in the turn after it came, however many came meanwhile."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in actions:
            # The handler only has to exist: the C part of it writes to the wake-up pipe.
            signal.signal(number, _nothing)

        def woken(_events: int) -> None:
            try:
                came = os.read(reader, 4096)
            except BlockingIOError:
                return
            for number in set(came):
                actions.get(number, _nothing)()

        self.add(reader, woken)

    # Turns.

    def turn(self, *, wait: bool = True) -> None:
        """Wait until something is ready or due (not at all if *wait* is false) and handle it."""
        for fd, events in self._epoll.poll(self._patience() if wait else 0, _EVENTS_PER_TURN):
            handler = self._handlers[fd]
            if handler is not None:
                handler(events)
        if self._timers:
            self._run_due()

    def _patience(self) -> float | None:
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
            self._cancelled = max(0, self._cancelled - 1)
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0][0] - time.monotonic()), _LONGEST_WAIT)

    def _run_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            action, timer.action = timer.action, None
            if action is None:
                self._cancelled = max(0, self._cancelled - 1)
            else:
                action()


def _nothing(*_args: object) -> None:
    return None
