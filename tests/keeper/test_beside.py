"""Work beside the first thread: whose children are whose, and where signals go."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import os, select, signal, time
from hopx_async.keeper.beside import run_beside
from hopx_async.keeper.subreaper import become_subreaper

def children(task):
    with open(f"/proc/self/task/{task}/children") as file:
        return [int(pid) for pid in file.read().split()]

def work():
    import _thread
    told, tell = os.pipe()
    leader = os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 60 & echo $!; read _"], {},
        file_actions=[(os.POSIX_SPAWN_DUP2, tell, 1), (os.POSIX_SPAWN_DUP2, hold, 0)])
    orphan = int(os.read(told, 100))
    assert children(_thread.get_native_id()) == [leader]
    assert children(os.getpid()) == []
    os.close(let_go)
    assert os.wait4(-1, 0)[0] == leader
    assert children(os.getpid()) == [orphan]
    os.read(woken, 100)  # of the leader
    os.kill(orphan, signal.SIGKILL)
    assert os.read(woken, 100) == bytes([signal.SIGCHLD])
    assert os.wait4(-1, 0)[0] == orphan
    {end}

hold, let_go = os.pipe()
woken, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
signal.signal(signal.SIGCHLD, lambda *_: None)
become_subreaper()
raise SystemExit(run_beside(work))
"""


def _run(end: str) -> subprocess.CompletedProcess[str]:
    program = _PROGRAM.replace("{end}", end)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


def test_orphans_stand_in_a_list_of_their_own() -> None:
    """Leaders are the second thread's, orphans the first one's; both are waited for."""
    ended = _run("print('done')")

    assert (ended.stdout, ended.stderr, ended.returncode) == ("done\n", "", 0)


def test_an_error_ends_the_process_and_is_shown() -> None:
    """Nobody waits for a thread that has gone."""
    ended = _run("raise KeyError('why')")

    assert ended.returncode == 1
    assert ended.stderr.endswith("KeyError: 'why'\n")
