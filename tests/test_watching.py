"""Watches of files, on a memory sandbox that can be broken, in virtual time."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import hopx_async as hopx
from hopx_async.testing import MemoryAgent, VirtualTimeLoop
from hopx_async.testing.memory_files import MAX_EVENTS
from tests.support.virtual import opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def agent() -> MemoryAgent:
    """Return an agent without commands."""
    return MemoryAgent({})


def short(event: hopx.FileEvent) -> tuple[str, str]:
    """Return name and kind."""
    return event.path.removeprefix("/workspace/"), event.kind


async def test_changes_come_in_order() -> None:
    """What happens below the path, from when it is entered, is told once and in order."""
    far = agent()
    async with opened(far) as sandbox:
        far.files.put("/workspace/d/before", b"")
        async with sandbox.files.watch("d") as watch:
            await sandbox.files.write("elsewhere", b"")
            await sandbox.files.write("d/a", b"1")
            await sandbox.files.write("d/a", b"2")
            await sandbox.files.remove("d/before")
            told = [short(await anext(watch)) for _ in range(3)]

            assert told == [("d/a", "created"), ("d/a", "modified"), ("d/before", "deleted")]
            assert repr(watch) == "<FileWatch '/workspace/d' watching>"
        assert [event async for event in watch] == []
        assert repr(watch) == "<FileWatch '/workspace/d' closed>"


async def test_an_interruption_is_told() -> None:
    """After a lost connection comes "missed", then what happens from then on."""
    far = agent()
    async with opened(far) as sandbox, sandbox.files.watch() as watch:
        for outage in (0.0, 30.0):
            far.refuse()
            far.files.put(f"/workspace/unseen {outage}", b"")
            told: list[hopx.FileEvent] = []
            async with anyio.create_task_group() as group:

                async def take() -> None:
                    told.append(await anext(watch))  # noqa: B023  # awaited within the round

                group.start_soon(take)
                await anyio.sleep(outage)
                far.heal()
            assert [short(event) for event in told] == [("/workspace", "missed")]
            far.files.put("/workspace/seen", b"")
            assert short(await anext(watch))[0] == "seen"


async def test_what_was_told_before_a_cut_is_read_first() -> None:
    """A cut loses nothing that had come."""
    far = agent()
    async with opened(far) as sandbox, sandbox.files.watch() as watch:
        far.files.put("/workspace/a", b"")
        far.drop()
        assert [short(await anext(watch)) for _ in range(2)] == [
            ("a", "created"),
            ("/workspace", "missed"),
        ]


async def test_a_reader_that_is_far_behind_is_told() -> None:
    """Beyond the bound changes are dropped, and "missed" says so behind those that are held."""
    far = agent()
    async with opened(far) as sandbox, sandbox.files.watch() as watch:
        for number in range(MAX_EVENTS * 3):
            far.files.put(f"/workspace/{number}", b"")
        told = [short(await anext(watch)) for _ in range(MAX_EVENTS + 1)]

        assert told[:-1] == [(str(number), "created") for number in range(MAX_EVENTS)]
        assert told[-1] == ("/workspace", "missed")


async def test_a_watch_without_a_block_begins_with_its_first_item() -> None:
    """Iterating alone is enough; what happened before is not told."""
    far = agent()
    async with opened(far) as sandbox:
        watch = sandbox.files.watch()
        assert repr(watch) == "<FileWatch '/workspace' not watching>"
        far.files.put("/workspace/before", b"")

        async def later() -> None:
            await anyio.sleep(5)
            far.files.put("/workspace/after", b"")

        async with anyio.create_task_group() as group:
            group.start_soon(later)
            async for event in watch:
                assert short(event) == ("after", "created")
                break
        await watch.aclose()


async def test_waiting_can_be_cancelled() -> None:
    """A cancelled wait loses no change, wherever it is cancelled."""
    far = agent()
    async with opened(far) as sandbox:
        watch = sandbox.files.watch()
        far.stall()
        with anyio.move_on_after(1):
            await anext(watch)
        far.heal()
        async with watch:
            with anyio.move_on_after(1) as scope:
                await anext(watch)
            assert scope.cancelled_caught
            far.files.put("/workspace/a", b"")
            assert short(await anext(watch)) == ("a", "created")


async def test_what_is_gone_ends_the_watch() -> None:
    """What was watched and is not there after an interruption is FileNotFound."""
    far = agent()
    far.files.put("/workspace/d/a", b"")
    async with opened(far) as sandbox, sandbox.files.watch("d") as watch:
        far.drop()
        far.files.drop("/workspace/d")
        with pytest.raises(hopx.FileNotFound):
            await anext(watch)
        with pytest.raises(hopx.PathNotAllowed):
            await anext(sandbox.files.watch("../d"))


async def test_it_gives_up_with_the_policy() -> None:
    """Nobody there for so long is AgentUnreachable; asked again it tries again."""
    far = agent()
    async with opened(far, give_up_after=60.0) as sandbox, sandbox.files.watch() as watch:
        far.refuse()
        with pytest.raises(hopx.AgentUnreachable):
            await anext(watch)
        far.heal()
        assert short(await anext(watch)) == ("/workspace", "missed")


async def test_one_reader_at_a_time() -> None:
    """A second task is refused, the first goes on."""
    far = agent()
    async with opened(far) as sandbox, sandbox.files.watch() as watch:
        async with anyio.create_task_group() as group:
            group.start_soon(anext, watch)
            await anyio.sleep(1)
            with pytest.raises(hopx.BusyError):
                await anext(watch)
            far.files.put("/workspace/a", b"")


@pytest.mark.parametrize("connected", [True, False])
async def test_another_task_can_close_it(connected: bool) -> None:
    """Closed by another task, a loop over it ends, also one that waits for a connection."""
    far = agent()
    async with opened(far) as sandbox:
        watch = sandbox.files.watch()
        told: list[hopx.FileEvent] = []

        async def loop() -> None:
            told.extend([event async for event in watch])

        if not connected:
            far.stall()
        async with anyio.create_task_group() as group:
            group.start_soon(loop)
            await anyio.sleep(1)
            await watch.aclose()
            far.heal()
        assert told == []
        assert not far.files._watches


async def test_a_closed_sandbox_ends_it() -> None:
    """Who waits when the sandbox is closed is told that it is."""
    far = agent()
    async with opened(far) as sandbox:
        watch = sandbox.files.watch()

        async def loop() -> None:
            with pytest.raises(hopx.ClosedError):
                await anext(watch)

        async with anyio.create_task_group() as group:
            group.start_soon(loop)
            await anyio.sleep(1)
            await sandbox.aclose()


async def test_a_dropped_watch_ends_by_itself() -> None:
    """Nothing is left of a watch that nobody holds."""
    far = agent()
    async with opened(far) as sandbox:
        watch = sandbox.files.watch()
        await watch.__aenter__()
        assert far.files._watches
        del watch
        gc.collect()
        await anyio.lowlevel.checkpoint()
        assert not far.files._watches
