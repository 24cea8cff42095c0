"""Commands that somebody owns: the pieces that groups and maps share."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from hopx_async.errors import ClosedError, CommandFailed, InvalidArgument
from hopx_async.model import CommandSpec
from hopx_async.starting import LaterHandle, LaterWay, end_owned, settle
from hopx_async.testing import VirtualTimeLoop, run
from tests.support.virtual import SLEEP, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def test_settle_lets_a_cancellation_through_behind_the_end() -> None:
    """settle waits for the tasks whatever cancels it meanwhile, and raises that then."""
    slow = asyncio.create_task(anyio.sleep(10))
    task = asyncio.create_task(settle([slow]))
    await anyio.sleep(1)
    task.cancel()
    await anyio.sleep(1)
    assert not task.done()
    await asyncio.wait([task])
    assert task.cancelled()
    assert slow.done()


async def test_a_handle_that_never_starts_tells_why() -> None:
    """Everything that is awaited of it raises the reason, also what waited before."""
    handle = LaterHandle(CommandSpec.make("x"), lambda _: False)
    waiting = asyncio.create_task(handle.wait())
    events = handle.events()
    await anyio.wait_all_tasks_blocked()
    assert not handle.settled
    handle.fail(ClosedError("over"))
    handle.fail(ValueError("too late"))
    assert handle.settled
    for awaited in (waiting, anext(events), handle.info(), handle.kill(), handle.result()):
        with pytest.raises(ClosedError, match="over"):
            await awaited


async def test_a_wait_for_the_start_can_be_cancelled() -> None:
    """Cancelling what waits for the start leaves the handle as it was."""
    async with opened(agent_of()) as sandbox:
        handle = LaterHandle(CommandSpec.make(SLEEP), lambda _: False)
        with anyio.move_on_after(1) as scope:
            await handle.info()
        assert scope.cancelled_caught
        handle.begin(await sandbox.commands.start(SLEEP, process_id=handle.process_id))
        assert (await handle.info()).status == "running"


async def test_ending_never_raises() -> None:
    """end_owned ends a command, or says in a sentence why it may still run."""
    agent = agent_of()
    async with opened(agent, give_up_after=10) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        problems: list[str] = []
        agent.refuse()
        await end_owned(handle, 1, problems)
        assert "may still run" in problems.pop()
        agent.heal()
        await end_owned(handle, 1, problems)
        assert problems == []
        assert (await handle.wait()).reason == "killed"


async def test_a_handle_that_is_killed_before_its_start_was_killed() -> None:
    """Withdrawn, it has an end, also for who waited before, and no output."""
    handle = LaterHandle(CommandSpec.make("x"), lambda _: True)
    waiting, reading = asyncio.create_task(handle.wait()), asyncio.create_task(handle.result())
    await anyio.wait_all_tasks_blocked()
    with pytest.raises(InvalidArgument):
        await handle.kill(-1)
    fate = await handle.kill()
    assert (fate.reason, fate.exit_code, fate.started_at) == ("killed", None, None)
    assert fate is await waiting is await handle.wait() is await handle.kill()
    with pytest.raises(CommandFailed):
        await handle.wait(check=True)
    with pytest.raises(ClosedError, match="before it had started"):
        await reading
    await handle.aclose()


async def test_a_kill_that_is_too_late_to_withdraw_waits_for_the_start() -> None:
    """A command on its way is killed once it has started; cancelling that kill is safe."""
    async with opened(agent_of()) as sandbox:
        handle = LaterHandle(CommandSpec.make(SLEEP), lambda _: False)
        with anyio.move_on_after(1) as scope:
            await handle.kill()
        assert scope.cancelled_caught
        handle.begin(await sandbox.commands.start(SLEEP, process_id=handle.process_id))
        assert (await handle.kill()).reason == "killed"


def test_who_has_gone_is_not_called_back() -> None:
    """A callback that was taken back is forgotten, also if it never was there."""

    async def main() -> None:
        way = LaterWay("cmd")
        called: list[str] = []
        callbacks = [lambda name=name: called.append(name) for name in ("a", "b")]
        for callback in callbacks:
            way.when_ready(callback)
        way.forget_ready(callbacks[0])
        way.forget_ready(callbacks[0])
        way.fail(ClosedError("over"))
        assert called == ["b"]

    run(main())
