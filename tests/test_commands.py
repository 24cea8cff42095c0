"""Starting commands: what is refused before anything is sent, and what a cancel leaves."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import Any

import anyio
import pytest

from hopx_async.errors import AgentUnreachable, InvalidArgument, SpawnError
from hopx_async.secret import Secret
from hopx_async.testing import MemoryAgent, VirtualTimeLoop
from tests.support.virtual import CHATTER, SLEEP, STEPS, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


BAD = [
    ("command", {"command": ""}),
    ("command", {"command": "   "}),
    ("command", {"command": []}),
    ("command[0]", {"command": [""]}),
    ("command", {"command": b"ls"}),
    ("command", {"command": None}),
    ("command", {"command": "a\0b"}),
    ("command", {"command": "\ud800"}),
    ("command[1]", {"command": ["ls", "a\0b"]}),
    ("command[1]", {"command": ["ls", 1]}),
    ("command", {"command": "x" * 128 * 1024}),
    ("command[1]", {"command": ["ls", "x" * 128 * 1024]}),
    ("env", {"env": {"": "x"}}),
    ("env", {"env": {"A=B": "x"}}),
    ("env", {"env": {"A\0": "x"}}),
    ("env['A']", {"env": {"A": "hush\0"}}),
    ("env['A']", {"env": {"A": 1}}),
    ("env['A']", {"env": {"A": "hush" + "x" * 128 * 1024}}),
    ("env", {"env": [("A", "x")]}),
    ("working_dir", {"working_dir": ""}),
    ("working_dir", {"working_dir": "a\0b"}),
    ("timeout", {"timeout": 0}),
    ("timeout", {"timeout": -1}),
    ("timeout", {"timeout": float("nan")}),
    ("timeout", {"timeout": float("inf")}),
    ("timeout", {"timeout": "5"}),
    ("timeout", {"timeout": True}),
    ("process_id", {"process_id": ""}),
    ("process_id", {"process_id": "../../x"}),
    ("process_id", {"process_id": "$(x)"}),
    ("process_id", {"process_id": "a\n"}),
    ("process_id", {"process_id": "x" * 300}),
    ("process_id", {"process_id": 7}),
    ("name", {"name": ""}),
    ("name", {"name": "a\0"}),
    ("tags", {"tags": "a"}),
    ("tags", {"tags": {"": "x"}}),
    ("tags['a']", {"tags": {"a": 1}}),
    ("merge_stderr", {"merge_stderr": "yes"}),
    ("usage_interval", {"usage_interval": 0.09}),
    ("usage_interval", {"usage_interval": float("nan")}),
    ("usage_interval", {"usage_interval": "1"}),
    ("mask_secrets", {"mask_secrets": 1}),
    ("env['A']", {"env": {"A": Secret("hush!")}, "mask_secrets": True}),
    ("env['A']", {"env": {"A": Secret("hush" * 2049)}, "mask_secrets": True}),
    ("env['A']", {"env": {"A": Secret("hush\0")}}),
]


@pytest.mark.parametrize(("parameter", "arguments"), BAD)
async def test_start_refuses_bad_input_at_the_call(
    parameter: str, arguments: dict[str, Any]
) -> None:
    """start names the argument and its rule before anything is sent, and shows no secret."""
    async with opened(agent_of()) as sandbox:
        command = arguments.pop("command", STEPS)
        with pytest.raises(InvalidArgument) as caught:
            sandbox.commands.start(command, **arguments)
        assert caught.value.parameter == parameter
        assert caught.value.rule
        assert "hush" not in str(caught.value)
        assert len(str(caught.value)) < 400
        assert await sandbox.commands.list() == []


async def test_a_call_that_is_too_large_is_refused() -> None:
    """Arguments that together exceed the bound of a call are refused by the number."""
    async with opened(agent_of()) as sandbox:
        with pytest.raises(InvalidArgument, match="1048576"):
            await sandbox.commands.start(["x"] + ["y" * 100_000] * 11)


async def test_start_takes_every_argument() -> None:
    """What start is given reaches the far side, and info tells it but for values of env."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(
            (STEPS, PurePosixPath("an/argument")),
            env={"A": "secret", "B": None},
            working_dir=PurePosixPath("sub"),
            timeout=60,
            name="steps",
            tags={"k": "v"},
            merge_stderr=True,
            process_id="mine",
        )
        info = await handle.info()
        assert info.command == (STEPS, "an/argument")
        assert (info.env_names, info.working_dir, info.timeout) == (("A", "B"), "sub", 60)
        assert (info.name, info.tags, info.merge_stderr) == ("steps", {"k": "v"}, True)
        assert (await handle.result()).stdout_bytes.count(b"\n") == 6


@pytest.mark.parametrize("moment", range(10))
async def test_a_start_cancelled_at_any_moment_leaves_nothing(moment: int) -> None:
    """A start that is cancelled at any turn leaves no command running."""
    async with opened(agent_of()) as sandbox:
        await anyio.wait_all_tasks_blocked()
        task = asyncio.create_task(sandbox.commands.start(SLEEP))
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        if task.cancel():
            await asyncio.wait([task])
        if task.cancelled():
            assert await sandbox.commands.list(status="running") == []


async def test_a_start_with_an_id_of_the_users_goes_on() -> None:
    """A cancelled start whose id the user gave is not undone: it can be found again."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        await anyio.wait_all_tasks_blocked()
        agent.stall()
        with anyio.move_on_after(1):
            await sandbox.commands.start(SLEEP, process_id="mine")
        agent.heal()
        again = await sandbox.commands.start(SLEEP, process_id="mine")
        assert (await again.info()).status == "running"


async def test_a_start_cancelled_while_nobody_answers_is_bounded() -> None:
    """The clean-up of a cancelled start gives up when nobody answers."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        agent.stall()
        began = anyio.current_time()
        with anyio.move_on_after(1):
            await sandbox.commands.start(SLEEP)
        assert anyio.current_time() - began < 60
        agent.heal()


async def test_run_whose_output_is_too_large_ends_its_command() -> None:
    """run owns its command: it ends it also when it gives up on the output."""
    async with opened(agent_of()) as sandbox:
        with pytest.raises(Exception, match="max_bytes"):
            await sandbox.commands.run(CHATTER, max_bytes=10)
        assert [info.status for info in await sandbox.commands.list()] == ["killed"]


@pytest.mark.parametrize("options", [{"max_bytes": 0}, {"max_bytes": "1"}, {"keep": "tail"}])
async def test_run_refuses_bad_bounds_before_it_starts_anything(options: dict[str, Any]) -> None:
    """What run is to hold is looked at before its command is started."""
    async with opened(agent_of()) as sandbox:
        with pytest.raises(InvalidArgument):
            await sandbox.commands.run(STEPS, **options)
        assert await sandbox.commands.list() == []


async def test_list_turns_pages() -> None:
    """list returns more commands than fit on one page."""
    async with opened(agent_of()) as sandbox:
        for _ in range(250):
            await sandbox.commands.start(STEPS)
        assert len({info.process_id for info in await sandbox.commands.list()}) == 250


async def test_list_refuses_a_status_that_is_none() -> None:
    """A status is one of HopX's words."""
    async with opened(agent_of()) as sandbox:
        with pytest.raises(InvalidArgument, match="status"):
            await sandbox.commands.list(status="done")  # type: ignore[arg-type]


async def test_a_text_without_a_script_is_a_missing_program() -> None:
    """The memory sandbox says so for a command that it has no script for."""
    async with opened(MemoryAgent({})) as sandbox:
        with pytest.raises(SpawnError) as caught:
            await sandbox.commands.start("unknown")
        assert (caught.value.errno, caught.value.filename) == (2, "unknown")


async def test_a_cancelled_run_that_cannot_end_its_command_says_so() -> None:
    """run raises what ended it, with a note when nobody answered the clean-up."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        task = asyncio.create_task(sandbox.commands.run(SLEEP))
        await anyio.sleep(1)
        agent.stall()
        began = anyio.current_time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert anyio.current_time() - began < 60
        assert "may still run" in caught.value.__notes__[0]
        agent.heal()


async def test_a_block_whose_command_cannot_be_ended_says_so() -> None:
    """Leaving async with start(...) raises AgentUnreachable when nobody answers."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        with pytest.raises(AgentUnreachable, match="may still run"):
            async with sandbox.commands.start(SLEEP):
                agent.stall()
        agent.heal()
