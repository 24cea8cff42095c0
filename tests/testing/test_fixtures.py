"""What the fixtures for pytest open; how they are asked for stands in test_pytest_plugin.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from hopx_async.testing import Faults, ScriptedCommand
from hopx_async.testing.fixtures import (
    Agent,
    agent_of_the_run,
    in_memory,
    kill_agent,
    on_an_agent,
    on_its_own,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the local agent needs Linux")


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    """Run one agent for the tests of this module."""
    with agent_of_the_run({}) as agent:
        yield agent


async def hour(command: ScriptedCommand) -> int:
    """Sleep for an hour."""
    await anyio.sleep(3600)
    return 0


async def test_memory_is_on_virtual_time() -> None:
    """An hour goes by in a moment, and the faults are those that were given."""
    faults = Faults()
    async with in_memory({"hour": hour}, faults) as sandbox:
        assert (await sandbox.commands.run("hour")).exit.duration == pytest.approx(3600)
        assert faults.connections == 1


async def test_a_sandbox_of_its_own_leaves_nothing() -> None:
    """With faults or without, the sandbox is a fresh one, and ends with the block."""
    for faults in (None, Faults()):
        async with on_its_own({"grace": 1}, faults) as sandbox:
            job = await sandbox.commands.start("echo $$; exec sleep 1000")
            match = await job.wait_for_output(r"\d+")
            if faults is not None:
                await faults.restart_agent()
                assert (await job.info()).status == "running"
        with pytest.raises(ProcessLookupError):
            os.kill(int(match.text), 0)


async def test_what_ran_on_a_shared_agent_ends(agent: Agent) -> None:
    """Commands end with the block; the agent goes on."""
    for _ in range(2):
        async with on_an_agent(agent) as sandbox:
            assert await sandbox.commands.list(status="running") == []
            jobs = [await sandbox.commands.start("exec sleep 1000") for _ in range(2)]
            assert len(jobs) == 2
    async with on_an_agent(agent) as sandbox:
        ended = await sandbox.commands.list(status="killed")
        assert len(ended) == 4


async def test_cancelled_the_end_is_the_same(agent: Agent) -> None:
    """A block that is cancelled ends what it started."""
    with anyio.CancelScope() as scope:
        async with on_an_agent(agent) as sandbox:
            await sandbox.commands.start("exec sleep 1000", process_id="cancelled")
            scope.cancel()
            await anyio.sleep(1)
    async with on_an_agent(agent) as sandbox:
        job = await sandbox.commands.get("cancelled")
        assert (await job.wait()).reason == "killed"


async def test_who_serves_is_killed_and_comes_again() -> None:
    """kill_agent returns when the process is gone; without one it does nothing."""
    with agent_of_the_run({}) as agent:
        async with on_an_agent(agent) as sandbox:
            before = (await sandbox.statistics())["agent"]
            await anyio.to_thread.run_sync(kill_agent, agent.pid)
            after = (await sandbox.statistics())["agent"]
            assert before != after
    kill_agent(os.getpid())
