from __future__ import annotations

import subprocess
import sys

import pytest

from hopx_async.keeper import proc
from hopx_async.keeper.sweep import strays
from tests.keeper.harness import NONCE

_PROGRAM = """
import os, subprocess, sys
from hopx_async.keeper.loop import Loop
from hopx_async.keeper.subreaper import become_subreaper
from hopx_async.keeper.sweep import Sweeper, strangers, strays
become_subreaper()
nonce = sys.argv[1]
script = "trap '' TERM; (setsid env -i sh -c 'sleep 60; sleep 60' &) ; sleep 60 & echo; wait"
def start():
    child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    child.stdout.readline()
    return child
own, dead = start(), start()
loop, done = Loop(), []
sweeper = Sweeper(loop, {own.pid}, nonce)
kept = {pid for pid, _, _ in strays({dead.pid})}
assert len(strays({own.pid})) >= 3
"""
_SWEEP = """
sweeper.sweep(1, done.append)
sweeper.sweep(2, done.append)
while len(done) < 2:
    loop.turn()
assert done == [[], []]
assert strays({own.pid}) == [], strays({own.pid})
assert {pid for pid, _, _ in strays(set())} >= {own.pid}
sweeper = Sweeper(loop, set(), nonce)
sweeper.sweep(1, done.append)
while len(done) < 3:
    loop.turn()
assert strays(set()) == []
own.communicate()
dead.communicate()
"""


@pytest.mark.leaves_orphans
def test_sweep_ends_strays_and_leaves_the_others() -> None:
    """sweep ends trees with sessions of their own and TERM ignored; what is ours goes on."""
    program = _PROGRAM + _SWEEP
    assert subprocess.run([sys.executable, "-c", program, NONCE], check=False).returncode == 0


_STRANGERS = """
import resource
from hopx_async.keeper import proc
mark = proc.mark_of(f"{nonce}/a")
def limited():
    resource.setrlimit(proc.RLIMIT_LOCKS, (mark, resource.getrlimit(proc.RLIMIT_LOCKS)[1]))
hidden = subprocess.Popen(["sh", "-c", "echo; sleep 60"], preexec_fn=limited, stdout=-1)
scoped = subprocess.Popen(["sh", "-c", "echo; sleep 60"], env={proc.SCOPE: f"{nonce}/b"}, stdout=-1)
for child in (hidden, scoped):
    child.stdout.readline()
assert strangers(nonce, {mark}) == []
looks = os.fork()
if looks == 0:
    # To this one they are strangers.
    loop = Loop()
    sweeper = Sweeper(loop, set(), nonce)
    found = {pid for pid, _, _ in strangers(nonce, {mark})}
    assert {hidden.pid, scoped.pid} <= found and own.pid not in found, found
    assert {pid for pid, _, _ in strangers(nonce, ())} & {hidden.pid, scoped.pid} == {scoped.pid}
    sweeper.sweep_strangers({mark}, done.append)
    while not done:
        loop.turn()
    os._exit(done != [[]])
assert os.waitpid(looks, 0)[1] == 0
assert hidden.wait() == scoped.wait() == -9
"""


@pytest.mark.leaves_orphans
def test_strangers_are_what_is_ours_and_not_below() -> None:
    """Strangers are found by mark or scope, never below the one that looks, and ended."""
    program = _PROGRAM + _STRANGERS + _SWEEP
    assert subprocess.run([sys.executable, "-c", program, NONCE], check=False).returncode == 0


def test_strays_that_arrive_during_the_look_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who becomes a child of ours while the others are looked at is among them."""
    with subprocess.Popen(["sleep", "60"]) as first, subprocess.Popen(["sleep", "60"]) as late:
        true_children = proc.children
        looks: list[int] = []

        def children(pid: int) -> list[int]:
            looks.append(pid)
            found = true_children(pid)
            return [child for child in found if child != late.pid] if len(looks) == 1 else found

        monkeypatch.setattr(proc, "children", children)
        found = {pid for pid, _, _ in strays(())}
        first.kill()
        late.kill()
    assert {first.pid, late.pid} <= found
