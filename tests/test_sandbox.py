"""Sandboxes: opened and closed in every order, with exceptions that arrive bare."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from hopx_async.sandbox import Sandbox
from hopx_async.testing import VirtualTimeLoop, memory
from tests.support.virtual import SLEEP, agent_of


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def door() -> Any:
    """Return a door to a fresh memory sandbox."""
    return memory(agent=agent_of())


async def test_one_task_opens_and_another_closes() -> None:
    """As in the cells of a notebook, opening and closing are different tasks."""
    sandbox = await asyncio.create_task(door())
    handle = await asyncio.create_task(sandbox.commands.start(SLEEP))
    waiting = asyncio.create_task(handle.wait())
    await asyncio.create_task(handle.kill())
    assert (await waiting).reason == "killed"
    await asyncio.create_task(sandbox.aclose())


async def test_sandboxes_close_out_of_order() -> None:
    """The first opened may be closed first, or in the middle of another's block."""
    first = await door()
    async with door() as second:
        third = await door()
        await first.aclose()
        await second.commands.list()
    await third.aclose()


async def test_sandboxes_open_gathered_and_in_exit_stacks() -> None:
    """gather opens many at once, an exit stack closes them."""
    async with AsyncExitStack() as stack:
        sandboxes = await asyncio.gather(*(door() for _ in range(5)))
        for sandbox in sandboxes:
            stack.push_async_callback(sandbox.aclose)
        assert isinstance(await stack.enter_async_context(door()), Sandbox)


async def test_exceptions_arrive_bare() -> None:
    """An exception in the block is the one that is raised, in no group."""
    with pytest.raises(KeyError) as caught:
        async with door() as sandbox:
            await sandbox.commands.start(SLEEP)
            raise KeyError("mine")
    assert type(caught.value) is KeyError


async def test_a_cancelled_block_closes() -> None:
    """A block that is cancelled ends its commands before it is left."""
    agent = agent_of()
    ids = []
    with anyio.move_on_after(1):
        async with memory(agent=agent) as sandbox:
            handle = await sandbox.commands.start(SLEEP)
            ids.append(handle.process_id)
            await handle.wait()
    assert agent.commands[ids[0]].exit is not None


async def test_kill_ends_the_sandbox() -> None:
    """kill ends everything in it and closes it."""
    agent = agent_of()
    sandbox = await memory(agent=agent)
    handle = await sandbox.commands.start(SLEEP)
    await sandbox.kill()
    ended = agent.commands[handle.process_id].exit
    assert ended is not None
    assert ended["reason"] == "sandbox_stopped"
    assert "closed" in repr(sandbox)


async def test_repr_tells_the_state() -> None:
    """repr says whether the link is up; what belongs to a sandbox says to which."""
    sandbox = await door()
    await anyio.wait_all_tasks_blocked()
    assert "up" in repr(sandbox)
    assert repr(sandbox.commands) == f"<Commands of {sandbox.sandbox_id}>"
    assert repr(sandbox.files) == f"<Files of {sandbox.sandbox_id}>"
    assert repr(sandbox.env) == f"<Environment of {sandbox.sandbox_id}>"
    await sandbox.aclose()
