"""Groups: none of their commands outlives the block, and what the block raises is bare."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hopx_async.errors import (
    AgentUnreachable,
    ClosedError,
    CommandFailed,
    InvalidArgument,
    MisuseError,
    SpawnError,
)
from hopx_async.model import CommandSpec
from hopx_async.protocol.events import Exited, Stdout
from hopx_async.sandbox import Sandbox
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop, memory

import hopx_async as hopx  # isort: skip


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def nap(command: ScriptedCommand) -> int:
    """Sleep for as many seconds as the first argument says, exit with the second."""
    seconds, code = (*command.spec["command"][1:], "0")[:2]
    await anyio.sleep(float(seconds))
    await command.stdout(b"done\n")
    return int(code)


SCRIPTS = {"nap": nap}
LONG = ["nap", "3600"]
FAIL = ["nap", "1", "3"]


async def running(sandbox: Sandbox) -> int:
    """Return how many commands run."""
    return len(await sandbox.commands.list(status="running"))


async def test_leaving_the_block_waits_for_all() -> None:
    """The block ends when its commands have, never more than the limit at once, in order."""
    async with memory(SCRIPTS) as sandbox:
        began = anyio.current_time()
        async with sandbox.commands.group(limit=3) as group:
            handles = [group.start_soon(["nap", "10"], name=f"n{i}") for i in range(7)]
            assert await running(sandbox) <= 3
            assert handles[6].pid is None
            assert "running" in repr(group)
        assert anyio.current_time() - began == pytest.approx(30)
        infos = await sandbox.commands.list()
        assert [info.name for info in infos] == [f"n{i}" for i in range(7)]
        assert {info.status for info in infos} == {"completed"}
        assert "ended" in repr(group)


async def test_handles_are_there_before_their_commands() -> None:
    """What is awaited of a handle that has no place yet waits for the start."""
    async with memory(SCRIPTS) as sandbox:
        async with sandbox.commands.group(limit=1) as group:
            group.start_soon(["nap", "10"])
            later = group.start_soon(["nap", "5"], process_id="mine")
            with pytest.raises(MisuseError, match="no sandbox yet"):
                _ = later.ref
            events, lines = later.events(), later.lines(after=hopx.END)
            waiting = asyncio.create_task(later.wait())
            merged = hopx.merge([later])
            ended = hopx.as_completed([later])
            assert (await later.info()).status == "running"
            assert anyio.current_time() == pytest.approx(10)
            assert later.pid is not None
            assert later.ref.process_id == "mine"
            assert [line.text async for line in lines] == ["done"]
            assert (await waiting).ok
            found = [type(event) async for event in events]
            assert found == [type(event) async for event in merged]
            assert found[-2:] == [Stdout, Exited]
            assert [handle async for handle in ended] == [later]
            assert (await later.result()).stdout == "done\n"


async def test_completed_yields_handles_as_they_end() -> None:
    """completed yields each once, in the order of the ends, those added meanwhile too."""
    async with memory(SCRIPTS) as sandbox, sandbox.commands.group(limit=2) as group:
        handles = [group.start_soon(["nap", str(n)]) for n in (5, 1, 1)]
        found = []
        async for handle in group.completed():
            found.append(handle)
            if len(found) == 3:
                handles.append(group.start_soon(["nap", "1"]))
        assert found == [handles[1], handles[2], handles[0], handles[3]]
        assert [handle async for handle in group.completed()] == found


async def test_leaving_completed_early_ends_nothing() -> None:
    """Left by break, completed leaves the group as it was: its block waits for the rest."""
    async with memory(SCRIPTS) as sandbox:
        async with sandbox.commands.group() as group:
            handles = [group.start_soon(["nap", str(n)]) for n in (1, 5, 9)]
            async for first in group.completed():
                assert first is handles[0]
                break
            with anyio.move_on_after(1):
                async for _ in group.completed():
                    await anyio.lowlevel.checkpoint()
        assert anyio.current_time() == pytest.approx(9)
        assert all([(await handle.wait()).ok for handle in handles])


async def test_a_group_in_a_generator_that_is_closed_ends_its_commands() -> None:
    """Closed in the middle, a generator that holds a group ends what runs, as any block does."""
    async with memory(SCRIPTS) as sandbox:

        async def results() -> AsyncGenerator[hopx.CommandHandle]:
            async with sandbox.commands.group() as group:
                for seconds in ("1", "3600"):
                    group.start_soon(["nap", seconds])
                async for handle in group.completed():
                    yield handle

        stream = results()
        async for handle in stream:
            assert (await handle.wait()).ok
            break
        await stream.aclose()
        assert await running(sandbox) == 0
        assert anyio.current_time() < 5


@pytest.mark.parametrize("where", ["in the body", "while leaving"])
async def test_a_failure_ends_all_and_is_raised_bare(where: str) -> None:
    """With cancel, one failure cancels the body, ends the rest, and is the one error."""
    async with memory(SCRIPTS) as sandbox:
        handles: list[hopx.CommandHandle] = []
        with pytest.raises(CommandFailed) as caught:
            async with sandbox.commands.group(limit=4) as group:
                handles += [group.start_soon(LONG) for _ in range(3)]
                group.start_soon(FAIL, name="culprit")
                handles.append(group.start_soon(LONG))
                if where == "in the body":
                    await anyio.sleep(1000)
        assert anyio.current_time() < 5
        assert (caught.value.name, caught.value.exit.exit_code) == ("culprit", 3)
        assert caught.value.__suppress_context__
        assert [(await handle.wait()).reason for handle in handles[:3]] == ["killed"] * 3
        with pytest.raises(ClosedError):
            await handles[3].wait()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await anyio.sleep(1)  # nothing is left that would cancel this


async def test_with_continue_failures_are_told_by_handles() -> None:
    """With continue, the others go on, and each handle tells its own end."""
    async with memory(SCRIPTS) as sandbox:
        async with sandbox.commands.group(on_error="continue") as group:
            handles = [group.start_soon(command) for command in (FAIL, ["absent"], ["nap", "9"])]
            ended = [handle async for handle in group.completed()]
        assert set(ended) == set(handles)
        assert (await handles[0].wait()).exit_code == 3
        with pytest.raises(SpawnError):
            await handles[1].wait()
        with pytest.raises(SpawnError):
            await anext(hopx.merge([handles[1]]))
        assert [handle async for handle in hopx.as_completed([handles[1]])] == [handles[1]]
        assert (await handles[2].wait()).ok


async def test_what_cannot_be_started_is_a_failure() -> None:
    """A SpawnError ends the group as a failed command does, bare."""
    async with memory(SCRIPTS) as sandbox:
        with pytest.raises(SpawnError):
            async with sandbox.commands.group() as group:
                group.start_soon(LONG)
                group.start_soon(["absent"])
                await anyio.sleep(1000)
        assert await running(sandbox) == 0


async def test_a_command_killed_on_purpose_is_no_failure() -> None:
    """Killing one by its handle leaves the others alone."""
    async with memory(SCRIPTS) as sandbox, sandbox.commands.group() as group:
        victim, other = group.start_soon(LONG), group.start_soon(["nap", "10"])
        await victim.kill()
        assert (await other.wait()).ok


async def test_a_command_killed_before_its_place_never_starts() -> None:
    """Killed while it waits, a command leaves the group at once, and its handle knows the end."""
    async with memory(SCRIPTS) as sandbox:
        async with sandbox.commands.group(limit=1) as group:
            first, second = group.start_soon(["nap", "10"]), group.start_soon(LONG)
            third = group.start_soon(["nap", "1"])
            ended = hopx.as_completed([first, second, third])
            assert (await second.kill()).reason == "killed"
            assert await anext(ended) is second
            await second.aclose()
            assert anyio.current_time() < 1
            assert [handle async for handle in group.completed()] == [second, first, third]
        assert len(await sandbox.commands.list()) == 2


async def test_who_waits_for_many_that_wait_leaves_nothing_with_them() -> None:
    """A wait_any again and again over handles that wait for a place is not remembered there."""
    async with memory(SCRIPTS) as sandbox, sandbox.commands.group(limit=1) as group:
        pending = {group.start_soon(["nap", "1"]) for _ in range(20)}
        while pending:
            pending.discard(await hopx.wait_any(pending))
            held = [handle._later._callbacks for handle in pending]  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            assert not any(held)


@pytest.mark.parametrize("on_error", ["cancel", "continue"])
async def test_a_group_whose_sandbox_is_closed_ends(on_error: Any) -> None:
    """Closed in the middle, a sandbox ends its group at once, with one bare error."""
    async with memory(SCRIPTS) as sandbox:
        with pytest.raises((ClosedError, CommandFailed)):
            async with sandbox.commands.group(limit=2, on_error=on_error) as group:
                handles = [group.start_soon(LONG) for _ in range(3)]
                await handles[1].info()
                await sandbox.aclose()
                await anyio.sleep(1000)
        assert anyio.current_time() < 1


@pytest.mark.parametrize("on_error", ["cancel", "continue"])
async def test_commands_that_a_far_side_has_lost_are_failures(on_error: Any) -> None:
    """Lost with the far side's state, commands have an end, which counts as any failure."""
    agent = MemoryAgent(SCRIPTS)
    async with memory(agent=agent) as sandbox:
        handles: list[hopx.CommandHandle] = []
        with contextlib.suppress(hopx.CommandLost):
            async with sandbox.commands.group(limit=2, on_error=on_error) as group:
                handles = [group.start_soon(LONG) for _ in range(2)]
                await asyncio.gather(*(handle.info() for handle in handles))
                for handle in handles:
                    agent.commands.forget(handle.process_id)
                agent.drop()
                await anyio.sleep(1000)
                assert on_error == "continue"
        assert (await handles[0].wait()).reason == "lost"


async def test_the_users_exception_arrives_bare() -> None:
    """An exception of the block ends what runs, and arrives as it is."""
    async with memory(SCRIPTS) as sandbox:
        with pytest.raises(ZeroDivisionError) as caught:
            async with sandbox.commands.group() as group:
                await group.start_soon(LONG).info()
                raise ZeroDivisionError
        assert not hasattr(caught.value, "__notes__")
        assert await running(sandbox) == 0


async def test_an_exception_out_of_our_cancelling_keeps_the_failure_as_note() -> None:
    """What the block makes of being cancelled arrives bare, and a note tells why it was."""
    async with memory(SCRIPTS) as sandbox:
        with pytest.raises(ZeroDivisionError) as caught:
            async with sandbox.commands.group() as group:
                group.start_soon(FAIL)
                try:
                    await anyio.sleep(1000)
                except asyncio.CancelledError:
                    raise ZeroDivisionError from None
        assert "exited with 3" in caught.value.__notes__[0]


async def test_a_block_that_swallows_the_cancelling_raises_all_the_same() -> None:
    """A failure is not lost when the block hides the cancellation."""
    async with memory(SCRIPTS) as sandbox:
        with pytest.raises(CommandFailed):
            async with sandbox.commands.group() as group:
                group.start_soon(FAIL)
                with contextlib.suppress(asyncio.CancelledError):
                    await anyio.sleep(1000)


async def test_ending_is_bounded_and_says_what_may_run() -> None:
    """When nobody answers, the group gives up in bounded time, and a note says so."""
    agent = MemoryAgent(SCRIPTS)
    async with memory(agent=agent) as sandbox:
        with pytest.raises(ZeroDivisionError) as caught:
            async with sandbox.commands.group(grace=5) as group:
                await group.start_soon(LONG, process_id="mine").info()
                agent.stall()
                raise ZeroDivisionError
        assert anyio.current_time() <= 31
        assert "mine may still run" in caught.value.__notes__[0]
        agent.heal()


async def test_an_unreachable_far_side_ends_a_group_that_continues() -> None:
    """What is no fate of a command is not passed over."""
    agent = MemoryAgent(SCRIPTS)
    async with memory(agent=agent, give_up_after=20) as sandbox:
        with pytest.raises(AgentUnreachable):
            async with sandbox.commands.group(on_error="continue") as group:
                await group.start_soon(LONG).info()
                agent.refuse()
        agent.heal()


async def test_a_group_is_used_once_and_inside_its_block() -> None:
    """Outside its block a group starts nothing, and it is entered once."""
    async with memory(SCRIPTS) as sandbox:
        group = sandbox.commands.group()
        with pytest.raises(MisuseError):
            group.start_soon(LONG)
        async with group:
            spec = CommandSpec.make(["nap", "1"])
            handle = group.start_soon(spec)
            assert handle.process_id == spec.process_id
            with pytest.raises(InvalidArgument):
                group.start_soon(spec, name="x")
        with pytest.raises(ClosedError):
            group.start_soon(LONG)
        with pytest.raises(MisuseError):
            await group.__aenter__()


@pytest.mark.parametrize(
    "arguments", [{"limit": 0}, {"limit": True}, {"on_error": "x"}, {"grace": -1}]
)
async def test_bad_arguments_are_refused_at_the_call(arguments: dict[str, Any]) -> None:
    """A group names the argument that breaks a rule."""
    async with memory(SCRIPTS) as sandbox:
        with pytest.raises(InvalidArgument, match=next(iter(arguments))):
            sandbox.commands.group(**arguments)
