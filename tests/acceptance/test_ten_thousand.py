"""Ten thousand idle commands on one agent: descriptors, and what happens while nothing does."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hopx_async as hopx
from tests.support.agents import descriptors_of, running_agent
from tests.support.deaths import processes

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.bench, pytest.mark.timeout(590)]

COMMANDS = 10_000
# Seconds in which nothing happens but heartbeats: a keeper's every 2.5 s, the agent's every 5 s.
IDLE = 20.0


async def test_ten_thousand_idle_commands(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """10,000 live commands fit into the limits; idle processes wake for the heartbeat alone."""
    async with running_agent(tmp_path / "state") as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            for _ in range(COMMANDS // 200):
                await asyncio.gather(
                    *(sandbox.commands.start(["sleep", "3600"]) for _ in range(200))
                )
            figures = (await sandbox.statistics())["agent"]
            assert figures["commands_live"] == COMMANDS
            keepers = processes(agent, "keeper.keeper")
            [server] = processes(agent, "agent.server")
            assert len(keepers) >= 5
            assert max(one["live"] for one in figures["keepers"]) <= 2000
            held = {pid: descriptors_of(pid) for pid in [agent.pid, server, *keepers]}
            record_property("live", [one["live"] for one in figures["keepers"]])
            record_property("descriptors", held)
            assert max(held[pid] for pid in keepers) <= 2 * 2000 + 100
            assert held[server] <= 100
            assert held[agent.pid] <= 50
        before = {pid: _wakes(pid) for pid in held}
        await asyncio.sleep(IDLE)
        wakes = {pid: _wakes(pid) - before[pid] for pid in held}
        record_property("wakes", wakes)
        assert max(wakes[pid] for pid in keepers) <= IDLE / 2.5 + 2
        assert wakes[server] <= IDLE / 5 + 4


def _wakes(pid: int) -> int:
    """Return how often any thread of a process has waited."""
    texts = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    found = [re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE) for text in texts]
    return sum(int(match[1]) for match in found if match is not None)
