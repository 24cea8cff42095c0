"""The guard around a sandbox's connection: one event loop, one process."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import hopx_async as hopx
from hopx_async.errors import ClosedError, HopxError, MisuseError
from hopx_async.testing import memory
from tests.support.virtual import SLEEP, agent_of


def test_another_event_loop_is_told() -> None:
    """Every use in another loop raises MisuseError that names both, and hangs nowhere."""
    with asyncio.Runner() as first, asyncio.Runner() as second:
        sandbox = first.run(memory(agent=agent_of()))

        async def start() -> object:
            return await sandbox.commands.start(SLEEP)

        async def wait() -> object:
            return await handle.wait()

        async def stream() -> object:
            return handle.events()

        handle = first.run(sandbox.commands.start(SLEEP))
        for use in (start, wait, stream, sandbox.aclose, handle.info, sandbox.statistics):
            with pytest.raises(MisuseError, match="event loop"):
                second.run(use())
        first.run(sandbox.aclose())


def test_a_forked_process_is_told() -> None:
    """After a fork the child gets MisuseError, and the parent's sandbox is not disturbed."""

    async def main() -> None:
        async with memory(agent=agent_of()) as sandbox:
            handle = await sandbox.commands.start(SLEEP)
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    sandbox._client.check()
                except MisuseError:
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert (await handle.kill()).reason == "killed"

    asyncio.run(main())


async def test_a_closed_sandbox_is_told() -> None:
    """Every use after aclose raises ClosedError; closing again is nothing."""
    sandbox = await memory(agent=agent_of())
    handle = await sandbox.commands.start(SLEEP)
    events = handle.events()
    await sandbox.aclose()
    await sandbox.aclose()

    uses = (handle.wait(), handle.kill(), handle.info(), handle.output(), sandbox.commands.list())
    for use in uses:
        with pytest.raises(ClosedError):
            await use
    with pytest.raises(ClosedError):
        handle.events()
    with pytest.raises(HopxError):
        while True:
            await anext(events)


async def test_what_is_owned_and_fails_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody waits for it, so that its error goes to our log, not to asyncio's."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))

    async def work() -> None:
        raise ZeroDivisionError("a bug")

    async with memory(agent=agent_of()) as sandbox:
        await asyncio.wait([sandbox._client.own(work())])
    gc.collect()
    told = [record for record in caplog.records if record.name == "hopx_async"]
    assert [(each.levelname, sandbox.sandbox_id in each.message) for each in told] == [
        ("ERROR", True)
    ]
    assert "ZeroDivisionError: a bug" in caplog.text
    assert complaints == []


def _undoing(sandbox: hopx.Sandbox, done: list[str]) -> None:
    """Let the client own something that ends in a moment, by a call."""

    async def work() -> None:
        try:
            await anyio.sleep(0.05)
            await sandbox._client.call("statistics")
            done.append("done")
        except ClosedError:
            done.append("closed")

    sandbox._client.own(work())


async def _wait(_sandbox: hopx.Sandbox, closing: Awaitable[None]) -> None:
    await closing


async def _cancel(_sandbox: hopx.Sandbox, closing: Awaitable[None]) -> None:
    task = asyncio.ensure_future(closing)
    await anyio.lowlevel.checkpoint()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def _lose(sandbox: hopx.Sandbox, closing: Awaitable[None]) -> None:
    sandbox._client._pump._feed = None
    await closing


@pytest.mark.parametrize(
    ("close", "how"), [(_wait, "done"), (_cancel, "closed"), (_lose, "closed")]
)
async def test_what_is_owned_ends_with_the_client(
    close: Callable[[hopx.Sandbox, Awaitable[None]], Awaitable[None]], how: str
) -> None:
    """Closing waits for it while the link is up; in any case nothing of it is left."""
    sandbox = await memory(agent=agent_of())
    await sandbox.statistics()
    done: list[str] = []
    _undoing(sandbox, done)
    await close(sandbox, sandbox._client.aclose())
    assert done == [how]
    await sandbox.aclose()
