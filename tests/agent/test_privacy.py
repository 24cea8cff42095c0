"""An agent that keeps its descriptors to itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, importlib, os, sys
importlib.import_module(sys.argv[1]).become_unreadable()
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
with open("/proc/self/fd/0", "rb"):
    pass  # its own it reads as before
"""


@pytest.mark.parametrize("module", ["hopx_async.agent.privacy", "hopx_async.keeper.subreaper"])
def test_it_is_unreadable_to_others_alone(module: str) -> None:
    """The process gives up being looked into, and still finds its own descriptors."""
    command = [sys.executable, "-c", _PROGRAM, module]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0
