"""Ports of scripted commands."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from hopx_async.errors import InvalidArgument
from hopx_async.testing import VirtualTimeLoop
from hopx_async.testing.memory_ports import MemoryPorts


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def test_a_port_is_open_once_the_script_says_so() -> None:
    """A wait ends when the port opens and its path is answered well, or the command ends."""
    ports = MemoryPorts()
    plain = asyncio.create_task(ports.wait(80, None))
    path = asyncio.create_task(ports.wait(80, "/health"))
    other = asyncio.create_task(ports.wait(81, None))
    await anyio.wait_all_tasks_blocked()
    ports.open(80, {"/health": 503})
    assert await plain == {"ready": True, "ended": False}
    ports.open(80, {"/health": 200})
    assert await path == {"ready": True, "ended": False}
    ports.close()
    assert await other == {"ready": False, "ended": True}
    assert await ports.wait(80, None) == {"ready": True, "ended": True}


async def test_what_an_agent_refuses_is_refused() -> None:
    """Ports and paths are checked as an agent checks them."""
    with pytest.raises(InvalidArgument, match="port"):
        await MemoryPorts().wait(0, None)
    with pytest.raises(InvalidArgument, match="path"):
        await MemoryPorts().wait(80, "x")
