"""Ten thousand idle commands on one agent: descriptors, and what happens while nothing does."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
from collections import Counter
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
# What a heartbeat is made of; asyncio asks for its own pid to notice a fork.
HEARTBEAT = {"epoll_wait", "recvmsg", "sendto", "getpid"}


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
        calls = await _system_calls([agent.pid, server, *keepers], tmp_path / "strace")
        record_property("system_calls", {pid: dict(counts) for pid, counts in calls.items()})
        if calls:
            told = [pid for pid in calls if set(calls[pid]) - HEARTBEAT]
            assert told == []
            # A ping is waited for, read, waited for again and answered.
            assert max(calls[pid].total() for pid in keepers) <= 5 * (IDLE / 2.5 + 2)
            assert calls[server].total() <= 6 * (IDLE / 5 + 2)


def _wakes(pid: int) -> int:
    """Return how often any thread of a process has waited."""
    texts = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    found = [re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE) for text in texts]
    return sum(int(match[1]) for match in found if match is not None)


async def _system_calls(pids: list[int], log: Path) -> dict[int, Counter[str]]:
    """Return how often each process made which call in that time; nothing without strace."""
    if shutil.which("strace") is None:
        return {}
    command = ["strace", "-f", "-qq", "-o", str(log)]
    for pid in pids:
        command += ["-p", str(pid)]
    tracer = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    ended = asyncio.create_task(tracer.wait())
    done, _ = await asyncio.wait([ended], timeout=IDLE)
    if done:
        return {}  # it may not look at other processes here
    tracer.send_signal(signal.SIGINT)
    await ended
    # The first call of each thread is what it waited in when strace came.
    calls: dict[int, Counter[str]] = {}
    for line in log.read_text().splitlines():
        if match := re.match(r"(\d+) +(\w+)\(", line):
            thread = int(match[1])
            if thread in calls:
                calls[thread][match[2]] += 1
            else:
                calls[thread] = Counter()
    return calls
