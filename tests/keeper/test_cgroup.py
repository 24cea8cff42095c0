"""Cgroups: found in what /proc says, made, entered, counted and removed."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from hopx_async.keeper.cgroup import Group, find_places, sweep
from tests.support.cgroups import REAL, fake_places, needs_cgroups, needs_pids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def told(place: Path, own: str, mounts: list[str]) -> tuple[str, str]:
    """Write what /proc would say, return the paths of both files."""
    (place / "own").write_text(own)
    (place / "mounts").write_text("".join(f"{line}\n" for line in mounts))
    return str(place / "own"), str(place / "mounts")


def hierarchy(place: Path) -> Path:
    """Make a directory that looks like a cgroup."""
    place.mkdir(parents=True)
    (place / "cgroup.procs").write_text("")
    return place


def mount(point: Path, kind: str, options: str, root: str = "/") -> str:
    """Return a line of mountinfo."""
    return f"30 1 0:26 {root} {point} rw,relatime shared:9 - {kind} {kind} {options}"


def test_version_2_is_found_where_we_are(tmp_path: Path) -> None:
    """Our own cgroup, below the mount, is the place; moving is dear unless the mount says so."""
    mine = hierarchy(tmp_path / "cg/user.slice/me")
    line = mount(tmp_path / "cg", "cgroup2", "rw,nsdelegate")
    places = find_places(*told(tmp_path, "0::/user.slice/me\n", [line]))
    assert (places.unified, places.pids, places.cheap) == (str(mine), None, False)
    assert not places.counts

    line = mount(tmp_path / "cg", "cgroup2", "rw,favordynmods")
    (mine / "cgroup.subtree_control").write_text("memory pids\n")
    places = find_places(*told(tmp_path, "0::/user.slice/me\n", [line]))
    assert places.cheap
    assert places.counts


def test_version_1_is_found_beside_it(tmp_path: Path) -> None:
    """The hierarchies that count are found by their controllers, others are left alone."""
    for name in ("pids", "memory", "freezer"):
        hierarchy(tmp_path / name / "box")
    mounts = [
        mount(tmp_path / "freezer", "cgroup", "rw,freezer"),
        mount(tmp_path / "memory", "cgroup", "rw,memory"),
        mount(tmp_path / "pids", "cgroup", "rw,pids", root="/docker"),
    ]
    own = "6:freezer:/box\n5:memory:/box\n4:pids:/docker/box\n"
    places = find_places(*told(tmp_path, own, mounts))
    assert places.all == [f"{tmp_path}/pids/box", f"{tmp_path}/memory/box"]
    assert (places.pids, places.memory) == (*places.all,)
    assert places.counts
    assert not places.cheap


def test_what_is_not_there_or_not_ours_is_no_place(tmp_path: Path) -> None:
    """Without the directory, the files of /proc or the right to write there is nothing."""
    line = mount(tmp_path / "cg", "cgroup2", "rw")
    nothing = find_places(*told(tmp_path, "0::/gone\n", [line]))
    assert (nothing.unified, nothing.pids, nothing.counts) == (None, None, False)
    assert find_places("/nowhere/a", "/nowhere/b").unified is None


@pytest.mark.parametrize("file", ["memory.events", "memory.oom_control"])
def test_a_group_tells_what_the_files_tell(tmp_path: Path, file: str) -> None:
    """Members of all depths, and processes that ran out of memory, in either version's words."""
    group = fake_places(tmp_path).make("base", "one")
    one = tmp_path / "base/one"
    (one / "cgroup.procs").write_text("12\n7\n")
    hierarchy(one / "below")
    (one / "below/cgroup.procs").write_text("9\n")
    assert group.members() == [7, 9, 12]

    assert group.oom_kills() == 0
    (one / file).write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n")
    assert group.oom_kills() == 2


def test_a_limit_counts_us_while_we_are_inside(tmp_path: Path) -> None:
    """The limit leaves room for whoever starts, until it leaves; without a counter it fails."""
    group = fake_places(tmp_path).make("base", "one")
    with pytest.raises(FileNotFoundError), group.entered(5):
        raise AssertionError("it was not entered")
    limit = tmp_path / "base/one/pids.max"
    limit.write_text("max\n")
    with group.entered(5):
        # What was there is written over, not cut; each of our threads counts.
        assert int(limit.read_text().strip("max\n")) > 5
    assert limit.read_text().startswith("5")


def test_entering_says_who_enters_and_leaves(tmp_path: Path) -> None:
    """The process writes itself into the cgroup, and into the one from which it came."""
    home, inside = hierarchy(tmp_path / "home"), hierarchy(tmp_path / "home/x")
    group = Group([(str(inside), str(home))])
    with group.entered():
        assert (inside / "cgroup.procs").read_text() == "0"
        assert (home / "cgroup.procs").read_text() == ""
    assert (home / "cgroup.procs").read_text() == "0"


def test_what_cannot_be_entered_leaves_us_where_we_are(tmp_path: Path) -> None:
    """Of two hierarchies the second fails: the first is left again, the error told."""
    home, inside = hierarchy(tmp_path / "home"), hierarchy(tmp_path / "home/x")
    group = Group([(str(inside), str(home)), (str(tmp_path / "gone"), str(home))])
    with pytest.raises(FileNotFoundError), group.entered():
        raise AssertionError("it was not entered")
    assert (home / "cgroup.procs").read_text() == "0"


@pytest.fixture
def group() -> Iterator[Group]:
    """Make a real cgroup, and take it away."""
    name = f"hopx-test-{os.getpid()}"
    yield REAL.make(name, "one")
    sweep(REAL, name)


def end(group: Group) -> None:
    """Kill all of it, by the kernel's own means or one by one."""
    if not group.kill():
        for pid in group.members():
            os.kill(pid, 9)


def reap() -> None:
    """Wait for the orphans that became this process's children."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


@needs_cgroups
def test_what_is_started_inside_is_a_member(group: Group) -> None:
    """A real one: who is started while we are in it belongs to it, its children too; we do not."""
    with group.entered():
        shell = subprocess.Popen(["sh", "-c", "sleep 300 & echo; wait"], stdout=subprocess.PIPE)
    assert shell.stdout is not None
    shell.stdout.readline()
    with shell.stdout:
        members = group.members()
        assert shell.pid in members
        assert len(members) == 2
        assert os.getpid() not in members
        assert not group.remove()
        end(group)
        assert shell.wait() == -9
        assert shell.stdout.read() == b""  # the other one held it, too
    reap()


@needs_cgroups
def test_it_does_not_kill_its_maker(group: Group) -> None:
    """While we are in it ourselves there is no killing of all."""
    with group.entered():
        assert not group.kill()


@needs_pids
def test_no_more_processes_than_allowed(group: Group) -> None:
    """With two processes allowed, a shell gets one child and no second."""
    with group.entered(2):
        shell = subprocess.Popen(
            ["sh", "-c", "sleep 300 & sleep 300 & wait"], stderr=subprocess.PIPE, text=True
        )
    assert shell.stderr is not None
    with shell.stderr:
        assert "fork" in shell.stderr.readline()
        end(group)
        shell.wait()
    reap()
