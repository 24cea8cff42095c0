"""A map: so many commands at a time, results as they come, everything bounded."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import (
    BusyError,
    CommandFailed,
    InvalidArgument,
    OutputTooLarge,
    SpawnError,
)
from hopx_async.sandbox import Sandbox
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop, memory


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


class Script:
    """A command that sleeps, prints its argument and its variable X, and counts those alive."""

    def __init__(self) -> None:
        self.alive = 0
        self.most = 0
        self.started: list[str] = []

    async def __call__(self, command: ScriptedCommand) -> int:
        seconds, code = command.spec["command"][1:]
        self.started.append(seconds)
        self.alive += 1
        self.most = max(self.most, self.alive)
        try:
            await anyio.sleep(float(seconds))
            more = (command.spec["env"] or {}).get("X", "")
            await command.stdout(f"{seconds}{more}".encode())
        finally:
            self.alive -= 1
        return int(code)


def nap(seconds: float) -> list[str]:
    """Return the command that naps for so long."""
    return ["nap", str(seconds), "0"]


async def running(sandbox: Sandbox) -> int:
    """Return how many commands run."""
    return len(await sandbox.commands.list(status="running"))


async def test_results_come_as_commands_end() -> None:
    """map yields item and result in the order of the ends, never more alive than the limit."""
    script = Script()
    async with memory({"nap": script}) as sandbox:
        found = [
            (item, result.stdout)
            async for item, result in sandbox.commands.map(nap, [5, 1, 2, 1], limit=2)
        ]
        assert found == [(1, "1"), (2, "2"), (1, "1"), (5, "5")]
        assert script.most == 2


async def test_ordered_results_come_in_the_order_of_the_items() -> None:
    """With ordered, results wait for those before them, and the look-ahead is bounded."""
    script = Script()
    async with memory({"nap": script}) as sandbox:
        items = [100, *[1] * 50]
        results = sandbox.commands.map(nap, items, limit=3, ordered=True)
        item, _ = await anext(results)
        assert item == 100
        assert len(script.started) <= 6 + 1
        assert [item async for item, _ in results] == items[1:]
        assert script.most == 3


async def test_items_are_asked_for_as_there_is_room() -> None:
    """Endless items are taken lazily, and a slow consumer holds up the starts."""
    script = Script()
    asked = 0

    def endless() -> Iterator[int]:
        nonlocal asked
        while True:
            asked += 1
            yield 1

    async with memory({"nap": script}) as sandbox:
        async with sandbox.commands.map(nap, endless(), limit=4) as results:
            await anext(results)
            await anyio.sleep(1000)
            assert asked <= 9
            assert "0 running" in repr(results)
            for _ in range(100):
                await anext(results)
        assert asked < 120
        assert await running(sandbox) == 0


async def test_asynchronous_items_are_waited_for() -> None:
    """Items may come one by one, when they are there."""
    async with memory({"nap": Script()}) as sandbox:
        found = [pair async for pair in sandbox.commands.map(nap, _slowly(5), limit=2)]
        assert [item for item, _ in found] == [0, 1, 2, 3, 4]
        assert anyio.current_time() >= 50


async def _slowly(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await anyio.sleep(10)
        yield number


async def test_a_spec_gives_each_item_its_environment() -> None:
    """make_command may return a text, an argv or a spec with an environment."""

    def make(item: int) -> hopx.CommandSpec:
        return hopx.CommandSpec.make(nap(1), env={"X": f" of {item}"})

    async with memory({"nap": Script()}) as sandbox:
        results = sandbox.commands.map(make, [1, 2], ordered=True)
        assert [result.stdout async for _, result in results] == ["1 of 1", "1 of 2"]


async def test_a_failure_ends_the_rest_and_is_raised() -> None:
    """With cancel, what was finished comes first, then the error, when nothing runs any more."""
    async with memory({"nap": Script()}) as sandbox:
        commands = [nap(1), ["nap", "2", "3"], nap(3600), nap(3600)]
        results = sandbox.commands.map(lambda command: command, commands, limit=3)
        assert (await anext(results))[1].ok
        with pytest.raises(CommandFailed) as caught:
            await anext(results)
        assert caught.value.exit.exit_code == 3
        assert await running(sandbox) == 0
        assert [pair async for pair in results] == []


async def test_with_continue_failures_are_results() -> None:
    """With continue, a failed command is a result, and so is one that could not be started."""
    async with memory({"nap": Script()}) as sandbox:
        commands = [["nap", "1", "3"], ["absent"], nap(1)]
        results = sandbox.commands.map(
            lambda command: command, commands, on_error="continue", ordered=True
        )
        reasons = [(result.exit.reason, result.exit_code) async for _, result in results]
        assert reasons == [("exited", 3), ("spawn_failed", None), ("exited", 0)]


async def test_items_that_wait_for_what_was_cancelled_are_no_end() -> None:
    """That a task of the items' own was cancelled is told like any error, not as their end."""

    async def items() -> AsyncIterator[int]:
        yield 1
        source = asyncio.ensure_future(anyio.sleep(3600))
        source.cancel()
        await source
        yield 2

    async with memory({"nap": Script()}) as sandbox:
        results = sandbox.commands.map(nap, items())
        with pytest.raises(asyncio.CancelledError):
            await anext(results)
        assert await running(sandbox) == 0


@pytest.mark.parametrize(
    ("make", "items", "error"),
    [
        (lambda item: 1 / item, [0], ZeroDivisionError),
        (lambda _: "", [0], InvalidArgument),
        (lambda _: ["absent"], [0], SpawnError),
        (nap, (1 / number for number in (1, 0)), ZeroDivisionError),
        (nap, [1], OutputTooLarge),
    ],
)
async def test_other_errors_arrive_bare_and_end_what_runs(
    make: Any, items: Any, error: Any
) -> None:
    """What items or make_command raise, a start, or too much output, ends the map, bare."""
    most = 1 if error is OutputTooLarge else 1000

    async def loud(command: ScriptedCommand) -> int:
        await command.stdout(b"xx")
        await anyio.sleep(3600)
        return 0

    script = loud if error is OutputTooLarge else Script()
    async with memory({"nap": script}) as sandbox:
        with pytest.raises(error):
            async for _ in sandbox.commands.map(make, items, max_bytes=most):
                pass
        assert await running(sandbox) == 0


async def test_closing_ends_what_runs() -> None:
    """Leaving the block ends the commands; nothing more comes of a closed map."""
    async with memory({"nap": Script()}) as sandbox:
        async with sandbox.commands.map(nap, [1, 3600, 3600]) as results:
            assert (await anext(results))[0] == 1
        assert await running(sandbox) == 0
        assert [pair async for pair in results] == []
        await results.aclose()


async def test_a_dropped_map_ends_what_runs() -> None:
    """A map that is left by break and dropped ends its commands."""
    async with memory({"nap": Script()}) as sandbox:
        async for _ in sandbox.commands.map(nap, [1, 3600, 3600]):
            break
        gc.collect()
        await anyio.sleep(10)
        assert await running(sandbox) == 0


@pytest.mark.parametrize("moment", range(16))
async def test_a_map_cancelled_at_any_moment_loses_nothing(moment: int) -> None:
    """A cancelled anext loses no result, and the next one goes on."""
    async with memory({"nap": Script()}) as sandbox:
        results = sandbox.commands.map(nap, [1, 2, 3], limit=2)
        task = asyncio.create_task(anext(results))
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
        found = [] if task.cancelled() else [task.result()]
        found += [pair async for pair in results]
        assert [item for item, _ in found] == [1, 2, 3]


@pytest.mark.parametrize("moment", range(0, 30, 2))
async def test_a_map_closed_at_any_moment_leaves_nothing(moment: int) -> None:
    """aclose at any turn, also when it is cancelled itself, leaves no command running."""
    async with memory({"nap": Script()}) as sandbox:
        results = sandbox.commands.map(nap, [3600] * 5, limit=2)
        task = asyncio.create_task(anext(results))
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        closing = asyncio.create_task(results.aclose())
        await anyio.lowlevel.checkpoint()
        if moment % 4:
            closing.cancel()
        await asyncio.wait([task, closing])
        assert await running(sandbox) == 0
        assert isinstance(task.exception(), StopAsyncIteration)


async def test_one_task_reads_a_map() -> None:
    """Two tasks in one anext are told so."""
    async with memory({"nap": Script()}) as sandbox:
        async with sandbox.commands.map(nap, [3600]) as results:
            task = asyncio.create_task(anext(results))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(BusyError):
                await anext(results)
            task.cancel()
            await asyncio.wait([task])


async def test_ending_that_nobody_answers_is_bounded() -> None:
    """Closing gives up in bounded time when the far side is silent."""
    agent = MemoryAgent({"nap": Script()})
    async with memory(agent=agent) as sandbox:
        results = sandbox.commands.map(nap, [1, 3600])
        await anext(results)
        agent.stall()
        await results.aclose()
        assert anyio.current_time() <= 40
        agent.heal()


async def _asynchronous(item: int) -> str:
    return f"ls {item}"


@pytest.mark.parametrize(
    ("parameter", "arguments"),
    [
        ("limit", {"limit": 0}),
        ("limit", {"limit": None}),
        ("on_error", {"on_error": "x"}),
        ("grace", {"grace": -1}),
        ("max_bytes", {"max_bytes": 0}),
        ("keep", {"keep": "head"}),
        ("items", {"items": 1}),
        ("make_command", {"make_command": "ls"}),
        ("make_command", {"make_command": _asynchronous}),
    ],
)
async def test_bad_arguments_are_refused_at_the_call(
    parameter: str, arguments: dict[str, Any]
) -> None:
    """map names the argument that breaks a rule, before anything starts."""
    async with memory({}) as sandbox:
        values: dict[str, Any] = {"make_command": nap, "items": [1], **arguments}
        with pytest.raises(InvalidArgument) as caught:
            sandbox.commands.map(**values)  # pyright: ignore[reportArgumentType]
        assert caught.value.parameter == parameter
