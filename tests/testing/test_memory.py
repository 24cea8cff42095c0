"""The memory sandbox: its faults, and its scripts."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import ConnectError, ConnectionLost
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop, memory
from hopx_async.testing.memory import MemoryTransport
from tests.support.virtual import STEPS, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def test_scripts_stand_for_commands() -> None:
    """A script writes, sleeps virtual time, sees its spec, and its value is the exit code."""

    async def greet(command: ScriptedCommand) -> int:
        await command.stdout(f"hello {command.spec['env']['NAME']}\n".encode())
        await anyio.sleep(60)
        await command.stderr(b"bye\n")
        return 5

    async with memory({"greet": greet}) as sandbox:
        result = await sandbox.commands.run("greet", env={"NAME": "you"})
    assert (result.stdout, result.stderr, result.exit_code) == ("hello you\n", "bye\n", 5)
    assert result.exit.duration == pytest.approx(60)


async def test_dropping_makes_new_connections() -> None:
    """drop cuts what is connected; the client comes back."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        await sandbox.commands.list()
        await anyio.wait_all_tasks_blocked()
        before = agent.connections
        agent.restart()
        await anyio.sleep(1)
        assert agent.connections == before + 1
        assert (await sandbox.commands.run(STEPS)).exit_code == 3


async def test_a_cut_channel_is_of_no_use() -> None:
    """A channel that was cut raises for its reader and its writer."""
    agent = MemoryAgent({})
    channel = await MemoryTransport(agent).connect()
    assert "hello" in str(await channel.receive())
    agent.drop()
    with pytest.raises(ConnectionLost):
        await channel.receive()
    with pytest.raises(ConnectionLost):
        await channel.send("[]")
    await channel.aclose()


async def test_refusing_lasts_until_healed() -> None:
    """refuse turns connections and calls away with its error."""
    agent = agent_of()
    agent.refuse()
    transport = MemoryTransport(agent)
    with pytest.raises(ConnectError):
        await transport.connect()
    with pytest.raises(ConnectError):
        await transport.request("list", {})
    agent.heal()
    assert (await transport.request("list", {}))["infos"] == []


async def test_nothing_is_shared_with_the_caller() -> None:
    """What goes over the memory link is copied, as over a wire."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        env = {"A": "1"}
        handle = await sandbox.commands.start(STEPS, env=env)
        env["A"] = "2"
        assert agent.commands[handle.process_id].spec["env"] == {"A": "1"}
        with pytest.raises(hopx.CommandNotFound):
            agent.commands["nobody"]
