"""Doors: awaited or entered, once."""

from __future__ import annotations

import asyncio
import gc
import inspect
from contextlib import AsyncExitStack

import anyio
import pytest

from hopx_async.opening import Opening


class Thing:
    """Something that counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1


async def make() -> Thing:
    """Open a thing, with a checkpoint on the way."""
    await anyio.lowlevel.checkpoint()
    return Thing()


async def test_await_gives_the_thing_open() -> None:
    """Awaiting a door leaves the closing to its user."""
    thing = await Opening(make())

    assert thing.closed == 0


async def test_entering_closes_at_the_end() -> None:
    """Leaving the block closes, once, also when it is left by an exception, which arrives bare."""
    things = []
    with pytest.raises(KeyError):
        async with Opening(make()) as thing:
            things.append(thing)
            raise KeyError("x")

    assert [thing.closed for thing in things] == [1]


async def test_opening_is_a_coroutine_for_asyncio() -> None:
    """create_task, gather and wait_for take a door as they take a coroutine."""
    task = asyncio.create_task(Opening(make()))
    things = await asyncio.gather(Opening(make()), Opening(make()))

    assert isinstance(await task, Thing)
    assert len({id(thing) for thing in things}) == 2
    assert isinstance(await asyncio.wait_for(Opening(make()), 5), Thing)


def test_run_takes_a_door() -> None:
    """asyncio.run takes a door as its main coroutine."""
    assert isinstance(asyncio.run(Opening(make())), Thing)


async def test_exit_stack_takes_a_door() -> None:
    """An exit stack enters and closes a door."""
    async with AsyncExitStack() as stack:
        thing = await stack.enter_async_context(Opening(make()))

    assert thing.closed == 1


async def test_a_door_that_fails_closes_nothing() -> None:
    """The error of an opening arrives bare from both forms."""

    async def fail() -> Thing:
        raise LookupError("no")

    with pytest.raises(LookupError):
        await Opening(fail())
    with pytest.raises(LookupError):
        async with Opening(fail()):
            raise AssertionError("not reached")


async def test_a_forgotten_await_warns() -> None:
    """A door that nobody awaited warns as a coroutine does."""
    with pytest.warns(RuntimeWarning, match="never awaited"):
        Opening(make())
        gc.collect()


async def test_a_forgotten_await_is_told_where_the_thing_is_used() -> None:
    """Whoever uses a door as what is behind it hears what to say."""
    door = Opening(make())
    with pytest.raises(AttributeError, match=r"no 'closed': say 'x = await \.\.\.' or") as caught:
        door.closed  # type: ignore[attr-defined]  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("closed", door)
    assert not hasattr(door, "__enter__")
    door.close()


async def test_a_task_of_a_door_has_a_name() -> None:
    """asyncio's debug mode names what is opened."""
    task = asyncio.create_task(Opening(make()))
    assert "coro=<make()" in repr(task)
    await task


async def test_close_gives_it_up() -> None:
    """close before the await leaves no warning and runs nothing."""
    coroutine = make()
    Opening(coroutine).close()

    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


async def test_opening_can_be_cancelled() -> None:
    """A cancelled opening raises the cancellation into what it opens."""
    seen = []

    async def slow() -> Thing:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return Thing()

    task = asyncio.create_task(Opening(slow()))
    await anyio.lowlevel.checkpoint()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
