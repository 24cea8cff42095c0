"""A test-kit for code that uses this library, and for those who extend it.

`memory` opens a sandbox without processes, files or sockets, whose commands are
scripts; `VirtualTimeLoop` makes time jump instead of pass; `FaultProxy` breaks the
connections to a real agent; `contract` holds the checks that every transport and
agent must pass.
"""

from __future__ import annotations

from hopx_async.testing.fault_proxy import FaultProxy
from hopx_async.testing.memory import MemoryAgent, ScriptedCommand, memory
from hopx_async.testing.virtual_time import VirtualTimeLoop, run

__all__ = ["FaultProxy", "MemoryAgent", "ScriptedCommand", "VirtualTimeLoop", "memory", "run"]
