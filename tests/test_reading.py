"""Readers of a command: awaits that share one end, and bounds that are refused."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import InvalidArgument
from hopx_async.protocol import records
from hopx_async.testing import VirtualTimeLoop
from tests.support.virtual import CHATTER, STEPS, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.mark.parametrize("base", [True, False], ids=["a segment", "pads"])
async def test_output_and_last_lines_wait_for_nothing_behind_the_last_output(base: bool) -> None:
    """A log that ends with a segment just begun, or with pads before one, is read up to there."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        await anyio.sleep(49.5)
        log = agent.commands.logs[handle.process_id]
        if base:
            log.roll(anyio.current_time())
        else:
            log._write(bytes([records.PAD]) * (-log.end % records.BLOCK))
        began = anyio.current_time()
        assert (await handle.output()).stdout.endswith("line 49\n")
        assert (await anext(handle.lines(last=2))).text == "line 48"
        assert anyio.current_time() == began


async def test_many_waits_share_one_end() -> None:
    """A thousand waits on one handle, some cancelled, all others get the same exit."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        tasks = [asyncio.create_task(handle.wait()) for _ in range(1000)]
        await anyio.wait_all_tasks_blocked()
        for task in tasks[::7]:
            task.cancel()
        fates = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [fate for index, fate in enumerate(fates) if index % 7]
        assert all(isinstance(fate, hopx.Exit) and fate.ok for fate in kept)
        assert all(isinstance(fate, asyncio.CancelledError) for fate in fates[::7])


async def test_wait_for_times_out_and_a_second_wait_gets_the_exit() -> None:
    """asyncio.wait_for around wait leaves the command and its end alone."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle.wait(), 0.1)
        assert (await handle.wait()).ok


async def test_an_agent_that_lost_its_state_is_told() -> None:
    """A command that the agent does not know any more ends as lost, in streams and waits."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        events = handle.events()
        await anext(events)
        agent.commands.forget(handle.process_id)
        agent.drop()
        last = [event async for event in events][-1]
        assert isinstance(last, hopx.Lost)
        fate = await handle.wait()
        assert (fate.reason, fate.status, fate.exit_code) == ("lost", "lost", None)
        with pytest.raises(hopx.CommandLost):
            await handle.wait(check=True)
        with pytest.raises(hopx.CommandNotFound):
            await handle.info()


@pytest.mark.parametrize("max_bytes", [0, -1, "many"])
async def test_result_refuses_a_bound_that_is_none(max_bytes: Any) -> None:
    """max_bytes is a number above 0."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(STEPS)
        with pytest.raises(InvalidArgument, match="max_bytes"):
            await handle.result(max_bytes=max_bytes)
