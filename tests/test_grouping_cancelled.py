"""Groups that are cancelled: from outside, by scopes around and inside them, and by each other."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from hopx_async import Group
from hopx_async.errors import (
    CommandFailed,
)
from hopx_async.sandbox import Sandbox
from hopx_async.testing import ScriptedCommand, VirtualTimeLoop, memory


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def nap(command: ScriptedCommand) -> int:
    """Sleep for as many seconds as the first argument says, exit with the second."""
    seconds, code = (*command.spec["command"][1:], "0")[:2]
    await anyio.sleep(float(seconds))
    await command.stdout(b"done\n")
    return int(code)


SCRIPTS = {"nap": nap}
LONG = ["nap", "3600"]
FAIL = ["nap", "1", "3"]


async def running(sandbox: Sandbox) -> int:
    """Return how many commands run."""
    return len(await sandbox.commands.list(status="running"))


@pytest.mark.parametrize("moment", range(14))
async def test_a_group_cancelled_at_any_moment_leaves_nothing(moment: int) -> None:
    """Cancelled from outside at any turn, a group ends what it started and stays cancelled."""
    async with memory(SCRIPTS) as sandbox:

        async def body() -> None:
            async with sandbox.commands.group(limit=2) as group:
                for _ in range(4):
                    group.start_soon(LONG)

        task = asyncio.create_task(body())
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert anyio.current_time() < 60
        assert await running(sandbox) == 0


async def test_a_cancellation_together_with_a_failure_wins() -> None:
    """Cancelled from outside in the turn of a failure, the block stays cancelled; a note tells."""
    async with memory(SCRIPTS) as sandbox:
        groups: list[Group] = []

        async def body() -> None:
            async with sandbox.commands.group() as group:
                groups.append(group)
                await anyio.sleep(1000)

        task = asyncio.create_task(body())
        await anyio.wait_all_tasks_blocked()
        groups[0]._failed(ValueError("a failure"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "a failure" in caught.value.__notes__[0]


@pytest.mark.parametrize("seconds", [0.5, 1, 1.0000001])
@pytest.mark.parametrize("scope", ["asyncio", "anyio"])
async def test_a_timeout_around_a_group_wins(scope: str, seconds: float) -> None:
    """A timeout around a group fires as such, also together with a failure."""
    async with memory(SCRIPTS) as sandbox:
        timer: Any = asyncio.timeout if scope == "asyncio" else anyio.fail_after
        with pytest.raises((TimeoutError, CommandFailed)) as caught:
            async with _Both(timer(seconds)), sandbox.commands.group() as group:
                group.start_soon(LONG)
                group.start_soon(FAIL)
                await anyio.sleep(1000)
        assert seconds >= 1 or isinstance(caught.value, TimeoutError)
        assert await running(sandbox) == 0
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await anyio.sleep(1)


class _Both:
    """A timeout scope of either kind, as an asynchronous one."""

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    async def __aenter__(self) -> None:
        enter = getattr(self._scope, "__aenter__", None)
        await enter() if enter else self._scope.__enter__()

    async def __aexit__(self, *exc: object) -> Any:
        leave = getattr(self._scope, "__aexit__", None)
        return await leave(*exc) if leave else self._scope.__exit__(*exc)


async def test_a_timeout_inside_a_group_is_the_blocks_own() -> None:
    """A scope in the block that catches its own timeout leaves the group alone."""
    async with memory(SCRIPTS) as sandbox:
        async with sandbox.commands.group() as group:
            handle = group.start_soon(["nap", "10"])
            with anyio.move_on_after(1):
                await handle.wait()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await handle.wait()
        assert (await handle.wait()).ok


@pytest.mark.parametrize("nest", [asyncio.TaskGroup, anyio.create_task_group])
async def test_a_failure_ends_a_task_group_in_the_block(nest: Any) -> None:
    """Tasks of a task group inside the block are cancelled, and one bare error comes out."""
    async with memory(SCRIPTS) as sandbox:
        ended: list[str] = []

        async def child() -> None:
            try:
                await anyio.sleep(1000)
            finally:
                ended.append("child")

        with pytest.raises(CommandFailed):
            async with sandbox.commands.group() as group, nest() as tasks:
                group.start_soon(FAIL)
                start = getattr(tasks, "start_soon", None)
                start(child) if start else tasks.create_task(child())
        assert ended == ["child"]


@pytest.mark.parametrize("which", ["outer", "inner"])
async def test_groups_nest(which: str) -> None:
    """A failure of the outer group ends the inner one; one of the inner ends both."""
    async with memory(SCRIPTS) as sandbox:
        with pytest.raises(CommandFailed) as caught:
            async with sandbox.commands.group() as outer:
                outer.start_soon(LONG)
                async with sandbox.commands.group() as inner:
                    inner.start_soon(LONG)
                    {"outer": outer, "inner": inner}[which].start_soon(FAIL, name=which)
                    await anyio.sleep(1000)
        assert caught.value.name == which
        assert anyio.current_time() < 5
        assert await running(sandbox) == 0


async def test_both_groups_fail_at_once() -> None:
    """When both fail together, the outer error is raised, and nothing is left cancelled."""
    async with memory(SCRIPTS) as sandbox:
        with pytest.raises(CommandFailed):
            async with sandbox.commands.group() as outer, sandbox.commands.group() as inner:
                outer.start_soon(FAIL, name="outer")
                inner.start_soon(FAIL, name="inner")
                await anyio.sleep(1000)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await anyio.sleep(1)
        assert await running(sandbox) == 0
