"""The limit on silence, with a clock that is moved by hand, and on a real keeper."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.keeper.idle import Idle
from tests.keeper.harness import KeeperProcess, output

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class _Timer:
    def __init__(self, when: float, action: Callable[[], object]) -> None:
        self.when = when
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        self.action = None


class _World:
    """A loop and a clock; counts the timers that were set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.timers: list[_Timer] = []
        self.out: list[float] = []
        self.fds: list[int] = []
        patch.setattr("hopx_async.keeper.idle.time.monotonic", lambda: self.now)

    def call_at(self, when: float, action: Callable[[], object]) -> Any:
        self.timers.append(_Timer(when, action))
        return self.timers[-1]

    def watch(self) -> Idle:
        loop: Any = self
        return Idle(loop, 10.0, lambda: self.fds, lambda: self.out.append(self.now))

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.action and timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            self.now = max(self.now, timer.when)
            action, timer.action = timer.action, None
            assert action is not None
            action()
        self.now = end


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> _World:
    return _World(monkeypatch)


def test_silence_runs_out(world: _World) -> None:
    """Nothing printed for so long is told once."""
    world.watch()
    world.pass_time(50)

    assert world.out == [110.0]


def test_output_sets_no_timer(world: _World) -> None:
    """Output puts the end off; however much of it, there is one timer at a time, set rarely."""
    idle = world.watch()
    for _ in range(100):
        world.pass_time(0.9)
        idle.touched()
    assert world.out == []
    assert len(world.timers) <= 11
    world.pass_time(50)

    assert world.out == [pytest.approx(200.0)]


def test_held_time_does_not_count(world: _World) -> None:
    """Time in which the output is held back is added to the limit, wherever the timer falls."""
    idle = world.watch()
    world.pass_time(4)
    idle.hold()
    idle.hold()
    world.pass_time(100)
    idle.go_on()
    idle.go_on()
    world.pass_time(5.5)
    assert world.out == []
    world.pass_time(1)

    assert world.out == [210.0]


def test_short_hold_moves_the_end(world: _World) -> None:
    """A hold that is over before the timer counts as well."""
    idle = world.watch()
    idle.hold()
    world.pass_time(3)
    idle.go_on()
    world.pass_time(50)

    assert world.out == [113.0]


def test_output_that_waits_to_be_read_is_output(world: _World) -> None:
    """A command is not blamed for what its keeper has not read yet."""
    reader, writer = os.pipe()
    os.write(writer, b"x")
    world.fds = [reader]
    world.watch()
    world.pass_time(15)
    assert world.out == []
    os.read(reader, 1)
    world.pass_time(15)
    os.close(reader)
    os.close(writer)

    assert world.out == [120.0]


def test_stopped_watch_is_silent(world: _World) -> None:
    """After its end a command is not watched, held before it, behind it, or not at all."""
    for before, behind in ((False, False), (True, False), (False, True)):
        idle = world.watch()
        if before:
            idle.hold()
        idle.stop()
        idle.stop()
        if behind:
            idle.hold()
        idle.go_on()
        world.pass_time(50)

    assert world.out == []


def test_silent_command_ends_as_idle_timed_out(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A command that goes silent is ended with all it started; one that prints is not."""
    beat = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done"
    keeper.send_start("beats", beat, idle_timeout=0.6)
    keeper.send_start("stops", f"{beat}; sleep 300 & sleep 300", idle_timeout=0.6)

    assert keeper.end_of("beats")["reason"] == "exited"
    assert keeper.end_of("stops")["reason"] == "idle_timed_out"
    assert output(tmp_path, "stops")[0] == b"1\n2\n3\n4\n5\n6\n7\n8\n"
