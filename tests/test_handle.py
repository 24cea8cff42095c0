"""Handles: what the contract checks do not say already."""

from __future__ import annotations

import asyncio
import pickle
import signal
from typing import Any

import anyio
import pytest

from hopx_async.errors import InvalidArgument
from hopx_async.model import CommandRef
from hopx_async.testing import VirtualTimeLoop
from tests.support.virtual import SLEEP, STEPS, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.mark.parametrize("grace", [-1, float("nan"), float("inf"), "5", None])
async def test_kill_refuses_a_grace_that_is_none(grace: Any) -> None:
    """kill names a grace period that breaks its rule, before anything is sent."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        with pytest.raises(InvalidArgument, match="grace"):
            await handle.kill(grace=grace)
        assert (await handle.info()).status == "running"


@pytest.mark.parametrize("given", ["INT", "SIGINT", signal.SIGINT, 2])
async def test_send_signal_takes_a_name_or_a_number(given: Any) -> None:
    """A signal may be given in any of the usual ways."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        await handle.send_signal(given)
        assert (await handle.wait()).signal == "SIGINT"


@pytest.mark.parametrize("given", ["", "SIGSEGV", 0, 99, True, None])
async def test_send_signal_refuses_what_is_none(given: Any) -> None:
    """A signal that cannot be sent is refused by name."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        with pytest.raises(InvalidArgument, match="signal"):
            await handle.send_signal(given)


async def test_a_ref_travels() -> None:
    """A ref survives pickle and JSON, holds no token, and finds the command again."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(STEPS, name="steps")
        ref = pickle.loads(pickle.dumps(handle.ref))  # noqa: S301  # our own bytes
        assert ref == CommandRef.from_json(handle.ref.to_json())
        again = await sandbox.commands.get(ref)
        assert (again.process_id, again.name, again.pid) == (handle.process_id, "steps", handle.pid)
        assert (await sandbox.commands.get(handle.process_id)).ref == ref
        with pytest.raises(InvalidArgument, match="ref"):
            CommandRef.from_json("[]")


async def test_repr_tells_the_fate_once_it_is_known() -> None:
    """repr shows id, name and pid, and the status after the end."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(STEPS, name="steps")
        assert "completed" not in repr(handle)
        assert "'steps'" in repr(handle)
        await handle.wait()
        assert "failed" in repr(handle)


async def test_leaving_the_block_of_a_start_kills() -> None:
    """async with start(...) ends the command when the block is left, by an exception too."""
    async with opened(agent_of()) as sandbox:
        handles = []
        with pytest.raises(KeyError):
            async with sandbox.commands.start(SLEEP) as handle:
                handles.append(handle)
                raise KeyError("x")
        assert (await handles[0].wait()).reason == "killed"


@pytest.mark.parametrize("use", ["wait", "result", "output", "info", "kill", "terminate"])
@pytest.mark.parametrize("moment", range(6))
async def test_every_await_can_be_cancelled(use: str, moment: int) -> None:
    """Each await of a handle may be cancelled at any turn; the handle is usable afterwards."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        task = asyncio.create_task(getattr(handle, use)())
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
        assert (await handle.kill()).reason == "killed"
        assert len(sandbox._client._pump._link._live) == 0


async def test_a_handle_that_sends_nothing_holds_nothing_for_it() -> None:
    """The sending side is made when it is first needed: there may be ten thousand handles."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        assert handle._writer is None
        await handle.kill()
        assert handle._writer is None


async def test_a_handle_cannot_be_pickled_but_says_what_can() -> None:
    """Whoever hands a handle to another process hears what to hand over instead."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        with pytest.raises(TypeError, match=r"handle\.ref can: commands\.get\(ref\)"):
            pickle.dumps(handle)
