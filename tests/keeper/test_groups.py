"""Which commands get a cgroup, and what it is good for."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, ClassVar

import pytest

from hopx_async.keeper import proc
from hopx_async.keeper.groups import Groups
from tests.support.cgroups import fake_places

if TYPE_CHECKING:
    from pathlib import Path


class _Command:
    """What is blamed."""

    blamed: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, process_id: str) -> None:
        self.process_id = process_id

    def blame(self, cause: str) -> None:
        self.blamed.append((self.process_id, cause))


def test_where_it_is_dear_only_who_needs_one_gets_one(tmp_path: Path) -> None:
    """Without a limit that needs it there is none, and ancestry is the proof."""
    groups = Groups(fake_places(tmp_path), "base")
    with groups.around("plain", {}):
        pass
    assert groups.means("plain") == "ancestry"
    assert groups.known("plain") == []
    assert not (tmp_path / "base").exists()


def test_where_it_is_cheap_everybody_gets_one(tmp_path: Path) -> None:
    """Its members are known by pid and start, and it is the proof until it is gone."""
    groups = Groups(fake_places(tmp_path, cheap=True), "base")
    with groups.around("one", {}):
        pass
    inside = tmp_path / "base/one"
    (inside / "cgroup.procs").write_text(f"{os.getpid()}\n")
    stat = proc.read_stat(os.getpid())
    assert stat is not None
    assert groups.known("one") == [(os.getpid(), stat.start_ticks)]
    assert groups.means("one") == "cgroup"
    groups.slay("one")
    assert not (inside / "cgroup.kill").exists()

    groups.ended("one")
    assert groups.means("one") == "cgroup"  # somebody is left in it
    (inside / "cgroup.procs").unlink()
    groups.tidy()
    assert groups.means("one") == "ancestry"


def test_a_limit_that_cannot_be_set_starts_nothing(tmp_path: Path) -> None:
    """Where nobody counts processes, the start fails and its cgroup is gone."""
    groups = Groups(fake_places(tmp_path), "base")
    with pytest.raises(FileNotFoundError), groups.around("one", {"limits": {"processes": 3}}):
        raise AssertionError("it was started")
    assert groups.means("one") == "ancestry"


def test_a_start_that_fails_leaves_no_group(tmp_path: Path) -> None:
    """What the spawn raises is passed on."""
    groups = Groups(fake_places(tmp_path, cheap=True), "base")
    with pytest.raises(ZeroDivisionError), groups.around("one", {}):
        (tmp_path / "base/one/cgroup.procs").unlink()
        raise ZeroDivisionError
    assert not (tmp_path / "base/one").exists()
    groups.close()


def test_evidence_that_cannot_be_had_stops_nothing(tmp_path: Path) -> None:
    """Cheap but not to be made after all: the command starts without."""
    groups = Groups(fake_places(tmp_path, cheap=True), "base")
    (tmp_path / "base").write_text("in the way")
    started = []
    with groups.around("one", {}):
        started.append(True)
    assert started
    assert groups.means("one") == "ancestry"


def test_memory_that_ran_out_is_told_only_of_ones_own_group(tmp_path: Path) -> None:
    """The count of its own cgroup tells; none if somebody else may have sent the signal."""
    groups = Groups(fake_places(tmp_path, cheap=True), "base")
    for name in ("full", "asked", "fine"):
        with groups.around(name, {}):
            pass
    for name, count in (("full", 1), ("asked", 1), ("fine", 0)):
        (tmp_path / "base" / name / "memory.events").write_text(f"oom 9\noom_kill {count}\n")
    groups.asked_to_die("asked")

    for name in ("full", "asked", "fine", "unknown"):
        groups.explain(_Command(name), signal.SIGKILL)  # type: ignore[arg-type]
    groups.explain(_Command("full"), signal.SIGTERM)  # type: ignore[arg-type]
    groups.explain(_Command("full"), 9 << 8)  # type: ignore[arg-type]
    assert _Command.blamed == [("full", "oom_killed")]
