from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import os, resource, signal, subprocess
from hopx_async.keeper import proc
from hopx_async.keeper.orphans import Orphans
from hopx_async.keeper.subreaper import become_subreaper

become_subreaper()
orphans = Orphans()
before = resource.getrlimit(proc.RLIMIT_LOCKS)

def leader(name, script):
    resource.setrlimit(proc.RLIMIT_LOCKS, (proc.mark_of(name), before[1]))
    child = subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    resource.setrlimit(proc.RLIMIT_LOCKS, before)
    orphans.expect(name, child.pid, proc.mark_of(name))
    child.stdout.read()
    child.wait()
    orphans.changed()
    return child.pid

assert orphans.count("a") == 0
# One survivor of a, with a child of its own; one of b that left its session and environment.
a = leader("a", "sh -c 'sleep 60 & wait' >/dev/null & exit 0")
b = leader("b", "env -i setsid sleep 60 >/dev/null & exit 0")
count = orphans.count("a")
while count < 2:  # the survivor may not have started its child yet
    orphans.changed()
    count = orphans.count("a")
assert count == 2, count
assert orphans.count("b") == 1
assert orphans.count("c") == 0
[(pid, ticks)] = orphans.known("b")
assert proc.read_stat(pid).start_ticks == ticks
os.kill(pid, signal.SIGKILL)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
assert orphans.count("b") == 0
os.waitpid(pid, 0)
orphans.reaped(pid)
assert orphans.known("b") == []
orphans.forget(a, proc.mark_of("a"))
for pid in proc.descendants(os.getpid()):
    os.kill(pid, signal.SIGKILL)
"""


@pytest.mark.leaves_orphans
def test_orphans_are_counted_for_their_command() -> None:
    """Survivors count with their descendants, for the command whose mark they bear, while alive."""
    assert subprocess.run([sys.executable, "-c", _PROGRAM], check=False).returncode == 0
