from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import os, subprocess
from hopx_async.keeper.loop import Loop
from hopx_async.keeper.subreaper import become_subreaper
from hopx_async.keeper.sweep import Sweeper, strays
become_subreaper()
script = "trap '' TERM; (setsid env -i sh -c 'sleep 60; sleep 60' &) ; sleep 60 & echo; wait"
def start():
    child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    child.stdout.readline()
    return child
own, dead = start(), start()
loop, done = Loop(), []
sweeper = Sweeper(loop, {own.pid})
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
sweeper = Sweeper(loop, set())
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
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
