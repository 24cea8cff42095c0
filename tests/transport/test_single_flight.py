"""One errand for all who want it at once."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest

from hopx_async.errors import AgentUnreachable, ClosedError
from hopx_async.transport.single_flight import SingleFlight


class Errand:
    """Counts how often it was begun; ends when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = anyio.Event()
        self.error: Exception | None = None

    async def run(self) -> int:
        self.begun += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.begun


async def test_many_wait_for_one() -> None:
    """A hundred tasks wait for one errand; whoever comes afterwards begins another."""
    errand = Errand()
    flight = SingleFlight(errand.run)
    tasks = [asyncio.create_task(flight.join()) for _ in range(100)]
    await anyio.lowlevel.checkpoint()
    errand.gate.set()

    assert await asyncio.gather(*tasks) == [1] * 100
    assert await flight.join() == 2


async def test_the_first_may_give_up() -> None:
    """The task that began it is cancelled, and so are others: who is left gets the result."""
    errand = Errand()
    flight = SingleFlight(errand.run)
    first, second, third = (asyncio.create_task(flight.join()) for _ in "123")
    await anyio.lowlevel.checkpoint()
    first.cancel()
    third.cancel()
    await asyncio.wait([first, third])
    assert first.cancelled()
    errand.gate.set()

    assert await second == 1


async def test_an_error_is_everybodys() -> None:
    """Each who waits gets the error, bare; the next call tries anew."""
    errand = Errand()
    errand.error = AgentUnreachable("nobody")
    flight = SingleFlight(errand.run)
    tasks = [asyncio.create_task(flight.join()) for _ in range(3)]
    await anyio.lowlevel.checkpoint()
    errand.gate.set()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert result is errand.error
    errand.error = None

    assert await flight.join() == 2


async def test_an_error_that_nobody_waits_for_is_no_complaint() -> None:
    """If all have given up, the errand fails in silence, and the next one is another."""
    errand = Errand()
    errand.error = AgentUnreachable("nobody")
    flight = SingleFlight(errand.run)
    task = asyncio.create_task(flight.join())
    await anyio.lowlevel.checkpoint()
    task.cancel()
    await asyncio.wait([task])
    errand.gate.set()
    await anyio.wait_all_tasks_blocked()
    errand.error = None

    assert await flight.join() == 2


async def test_closing_ends_it() -> None:
    """Who waits gets ClosedError, and so does who comes later; closing twice is nothing."""
    errand = Errand()
    flight = SingleFlight(errand.run)
    task = asyncio.create_task(flight.join())
    await anyio.lowlevel.checkpoint()
    await flight.aclose()
    await flight.aclose()
    with pytest.raises(ClosedError):
        await task
    with pytest.raises(ClosedError):
        await flight.join()
