from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import os, subprocess
from hopx_async.keeper.subreaper import become_subreaper
become_subreaper()
subprocess.run(["sh", "-c", "sh -c 'exit 7' & exit 0"], check=True)
pid, status = os.waitpid(-1, 0)
assert os.waitstatus_to_exitcode(status) == 7
"""


def test_orphans_come_to_a_subreaper() -> None:
    """A process that became a subreaper reaps the child of a child that has ended."""
    assert subprocess.run([sys.executable, "-c", _PROGRAM], check=False).returncode == 0
