"""The door for a transport of one's own."""

from __future__ import annotations

from typing import Any

import pytest

import hopx_async as hopx
from hopx_async.errors import AuthenticationError, InvalidArgument, Unsupported
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop, contract
from hopx_async.testing.memory import MemoryTransport


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def hello(command: ScriptedCommand) -> int:
    """Print a word."""
    await command.stdout(b"hello\n")
    return 0


class Noted(MemoryTransport):
    """A transport that notes its end."""

    closed = 0

    async def aclose(self) -> None:
        """Note it."""
        self.closed += 1
        await super().aclose()


class Lease:
    """A lease that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def release(self, grace: float | None) -> None:
        """Note it."""
        self.asked.append(("release", grace))

    async def kill(self) -> None:
        """Note it."""
        self.asked.append("kill")


async def test_a_transport_opens_its_sandbox() -> None:
    """The far side says itself what it is; the sandbox's end is the transport's."""
    transport = Noted(MemoryAgent({"hello": hello}, sandbox_id="sbx_mine"))
    async with hopx.through(transport) as sandbox:
        assert sandbox.sandbox_id == "sbx_mine"
        assert sandbox.capabilities.agent == "memory"
        assert sandbox.capabilities.wait_port
        assert (await sandbox.commands.run("hello")).stdout == "hello\n"
        await sandbox.files.write("a", "1")
        with pytest.raises(Unsupported):
            await sandbox.kill()
    assert transport.closed == 1


async def test_a_lease_is_told_of_the_end() -> None:
    """A lease ends what this use owns, and is asked to kill the sandbox."""
    lease = Lease()
    sandbox = await hopx.through(MemoryTransport(MemoryAgent({})), lease=lease)
    await sandbox.aclose(grace=2)
    assert lease.asked == [("release", 2)]
    sandbox = await hopx.through(MemoryTransport(MemoryAgent({})), lease=lease)
    await sandbox.kill()
    assert lease.asked[1:] == ["kill", ("release", None)]


async def test_a_door_that_fails_closes_its_transport() -> None:
    """When the far side refuses, its error arrives bare, and nothing is left."""
    agent = MemoryAgent({})
    agent.refuse(AuthenticationError("no"))
    transport = Noted(agent)
    with pytest.raises(AuthenticationError):
        await hopx.through(transport)
    assert transport.closed == 1


@pytest.mark.parametrize(
    ("parameter", "arguments"),
    [
        ("transport", {"transport": "http://127.0.0.1"}),
        ("give_up_after", {"transport": MemoryTransport(MemoryAgent({})), "give_up_after": 0}),
    ],
)
def test_bad_arguments_are_refused_at_the_call(parameter: str, arguments: dict[str, Any]) -> None:
    """through names the argument that breaks a rule."""
    with pytest.raises(InvalidArgument) as caught:
        hopx.through(**arguments)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("check", contract.CHECKS[:3], ids=lambda check: check.__name__)
async def test_what_it_opens_keeps_the_contract(check: contract.Check) -> None:
    """Above the transport it is a sandbox as any other."""
    async with hopx.through(MemoryTransport(MemoryAgent(contract.SCRIPTS))) as sandbox:
        await check(sandbox)
