"""Many handles as one: as they end, whichever ends first, and one stream of their events."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import AgentUnreachable, BusyError, ClosedError, InvalidArgument
from hopx_async.gathering import MERGE_BYTES
from hopx_async.protocol.events import Exited, Started, Stdout
from hopx_async.sandbox import Sandbox
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop, memory
from tests.support.virtual import CHATTER, SLEEP, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def nap(command: ScriptedCommand) -> int:
    """Sleep for as many seconds as the argument says."""
    await anyio.sleep(float(command.spec["command"][1]))
    return 0


async def flood(command: ScriptedCommand) -> int:
    """Print numbered lines, much at once."""
    lines, size = (int(word) for word in command.spec["command"][1:])
    for number in range(lines):
        await command.stdout(b"%d " % number + b"x" * size + b"\n")
    return 0


SCRIPTS = {"nap": nap, "flood": flood}


def live(sandbox: Sandbox) -> tuple[int, int]:
    """Return how many subscriptions the sandbox's link holds, and how many are listened to."""
    pump = sandbox._client._pump
    return len(pump._link._live), len(pump._listeners)


async def test_handles_come_as_their_commands_end() -> None:
    """as_completed yields handles in the order of their ends, with their exits known."""
    async with memory(SCRIPTS) as sandbox:
        handles = [await sandbox.commands.start(["nap", str(n)]) for n in (3, 1, 2)]
        ended = [handle async for handle in hopx.as_completed(handles)]
        assert ended == [handles[1], handles[2], handles[0]]
        assert all([(await handle.wait()).ok for handle in ended])
        assert live(sandbox) == (0, 0)


async def test_what_has_ended_comes_at_once_and_of_any_sandbox() -> None:
    """as_completed takes handles of several sandboxes; ended ones do not wait for others."""
    async with memory(SCRIPTS) as one, memory(SCRIPTS) as two:
        late = await one.commands.start(["nap", "100"])
        early = await two.commands.start(["nap", "1"])
        await early.wait()
        began = anyio.current_time()
        assert await hopx.wait_any([late, early]) is early
        assert anyio.current_time() == began
        assert live(one) == live(two) == (0, 0)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_thousands_of_handles_cost_no_task(count: int) -> None:
    """as_completed over thousands of handles makes no task of its own and loses none."""
    async with memory(SCRIPTS) as sandbox:
        handles = [await sandbox.commands.start(["nap", str(n % 7)]) for n in range(count)]
        before = len(asyncio.all_tasks())
        ended = hopx.as_completed(handles)
        found = [await anext(ended)]
        assert len(asyncio.all_tasks()) <= before
        found += [handle async for handle in ended]
        assert Counter(found) == Counter(handles)


async def test_merge_keeps_the_order_of_each_and_starves_none() -> None:
    """merge loses nothing, keeps each command's order, and lets the ready take turns."""
    async with memory(SCRIPTS) as sandbox:
        handles = [await sandbox.commands.start(["flood", "400", "2000"]) for _ in range(20)]
        await hopx.wait_any(handles)
        output = {handle.process_id: b"" for handle in handles}
        ends: list[str] = []
        read: Counter[str] = Counter()
        widest = 0
        async for event in hopx.merge(handles):
            if isinstance(event, Stdout):
                output[event.process_id] += event.data
                read[event.process_id] += 1
                widest = max(widest, max(read.values()) - min(read.get(p, 0) for p in output))
            elif isinstance(event, Exited):
                ends.append(event.process_id)
        wanted = b"".join(b"%d " % n + b"x" * 2000 + b"\n" for n in range(400))
        assert all(data == wanted for data in output.values())
        assert sorted(ends) == sorted(output)
        assert widest < 200
        assert live(sandbox) == (0, 0)


async def test_those_with_something_to_tell_take_turns() -> None:
    """Of commands whose events are all here, each in its turn gives one."""
    async with memory(SCRIPTS) as sandbox:
        handles = [await sandbox.commands.start(["flood", "30", "10"]) for _ in range(4)]
        await asyncio.gather(*(handle.wait() for handle in handles))
        merged = hopx.merge(handles)
        await anext(merged)
        await anyio.wait_all_tasks_blocked()
        read: Counter[str] = Counter()
        for _ in range(80):
            read[(await anext(merged)).process_id] += 1
            # A source stands in the queue once.
            assert len(merged._queue._ready) <= 4
        assert max(read.values()) - min(read.values()) <= 2
        assert len(read) == 4


async def test_merge_holds_a_bounded_amount() -> None:
    """The commands of a merge share a few MiB: what nobody reads is not held."""
    async with memory(SCRIPTS) as sandbox:
        handles = [await sandbox.commands.start(["flood", "40", "60000"]) for _ in range(64)]
        merged = hopx.merge(handles)
        largest = 0
        async for _ in merged:
            largest = max(largest, sandbox._client.statistics()["buffered_bytes"])
        assert 1024 * 1024 < largest <= 2 * MERGE_BYTES


async def test_a_quiet_command_is_not_held_up_by_a_loud_one() -> None:
    """A line of one command comes within a turn, however much another has printed."""

    async def loud(command: ScriptedCommand) -> int:
        for _ in range(10_000):
            await command.stdout(b"x" * 500)
        return 0

    async def quiet(command: ScriptedCommand) -> int:
        await command.stdout(b"here")
        return 0

    async with memory({"loud": loud, "quiet": quiet}) as sandbox:
        first = await sandbox.commands.start("loud")
        second = await sandbox.commands.start("quiet")
        await second.wait()
        before = 0
        async for event in hopx.merge([first, second]):
            if event.process_id == second.process_id and isinstance(event, Stdout):
                break
            before += 1
        assert before < 1000


@pytest.mark.parametrize("moment", range(12))
async def test_a_merge_cancelled_at_any_moment_loses_nothing(moment: int) -> None:
    """A reader that is cancelled at any turn finds everything when it goes on."""
    async with opened(agent_of()) as sandbox:
        handles = [await sandbox.commands.start(CHATTER) for _ in range(2)]
        merged = hopx.merge(handles)
        task = asyncio.create_task(anext(merged))
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
        found = [] if task.cancelled() else [task.result()]
        found += [event async for event in merged]
        assert Counter(type(event) for event in found) == {Started: 2, Stdout: 200, Exited: 2}


async def test_an_iteration_cancelled_in_its_turn_for_others_loses_no_command() -> None:
    """Cancelled where it lets others run, as_completed still yields every handle."""
    async with memory(SCRIPTS) as sandbox:
        handles = [await sandbox.commands.start(["nap", str(n)]) for n in range(1, 101)]
        ended = hopx.as_completed(handles)
        task = asyncio.ensure_future(anext(ended))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        with anyio.fail_after(200):
            assert [handle async for handle in ended] == handles


async def test_wait_any_can_be_cancelled() -> None:
    """A cancelled wait_any asks for nothing any more, and the commands go on."""
    async with opened(agent_of()) as sandbox:
        handles = [await sandbox.commands.start(SLEEP) for _ in range(3)]
        with anyio.move_on_after(1) as scope:
            await hopx.wait_any(handles)
        assert scope.cancelled_caught
        assert live(sandbox) == (0, 0)
        assert len(await sandbox.commands.list(status="running")) == 3


@pytest.mark.parametrize("make", [hopx.merge, hopx.as_completed])
async def test_an_iteration_dropped_or_closed_asks_for_nothing(make: Any) -> None:
    """Left early, an iteration is forgotten by the link: when dropped, and when closed."""
    async with opened(agent_of()) as sandbox:
        handles = [await sandbox.commands.start(SLEEP) for _ in range(3)]
        dropped = make(handles)
        task = asyncio.create_task(_exhaust(dropped))
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        await asyncio.wait([task])
        assert live(sandbox) == (3, 3)
        del dropped, task
        gc.collect()
        assert live(sandbox) == (0, 0)
        async with make(handles) as closed:
            with anyio.move_on_after(1):
                await _exhaust(closed)
        assert live(sandbox) == (0, 0)
        assert [item async for item in closed] == []
        await closed.aclose()
        assert "of 0 commands" in repr(closed)


async def test_closing_wakes_who_waits() -> None:
    """An iteration closed by another task ends."""
    async with opened(agent_of()) as sandbox:
        ended = hopx.as_completed([await sandbox.commands.start(SLEEP)])
        task = asyncio.ensure_future(anext(ended, None))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(BusyError):
            await anext(ended)
        await ended.aclose()
        assert await task is None


async def test_an_error_names_its_command_and_spares_the_others() -> None:
    """When one far side is out of reach, its handle is named, and the others go on."""
    lost = agent_of()
    async with opened(agent_of()) as one, opened(lost, give_up_after=30) as two:
        good, bad = await one.commands.start(CHATTER), await two.commands.start(SLEEP)
        other = await two.commands.start(SLEEP)
        ended = hopx.as_completed([good, bad, other])
        lost.refuse()
        for handle in (bad, other):
            with pytest.raises(AgentUnreachable) as caught:
                await anext(ended)
            assert [handle.process_id in note for note in caught.value.__notes__] == [True]
        assert [handle async for handle in ended] == [good]
        lost.heal()


async def test_a_lost_connection_goes_by_unseen() -> None:
    """merge and as_completed go on over cuts."""
    agent = MemoryAgent({**SCRIPTS, "chatter": _ticks})
    async with memory(agent=agent) as sandbox:
        handles = [await sandbox.commands.start("chatter") for _ in range(3)]
        count = 0
        async for event in hopx.merge(handles):
            agent.drop()
            count += isinstance(event, Stdout)
        assert count == 30
        assert len([handle async for handle in hopx.as_completed(handles)]) == 3


async def _exhaust(iteration: Any) -> None:
    async for _ in iteration:
        pass


async def _ticks(command: ScriptedCommand) -> int:
    for _ in range(10):
        await command.stdout(b"tick\n")
        await anyio.sleep(1)
    return 0


async def test_bad_handles_are_refused_at_the_call() -> None:
    """What is no handle, nothing at all, and a closed sandbox are refused before anything."""
    with pytest.raises(InvalidArgument, match="one handle at least"):
        await hopx.wait_any([])
    with pytest.raises(InvalidArgument, match=r"handles\[0\]"):
        hopx.merge(["x"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidArgument, match="iterable"):
        hopx.as_completed(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert [event async for event in hopx.merge([])] == []
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
    with pytest.raises(ClosedError):
        hopx.merge([handle])
