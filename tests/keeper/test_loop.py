from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import Self

from hopx_async.keeper.loop import Loop


class _Loop(Loop):
    """A loop that can be thrown away."""

    def __exit__(self, *_: object) -> None:
        self._epoll.close()

    def __enter__(self) -> Self:
        return self


def test_ready_descriptor_is_handled() -> None:
    """turn calls the handler of a descriptor with its events."""
    reader, writer = os.pipe()
    with _Loop() as loop:
        seen: list[int] = []
        loop.add(reader, seen.append)
        os.write(writer, b"x")
        loop.turn()
        os.close(writer)
        loop.turn()
        loop.close(reader)
        loop.turn(wait=False)

    assert [events & select.EPOLLIN for events in seen] == [select.EPOLLIN] * 2
    assert seen[1] & select.EPOLLHUP


def test_removed_descriptor_is_not_handled() -> None:
    """A descriptor that was removed stays open and is not looked at; removing twice is fine."""
    reader, writer = os.pipe()
    with _Loop() as loop:
        seen: list[int] = []
        loop.add(reader, seen.append)
        loop.remove(reader)
        loop.remove(reader)
        os.write(writer, b"x")
        loop.turn(wait=False)
        assert os.read(reader, 1) == b"x"
    os.close(reader)
    os.close(writer)

    assert seen == []


def test_closed_descriptor_is_forgotten_although_a_copy_lives() -> None:
    """close takes a descriptor out of the loop even while a child still holds a copy of it.

    Else the events of the old pipe would reach the handler that gets its number next.
    """
    reader, writer = os.pipe()
    copy = os.dup(reader)
    with _Loop() as loop:
        seen: list[str] = []
        loop.add(reader, lambda _: seen.append("old"))
        loop.close(reader)
        again, other = os.pipe()
        if again != reader:
            again = os.dup2(again, reader)
        loop.add(again, lambda _: seen.append("new"))
        os.close(writer)
        loop.turn(wait=False)
        for fd in (copy, other):
            os.close(fd)
        loop.close(again)

    assert seen == []


def test_timers_run_in_order_once() -> None:
    """Due timers run once each, the earliest first, equal ones in the order of their making."""
    with _Loop() as loop:
        now = time.monotonic()
        seen: list[str] = []
        loop.call_at(now - 1, lambda: seen.append("b"))
        loop.call_at(now - 2, lambda: seen.append("a"))
        loop.call_at(now - 1, lambda: seen.append("c"))
        loop.turn()
        loop.turn(wait=False)

    assert seen == ["a", "b", "c"]


def test_cancelled_timer_does_not_run() -> None:
    """A cancelled timer neither runs nor keeps the loop awake for it."""
    with _Loop() as loop:
        seen: list[str] = []
        loop.call_later(0.0, lambda: seen.append("x")).cancel()
        kept = loop.call_later(0.0, lambda: seen.append("kept"))
        loop.turn()
        kept.cancel()
        loop.turn(wait=False)

    assert seen == ["kept"]


def test_cancelled_timers_do_not_pile_up() -> None:
    """The heap stays small however many distant timers are made and cancelled."""
    with _Loop() as loop:
        for _ in range(10_000):
            loop.call_later(3600.0, int).cancel()

        assert len(loop._timers) < 1000


def test_timer_may_be_years_away() -> None:
    """A turn waits for descriptors although the next timer is farther off than epoll can wait."""
    reader, writer = os.pipe()
    with _Loop() as loop:
        seen: list[int] = []
        loop.add(reader, seen.append)
        loop.call_later(10 * 365 * 24 * 3600.0, int)
        loop.call_later(sys.float_info.max, int)
        os.write(writer, b"x")
        loop.turn()
    os.close(reader)
    os.close(writer)

    assert len(seen) == 1


def test_signals_are_handled_in_the_loop() -> None:
    """A caught signal's action runs in a turn, once for many signals, not in the handler."""
    before = signal.getsignal(signal.SIGUSR1)
    with _Loop() as loop:
        seen: list[str] = []
        loop.catch({signal.SIGUSR1: lambda: seen.append("usr1")})
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == []
        loop.turn()
        writer = signal.set_wakeup_fd(-1)
        os.close(writer)
        for reader in [fd for fd, one in enumerate(loop._handlers) if one is not None]:
            os.close(reader)
    signal.signal(signal.SIGUSR1, before)

    assert seen == ["usr1"]
