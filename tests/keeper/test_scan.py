from __future__ import annotations

import os
import resource
import subprocess
from typing import TYPE_CHECKING

import pytest

from hopx_async.keeper import proc
from hopx_async.keeper.scan import EVERYTHING, Scanner
from tests.keeper.harness import NONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY: dict[str, object] = {"leader": None, "start_ticks": None, "known": []}


class _Processes:
    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *, scope: str | None = None, mark: str | None = None) -> int:
        """Start a shell with a child; return the shell's pid when the child is there."""
        before = resource.getrlimit(proc.RLIMIT_LOCKS)
        env = {"PATH": os.environ["PATH"], **({proc.SCOPE: scope} if scope else {})}
        try:
            if mark:
                resource.setrlimit(proc.RLIMIT_LOCKS, (proc.mark_of(mark), before[1]))
            script = "env -i sleep 60 & echo; wait"
            child = subprocess.Popen(["sh", "-c", script], env=env, stdout=subprocess.PIPE)
        finally:
            resource.setrlimit(proc.RLIMIT_LOCKS, before)
        self.started.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child.pid

    def end(self) -> None:
        for child in self.started:
            for pid in [*proc.descendants(child.pid), child.pid]:
                os.kill(pid, 9)
            child.communicate()


@pytest.fixture
def processes() -> Iterator[_Processes]:
    processes = _Processes()
    yield processes
    processes.end()


def _scan(wanted: dict[str, dict[str, object]], outer: str = "") -> dict[str, set[int]]:
    found = Scanner(NONCE, outer, os.getpid(), {os.getpid()}).scan(wanted)
    return {process_id: {pid for pid, _, _ in left} for process_id, left in found.items()}


@pytest.mark.leaves_orphans
def test_leader_is_found_with_all_below(processes: _Processes) -> None:
    """A leader is found with its descendants, unless the start time is another's."""
    pid = processes.start()
    stat = proc.read_stat(pid)
    assert stat is not None
    tree = {pid, *proc.descendants(pid)}

    right: dict[str, object] = {"leader": pid, "start_ticks": stat.start_ticks, "known": []}
    wrong: dict[str, object] = {"leader": pid, "start_ticks": stat.start_ticks + 1, "known": []}
    assert _scan({"a": right})["a"] == tree
    assert _scan({"a": wrong})["a"] == set()
    known: dict[str, object] = {**NOBODY, "known": [[pid, stat.start_ticks]]}
    assert _scan({"a": known})["a"] == tree


@pytest.mark.leaves_orphans
def test_scope_and_mark_find_the_right_ones(processes: _Processes) -> None:
    """Scope, nested or not, and mark each find their command's processes and no others."""
    plain = processes.start(scope=f"{NONCE}/a")
    nested = processes.start(scope=f"{NONCE}/a:inner/z")
    other_sandbox = processes.start(scope=f"{NONCE}y/a")
    longer = processes.start(scope=f"{NONCE}/ab")
    marked = processes.start(mark=f"{NONCE}/b")

    found = _scan({"a": dict(NOBODY), "b": dict(NOBODY)})
    assert found["a"] == {
        plain,
        nested,
        *proc.descendants(plain),
        *proc.descendants(nested),
    }
    assert found["b"] == {marked, *proc.descendants(marked)}
    assert not {other_sandbox, longer} & (found["a"] | found["b"])


@pytest.mark.leaves_orphans
def test_marks_tell_outer_scopes_apart(processes: _Processes) -> None:
    """A mark made within other scopes is another mark."""
    processes.start(mark=f"{NONCE}/a")

    assert _scan({"a": dict(NOBODY)}, outer="o/p")["a"] == set()


@pytest.mark.leaves_orphans
def test_everything_is_what_is_below(processes: _Processes) -> None:
    """EVERYTHING finds all below the base and in the sandbox's scope, but not the base itself."""
    pids = {processes.start(), processes.start(scope=f"{NONCE}/a")}

    found = _scan({EVERYTHING: {}})[EVERYTHING]
    assert pids <= found
    assert os.getpid() not in found


def test_zombies_are_not_left(processes: _Processes) -> None:
    """A process that has ended and is not reaped is not found."""
    with subprocess.Popen(["sh", "-c", "exit"], env={proc.SCOPE: f"{NONCE}/a"}) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert _scan({"a": dict(NOBODY)})["a"] == set()


@pytest.mark.leaves_orphans
def test_who_is_born_during_the_look_is_found(
    processes: _Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that hands on to a child while others are looked at is not missed with it."""
    scope = proc.scope_value("", NONCE, "a")
    first = processes.start(mark=scope)
    true_pids, late = proc.pids, {first, *proc.descendants(first)}
    looks: list[int] = []

    def pids() -> list[int]:
        looks.append(1)
        return [pid for pid in true_pids() if len(looks) > 1 or pid not in late]

    monkeypatch.setattr(proc, "pids", pids)
    assert _scan({"a": NOBODY})["a"] == late
