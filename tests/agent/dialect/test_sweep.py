"""Tests of hopx_async.agent.dialect.sweep, through an agent that runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.agent.dialect.served import served

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.dialect.served import Asked

FAMILY = "sleep 600 & echo $!; wait"


async def child_of(agent: Asked, process_id: str) -> str:
    """Return the pid that a command of `FAMILY` prints."""
    while not (printed := (await agent.rows())[process_id]["stdout"]):
        await asyncio.sleep(0.02)
    return str(printed).strip()


async def run(agent: Asked, text: str) -> int:
    body = {"command": "bash", "args": ["-c", text]}
    return int((await agent.ok("POST", "/commands/run", json=body))["exit_code"])


async def test_a_shells_kill_of_the_leader_ends_the_family(tmp_path: Path) -> None:
    """As HopX's command line kills: by the pid of a row, in another command."""
    async with served(tmp_path) as agent:
        process_id = await agent.background(FAMILY)
        child = await child_of(agent, process_id)
        leader = (await agent.rows())[process_id]["pid"]
        assert await run(agent, f"kill {leader}") == 0
        while await run(agent, f"kill -0 {child}") == 0:
            await asyncio.sleep(0.02)
        row = (await agent.rows())[process_id]

    assert (row["status"], row["signal"]) == ("failed", "SIGTERM")


@pytest.mark.leaves_orphans
async def test_what_outlives_an_exit_is_left_alone(tmp_path: Path) -> None:
    """A leader that exits by itself may leave something running."""
    async with served(tmp_path) as agent:
        process_id = await agent.background("sleep 600 & echo $!")
        child = await child_of(agent, process_id)
        while (await agent.rows())[process_id]["status"] == "running":
            await asyncio.sleep(0.02)

        assert await run(agent, f"kill -0 {child}") == 0
