"""A test-kit for code that uses this library, and for those who extend it.

`memory` opens a sandbox without processes, files or sockets, whose commands are
scripts; `VirtualTimeLoop` makes time jump instead of pass; `FaultProxy` breaks the
connections to a real agent, `Faults` stands before any transport; `contract` holds the
checks that every transport and agent must pass. With pytest, ``hopx_async.pytest_plugin``
has all that as fixtures.
"""

from __future__ import annotations

from hopx_async.testing.fault_proxy import FaultProxy
from hopx_async.testing.faults import Faults
from hopx_async.testing.memory import MemoryAgent, ScriptedCommand, memory
from hopx_async.testing.virtual_time import VirtualTimeLoop, run, without_waiting

__all__ = [
    "FaultProxy",
    "Faults",
    "MemoryAgent",
    "ScriptedCommand",
    "VirtualTimeLoop",
    "memory",
    "run",
    "without_waiting",
]
