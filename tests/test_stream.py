"""Streams of events: subscriptions that come and go."""

from __future__ import annotations

import gc
import threading
from typing import Any

import anyio
import pytest

from hopx_async.protocol.events import Exited, Started
from hopx_async.sandbox import Sandbox
from hopx_async.testing import VirtualTimeLoop
from tests.support.virtual import CHATTER, SLEEP, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def live(sandbox: Sandbox) -> int:
    """Return how many subscriptions the sandbox's link holds."""
    return len(sandbox._client._pump._link._live)


async def test_a_dropped_stream_unsubscribes() -> None:
    """A stream that nobody refers to any more leaves no subscription."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        async for _ in handle.events():
            break
        gc.collect()
        assert live(sandbox) == 0


async def test_a_stream_dropped_in_another_thread_unsubscribes() -> None:
    """A finalizer that runs in another thread reaches the loop safely."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        held = [handle.events()]
        await anext(held[0])
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        await anyio.wait_all_tasks_blocked()
        assert live(sandbox) == 0


async def test_aclose_ends_the_reading_only() -> None:
    """aclose and the block end the reading; the command goes on."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        async with handle.events() as events:
            assert isinstance(await anext(events), Started)
        assert [event async for event in events] == []
        other = handle.events()
        await other.aclose()
        await other.aclose()
        assert live(sandbox) == 0
        assert (await handle.info()).status == "running"


async def test_an_ended_stream_stays_ended() -> None:
    """Iterating on after the last event yields nothing more."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        await handle.kill()
        events = handle.events()
        assert isinstance([event async for event in events][-1], Exited)
        assert [event async for event in events] == []


async def test_cursor_and_repr_follow_the_reading() -> None:
    """The stream's cursor is that of the event taken last."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        events = handle.events()
        first = await anext(events)
        assert events.cursor == first.cursor
        assert first.cursor in repr(events)
