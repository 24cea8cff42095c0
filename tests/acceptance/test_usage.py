"""Samples of usage with real processes, over a death of the agent."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hopx_async as hopx
from tests.support.agents import running_agent

BUSY = "x = bytearray(40_000_000)\nwhile True: pass"


async def test_samples_tell_the_tree_and_outlive_the_agent(tmp_path: Path) -> None:
    """A child's memory and time are in them; a new agent goes on; the sums only grow."""
    async with running_agent(tmp_path / "state") as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            assert sandbox.capabilities.usage
            script = f"python3 -c '{BUSY}' & wait"
            quiet = await sandbox.commands.start("sleep 60")
            handle = await sandbox.commands.start(script, usage_interval=0.2)
            samples: list[hopx.Usage] = []
            killed_at = 0
            async for event in handle.events():
                if isinstance(event, hopx.Usage):
                    samples.append(event)
                if not killed_at and samples and samples[-1].rss_bytes > 40_000_000:
                    os.kill(agent.agent_pid, signal.SIGKILL)
                    killed_at = len(samples)
                if killed_at and len(samples) == killed_at + 3:
                    break
            await handle.kill(grace=0)
            await quiet.kill(grace=0)
            told = [event async for event in quiet.events()]

    before, after = samples[:killed_at], samples[killed_at:]
    assert [sample.cpu_seconds for sample in before] == sorted(x.cpu_seconds for x in before)
    assert after[-1].cpu_seconds > before[-1].cpu_seconds
    assert [sample.at for sample in samples] == sorted(sample.at for sample in samples)
    assert [type(event) for event in told] == [hopx.Started, hopx.Exited]
