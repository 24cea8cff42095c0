"""Input and output at the same time: what the contract checks do not say already."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from hopx_async.errors import AgentFault, OutputTooLarge
from hopx_async.testing import ScriptedCommand, VirtualTimeLoop, memory
from hopx_async.testing.contract import SCRIPTS
from hopx_async.testing.memory import MemoryAgent
from tests.support.virtual import opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def _deaf(command: ScriptedCommand) -> int:
    await command.stdout(b"I do not listen")
    return 0


async def test_input_that_is_not_read_is_no_error() -> None:
    """A command that ends without reading its input has a result like any other."""
    async with memory({"deaf": _deaf}) as sandbox:
        result = await sandbox.commands.run("deaf", input=bytes(1_000_000), check=True)
        assert result.stdout == "I do not listen"


async def test_output_that_is_too_large_ends_the_sending() -> None:
    """OutputTooLarge is raised while input is still to be sent, and the command is ended."""
    async with memory(SCRIPTS) as sandbox:
        with pytest.raises(OutputTooLarge):
            await sandbox.commands.run("exec cat", input=bytes(1_000_000), max_bytes=1000)
        assert await sandbox.commands.list(status="running") == []


async def test_cancelled_run_sends_no_more() -> None:
    """A run that is cancelled while it sends ends its command and leaves no task."""
    async with memory(SCRIPTS) as sandbox:
        with anyio.move_on_after(1) as scope:
            await sandbox.commands.run("exec sleep 3600", input=bytes(1_000_000))
        assert scope.cancelled_caught
        assert await sandbox.commands.list(status="running") == []


async def test_input_that_cannot_be_sent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose input cannot be sent does not wait for a command that waits for input."""
    agent = MemoryAgent(SCRIPTS)
    async with opened(agent) as sandbox:
        answer = agent.answer

        async def broken(method: str, params: dict[str, Any]) -> Any:
            if method == "stdin":
                raise AgentFault("broken")
            return await answer(method, params)

        monkeypatch.setattr(agent, "answer", broken)
        with pytest.raises(AgentFault, match="broken"):
            await sandbox.commands.run("exec cat", input=b"x")
        assert await sandbox.commands.list(status="running") == []


async def test_input_that_nobody_answers_holds_up_no_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run whose command has ended returns, though it is not known what became of its input."""
    agent = MemoryAgent({"deaf": _deaf})
    async with opened(agent) as sandbox:
        answer = agent.answer

        async def silent(method: str, params: dict[str, Any]) -> Any:
            if method == "stdin":
                await anyio.sleep_forever()
            return await answer(method, params)

        monkeypatch.setattr(agent, "answer", silent)
        with anyio.fail_after(10):
            result = await sandbox.commands.run("deaf", input=b"x")
        assert result.stdout == "I do not listen"
