"""Sandboxes: opened and closed in every order, with exceptions that arrive bare."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import warnings
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from hopx_async.sandbox import Sandbox
from hopx_async.testing import VirtualTimeLoop, memory
from tests.support.virtual import SLEEP, STEPS, agent_of


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


DROPS = """
import asyncio, gc, os, sys
from hopx_async.testing import memory

async def main():
    global kept
    kept = await memory()
    if "closed" in sys.argv:
        await kept.aclose()

asyncio.run(main())
if "fork" in sys.argv:
    child = os.fork()
    if child == 0:
        del kept
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
"""


async def test_a_sandbox_that_is_dropped_says_so_once() -> None:
    """Whoever forgets to close one is told its name and what to do; its handles go on."""
    sandbox = await door()
    client, name = sandbox._client, sandbox.sandbox_id
    handle = await sandbox.commands.start(STEPS)
    with pytest.warns(ResourceWarning) as told:
        del sandbox
        gc.collect()

    said = f"sandbox {name} was never closed: say 'async with' at its door, or 'await "
    assert [str(one.message) for one in told] == [said + "sandbox.aclose()'"]
    assert (await handle.wait()).exit_code == 3
    await client.aclose()


async def test_a_sandbox_that_is_closed_or_being_closed_is_dropped_in_silence() -> None:
    """However it was ended: by its block, by hand, by a kill, or cancelled in the middle."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        async with door():
            pass
        await (await door()).aclose()
        await (await door()).kill()
        task = asyncio.create_task((await door()).aclose())
        await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
        del task
        gc.collect()

    assert told == []


async def test_a_sandbox_may_be_dropped_in_any_thread() -> None:
    """A collector runs wherever it is: nothing but the warning comes of it."""
    kept = [await door()]
    client = kept[0]._client
    with pytest.warns(ResourceWarning, match="was never closed"):
        await anyio.to_thread.run_sync(kept.clear)
        gc.collect()
    await client.aclose()


def test_a_sandbox_that_was_never_made_whole_is_dropped_in_silence() -> None:
    """A failure in the making is told by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Sandbox.__new__(Sandbox).__del__()


@pytest.mark.parametrize(("how", "count"), [("plainly", 1), ("fork", 1), ("closed", 0)])
def test_a_sandbox_that_is_left_at_the_end_of_python_says_so(how: str, count: int) -> None:
    """Once, also when the loop is long gone; in a child that was forked nobody owns it."""
    program = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", DROPS, how],
        capture_output=True,
        check=True,
        text=True,
    )

    assert program.stderr.count("was never closed") == count
    assert "Exception ignored" not in program.stderr
    assert "Traceback" not in program.stderr
