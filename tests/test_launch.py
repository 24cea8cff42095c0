"""One start: what the contract checks and the tests of commands do not say already."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from hopx_async.errors import SpawnError
from hopx_async.launch import UNDO_SECONDS
from hopx_async.testing import VirtualTimeLoop
from tests.support.virtual import SLEEP, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def test_start_that_is_cancelled_waits_for_its_undoing_but_not_for_ever() -> None:
    """A cancelled start gives up on an agent that says nothing after a bounded time."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        agent.stall()
        begun = anyio.current_time()
        with anyio.move_on_after(1) as scope:
            await sandbox.commands.start(SLEEP)
        assert scope.cancelled_caught
        assert anyio.current_time() - begun == pytest.approx(1 + UNDO_SECONDS)
        agent.heal()


async def test_start_that_is_cancelled_twice_leaves_no_task() -> None:
    """Whoever does not wait for the undoing either leaves nothing that goes on asking."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        agent.stall()
        before = asyncio.all_tasks()
        task = asyncio.create_task(sandbox.commands.start(SLEEP))
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        left = [one for one in asyncio.all_tasks() - before if "AgentClient.call" in repr(one)]
        assert left == []
        agent.heal()


async def test_command_that_was_there_is_asked_for_its_offset() -> None:
    """A start that found its command goes on sending where somebody else was."""
    async with opened(agent_of()) as sandbox:
        one = await sandbox.commands.start("exec cat", stdin=True, process_id="mine")
        await one.send_stdin("one ")
        two = await sandbox.commands.start("exec cat", stdin=True, process_id="mine")
        await two.send_stdin("two")
        await two.close_stdin()
        assert (await one.result()).stdout == "one two"


async def test_start_that_fails_has_no_handle() -> None:
    """What could not be started is raised."""
    async with opened(agent_of()) as sandbox:
        with pytest.raises(SpawnError):
            await sandbox.commands.start("nothing of the kind")
