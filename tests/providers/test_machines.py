"""Tests of hopx_async.providers.machines, with agents that run."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import aiohttp
import pytest

from hopx_async.control.records import Sandbox
from hopx_async.errors import HopxError
from hopx_async.providers.machines import AgentMachines
from tests.support.agents import descriptors_of

if TYPE_CHECKING:
    from pathlib import Path


def sandbox() -> Sandbox:
    return Sandbox(id="1x", template="base", token_secret="7a" * 64, created_at=1.5)


async def healthy(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/health") as response:
        return response.status


async def test_an_agent_is_paused_and_stopped(tmp_path: Path) -> None:
    """It runs until it is stopped; paused, it answers nobody."""
    machines = AgentMachines()
    machine = await machines.start(sandbox(), tmp_path)
    try:
        assert await healthy(machine.url) == 200
        await machine.pause()
        assert await healthy(machine.url) == 503
        await machine.resume()
        assert await healthy(machine.url) == 200
    finally:
        await machine.stop(0.5)

    assert await machines.find(sandbox(), tmp_path) is None


@pytest.mark.leaves_orphans
async def test_a_detached_agent_is_found_again(tmp_path: Path) -> None:
    """Another control plane finds it by its directory, stops it, and starts it where it was."""
    first = AgentMachines(detached=True)
    known = sandbox()
    known.url = (await first.start(known, tmp_path)).url
    found = await AgentMachines(detached=True).find(known, tmp_path)
    assert found is not None
    assert found.url == known.url
    await found.stop(0.5)
    assert await first.find(known, tmp_path) is None
    with pytest.raises(HopxError):
        await found.pause()

    again = await first.start(known, tmp_path)
    await again.stop(0.5)
    assert again.url == known.url


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url":"x","pid":"y"}', None])
async def test_a_note_that_cannot_be_used_is_none(note: str | None, tmp_path: Path) -> None:
    """Somebody holds the place, and nobody knows who: that is no agent that was found."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "token").write_text("t")
    if note is not None:
        (state / "agent.json").write_text(note)
    with (state / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert await AgentMachines().find(sandbox(), tmp_path) is None


async def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    """An agent that cannot come up is an error, and leaves no process."""
    (tmp_path / "state").write_text("no directory")
    before = descriptors_of(os.getpid())
    with pytest.raises(HopxError):
        await AgentMachines().start(sandbox(), tmp_path)

    assert descriptors_of(os.getpid()) == before
