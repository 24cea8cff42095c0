"""One start: what the contract checks and the tests of commands do not say already."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import hopx_async as hopx
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


async def _cancelled_twice(sandbox: hopx.Sandbox, first: int, second: int) -> bool:
    """Cancel a start after so many turns of the loop, and again; return whether it is over."""
    task = asyncio.create_task(sandbox.commands.start(SLEEP))
    for turns in (first, second):
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


@pytest.mark.parametrize("first", range(8))
@pytest.mark.parametrize("second", range(1, 6))
async def test_start_that_is_cancelled_twice_leaves_nothing(first: int, second: int) -> None:
    """Whoever does not wait for the undoing either leaves no command, and soon no task."""
    async with opened(agent_of()) as sandbox:
        await anyio.wait_all_tasks_blocked()
        before = asyncio.all_tasks()
        over = await _cancelled_twice(sandbox, first, second)
        await anyio.sleep(1)
        assert len(await sandbox.commands.list(status="running")) == (0 if over else 1)
        assert asyncio.all_tasks() == before


async def test_start_that_is_cancelled_twice_is_undone_behind_a_lost_connection() -> None:
    """The undoing goes on by itself: its answer lost, it asks again, and ends the command."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        await anyio.wait_all_tasks_blocked()
        agent.stall()
        before = anyio.current_time()
        assert await _cancelled_twice(sandbox, 1, 3)
        assert anyio.current_time() == before
        agent.heal()
        agent.drop()
        await anyio.sleep(UNDO_SECONDS)
        assert await sandbox.commands.list(status="running") == []


@pytest.mark.parametrize("closed", [False, True])
async def test_start_that_is_cancelled_twice_is_undone_no_longer_than_bounded(closed: bool) -> None:
    """Where nobody answers, nothing asks after the time of an undoing, nor does closing wait."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        await anyio.wait_all_tasks_blocked()
        before = asyncio.all_tasks()
        agent.stall()
        assert await _cancelled_twice(sandbox, 1, 3)
        assert asyncio.all_tasks() > before
        if closed:
            began = anyio.current_time()
            await sandbox.aclose()
            assert anyio.current_time() - began == pytest.approx(UNDO_SECONDS)
            assert asyncio.all_tasks() < before
        else:
            await anyio.sleep(UNDO_SECONDS + 1)
            assert asyncio.all_tasks() == before
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
