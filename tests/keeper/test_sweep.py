from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hopx_async.keeper.scan import Scanner
from hopx_async.keeper.sweep import sweep

_PROGRAM = """
import os, subprocess
from hopx_async.keeper.scan import Scanner
from hopx_async.keeper.subreaper import become_subreaper
from hopx_async.keeper.sweep import sweep
become_subreaper()
script = "trap '' TERM; (setsid env -i sh -c 'sleep 60; sleep 60' &) ; sleep 60 & echo; wait"
child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
child.stdout.readline()
assert sweep(Scanner("sbx", "", os.getpid(), {os.getpid()})) == []
child.wait()
"""


@pytest.mark.leaves_orphans
def test_sweep_ends_all_below() -> None:
    """sweep ends a tree with a session of its own and TERM ignored, and says nobody is left."""
    assert subprocess.run([sys.executable, "-c", _PROGRAM], check=False).returncode == 0


def test_sweep_of_nothing() -> None:
    """sweep returns at once when nobody is there."""
    base = subprocess.Popen(["sleep", "60"])
    try:
        assert sweep(Scanner("sbx", "", base.pid, {base.pid, os.getpid()})) == []
    finally:
        base.kill()
        base.wait()
