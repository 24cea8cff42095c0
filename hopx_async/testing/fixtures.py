"""What the fixtures of ``hopx_async.pytest_plugin`` open, in the event loop of the test."""

from __future__ import annotations

import json
import os
import select
import signal
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from hopx_async import blocking
from hopx_async.errors import HopxError
from hopx_async.providers.local import local
from hopx_async.providers.remote import remote
from hopx_async.providers.through import through
from hopx_async.sandbox import Sandbox
from hopx_async.testing.faults import Faults
from hopx_async.testing.memory import memory
from hopx_async.testing.memory_commands import Script
from hopx_async.testing.virtual_time import without_waiting
from hopx_async.transport.access import TokenAccess
from hopx_async.transport.http import HttpTransport

__all__ = [
    "Agent",
    "agent_of_the_run",
    "in_memory",
    "kill_agent",
    "on_an_agent",
    "on_its_own",
    "read_agent",
]

# Seconds that what a test has left running gets to end, when the sandbox serves the next test.
_GRACE = 1.0


class Agent(NamedTuple):
    """A real agent: where it is, and the pid of its root."""

    url: str
    token: str
    pid: int


@asynccontextmanager
async def in_memory(
    scripts: Mapping[str, Script], faults: Faults | None
) -> AsyncGenerator[Sandbox]:
    """Open a sandbox in memory, and let time jump meanwhile."""
    with without_waiting():
        async with memory(scripts, faults=faults) as sandbox:
            yield sandbox


@asynccontextmanager
async def on_its_own(options: Mapping[str, Any], faults: Faults | None) -> AsyncGenerator[Sandbox]:
    """Open a real sandbox that ends with its test."""
    if faults is None:
        async with local(**options) as sandbox:
            yield sandbox
        return
    with tempfile.TemporaryDirectory(prefix="hopx-") as home:
        told: dict[str, Any] = {"state_dir": Path(home) / "state", **options}
        state = Path(told["state_dir"])
        async with local(**told), _connected(read_agent(state), faults) as sandbox:
            yield sandbox


@contextmanager
def agent_of_the_run(options: Mapping[str, Any]) -> Generator[Agent]:
    """Run a real agent that many tests use, each from its own event loop."""
    with tempfile.TemporaryDirectory(prefix="hopx-") as home:
        told: dict[str, Any] = {"state_dir": Path(home) / "state", **options}
        with blocking.local(**told):
            yield read_agent(Path(told["state_dir"]))


@asynccontextmanager
async def on_an_agent(agent: Agent) -> AsyncGenerator[Sandbox]:
    """Connect to an agent, and end what runs there when the test is over."""
    async with remote(agent.url, token=agent.token) as sandbox:
        try:
            yield sandbox
        finally:
            with anyio.CancelScope(shield=True):
                await _end_all(sandbox)


@asynccontextmanager
async def _connected(agent: Agent, faults: Faults) -> AsyncGenerator[Sandbox]:
    async def restart() -> None:
        await anyio.to_thread.run_sync(kill_agent, agent.pid)

    transport = HttpTransport(TokenAccess(agent.url, agent.token))
    async with through(faults.on(transport, restart=restart)) as sandbox:
        yield sandbox


async def _end_all(sandbox: Sandbox) -> None:
    running = await sandbox.commands.list(status="running")
    async with anyio.create_task_group() as tasks:
        for info in running:
            tasks.start_soon(_end, sandbox, info.process_id)


async def _end(sandbox: Sandbox, process_id: str) -> None:
    # The next test is not to fail for what this one has left.
    with suppress(HopxError):
        await sandbox.commands.kill(process_id, _GRACE)


def read_agent(state: Path) -> Agent:
    """Return the agent that holds a state directory."""
    facts = json.loads((state / "agent.json").read_text("utf-8"))
    return Agent(facts["url"], (state / "token").read_text("utf-8").strip(), int(facts["pid"]))


def kill_agent(root: int) -> None:
    """Kill the process below *root* that serves the network, and wait for its end."""
    for pid in _children(root):
        with suppress(OSError):
            # The pid cannot have changed hands: the descriptor is opened before it is looked at.
            pidfd = os.pidfd_open(pid)
            try:
                if b"hopx_async.agent.server" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    select.select([pidfd], [], [])
            finally:
                os.close(pidfd)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text("ascii").split())
    return found
