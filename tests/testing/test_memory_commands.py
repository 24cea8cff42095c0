"""Scripted commands: they end for the reasons that real ones end for."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop, memory
from tests.support.virtual import CHATTER, SLEEP, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.mark.parametrize(
    ("end", "reason", "signal"),
    [
        ("terminate", "killed", "SIGTERM"),
        ("kill", "killed", "SIGTERM"),
        ("send_signal", "signaled", "SIGUSR1"),
    ],
)
async def test_a_script_is_ended_as_a_process_is(end: str, reason: str, signal: str) -> None:
    """A signal ends a script, and the reason is the cause that came first."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        await getattr(handle, end)(*(["USR1"] if end == "send_signal" else []))
        fate = await handle.wait()
        assert (fate.reason, fate.signal, fate.exit_code) == (reason, signal, None)


async def test_a_harmless_signal_ends_nothing() -> None:
    """SIGWINCH and SIGCONT are delivered and end nothing."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        assert await handle.send_signal("WINCH")
        assert (await handle.info()).status == "running"


async def test_a_time_limit_is_virtual_and_exact() -> None:
    """A script beyond its timeout ends at that moment of virtual time."""
    async with opened(agent_of()) as sandbox:
        fate = (await sandbox.commands.run(CHATTER, timeout=10.5)).exit
        assert fate.reason == "timed_out"
        assert fate.duration == pytest.approx(10.5)


async def test_merged_streams_are_one() -> None:
    """With merge_stderr a script's stderr goes where its stdout goes."""

    async def script(command: ScriptedCommand) -> int:
        await command.stdout(b"a")
        await command.stderr(b"b")
        return 0

    async with memory({"x": script}) as sandbox:
        result = await sandbox.commands.run("x", merge_stderr=True)
    assert (result.stdout, result.stderr) == ("ab", "")


async def test_a_tail_is_the_end_of_both_streams() -> None:
    """An end that is not ok carries the last 4 KiB, in order."""

    async def script(command: ScriptedCommand) -> int:
        await command.stdout(b"x" * 10_000)
        await command.stderr(b"the reason")
        return 1

    async with memory({"x": script}) as sandbox:
        with pytest.raises(hopx.CommandFailed) as caught:
            await sandbox.commands.run("x", check=True)
    assert len(caught.value.tail) == 4096
    assert caught.value.tail.endswith(b"xthe reason")


async def test_a_tail_is_as_long_whatever_the_pieces() -> None:
    """What was printed in many small pieces is told as far back as what came at once."""
    text = b"".join(b"%d\n" % number for number in range(2000))

    async def script(command: ScriptedCommand) -> int:
        for line in text.splitlines(keepends=True):
            await command.stdout(line)
        return 1

    async with memory({"x": script}) as sandbox:
        assert (await sandbox.commands.run("x")).exit.tail == text[-4096:]


async def test_a_forgotten_command_may_still_print() -> None:
    """What a script prints on its way out, when its log is lost, goes nowhere."""

    async def script(command: ScriptedCommand) -> int:
        try:
            await anyio.sleep(3600)
        finally:
            await command.stdout(b"good-bye")
        return 0

    agent = MemoryAgent({"x": script})
    async with opened(agent) as sandbox:
        command = agent.commands[(await sandbox.commands.start("x")).process_id]
        await anyio.sleep(1)
        agent.commands.forget(command.process_id)
        await command.gone()
        assert command._task is not None
        assert command._task.exception() is None
        assert command.exit is not None
        assert command.exit["reason"] == "killed"


@pytest.mark.parametrize("forget", [True, False])
async def test_a_listing_goes_on_where_the_last_page_has_changed(forget: bool) -> None:
    """The next page follows although what the last one ended with is gone, or ended, by then."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        ids = [(await sandbox.commands.start(SLEEP)).process_id for _ in range(150)]
        asked = {"status": "running"}
        page = await agent.commands.call("list", asked)
        last = page["infos"][-1]["spec"]["process_id"]
        if forget:
            agent.commands.forget(last)
        else:
            await sandbox.commands.kill(last)
        rest = await agent.commands.call("list", {**asked, "after": page["next"]})
        assert [info["spec"]["process_id"] for info in page["infos"] + rest["infos"]] == ids


async def test_the_sandbox_ends_its_commands() -> None:
    """Closing ends what runs, and says so."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        await anyio.sleep(1)
    ended = agent.commands[handle.process_id].exit
    assert ended is not None
    assert ended["reason"] == "sandbox_stopped"


async def test_a_command_without_a_script_says_so() -> None:
    """It fails to start as a missing program does, and the message tells what is missing."""
    async with memory({}) as sandbox:
        with pytest.raises(hopx.SpawnError, match=r"'mkae' could not be started: .* no script for"):
            await sandbox.commands.run("mkae")
