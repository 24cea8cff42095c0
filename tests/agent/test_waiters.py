"""Waiters: released together, gone without a trace when cancelled."""

from __future__ import annotations

import asyncio

from hopx_async.agent.waiters import Waiters


async def test_all_are_released_and_others_wait_on() -> None:
    """release lets those of one id go on, those of another wait."""
    waiters = Waiters()
    tasks = [asyncio.create_task(waiters.wait(name)) for name in ("a", "a", "b")]
    await asyncio.sleep(0)
    waiters.release("a")
    waiters.release("nobody")
    await asyncio.gather(*tasks[:2])

    assert not tasks[2].done()
    assert len(waiters) == 1
    waiters.release("b")
    await tasks[2]
    assert len(waiters) == 0


async def test_a_cancelled_wait_leaves_no_trace() -> None:
    """Of a wait that was cancelled nothing is left; the other one goes on."""
    waiters = Waiters()
    first, second = (asyncio.create_task(waiters.wait("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert len(waiters) == 1
    waiters.release("a")
    await second
    assert len(waiters) == 0
