"""Real agents for tests, and looks at their processes."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hopx_async.providers.root_process import RootProcess

__all__ = ["RunningAgent", "descriptors_of", "running_agent", "scope_members"]


@dataclass
class RunningAgent:
    """An agent that runs: where, with which token, as which processes."""

    url: str
    token: str
    pid: int
    agent_pid: int
    state: Path


@asynccontextmanager
async def running_agent(state: Path, **config: Any) -> AsyncGenerator[RunningAgent]:
    """Run a root with its keeper and agent on a state directory."""
    root = await RootProcess.start(state, config)
    try:
        said = await root.announced()
        yield RunningAgent(said["url"], said["token"], said["pid"], said["agent_pid"], state)
    finally:
        await root.stop(0.5)


def descriptors_of(pid: int) -> int:
    """Return how many descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # no entry is looked at


def scope_members(sandbox_id: str) -> list[int]:
    """Return the processes whose environment names a sandbox, zombies left out."""
    needle = f"{sandbox_id}/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if needle in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it ended meanwhile
                continue
    return found
