"""Sending to stdin: what the contract checks do not say already."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from hopx_async import writing
from hopx_async.errors import BusyError, ConnectError, HopxError, InvalidArgument, StdinClosed
from hopx_async.protocol.lifecycle import STDIN_BYTES
from hopx_async.testing import VirtualTimeLoop
from hopx_async.testing.contract import SCRIPTS
from hopx_async.testing.memory import MemoryAgent
from hopx_async.writing import StdinWriter, as_bytes
from tests.support.virtual import opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


_COPY = "exec cat"


async def test_lost_answers_repeat_nothing() -> None:
    """Calls whose answers were lost are repeated, and the command gets each byte once."""
    agent = MemoryAgent(SCRIPTS)
    async with opened(agent) as sandbox:
        job = await sandbox.commands.start(_COPY, stdin=True)
        data = bytes(range(256)) * 2000
        agent.lose_answers(5)
        await job.send_stdin(data)
        agent.lose_answers(1)
        await job.close_stdin()
        assert (await job.result()).stdout_bytes == data


async def test_unreachable_agent_is_told_and_forgets_nothing() -> None:
    """A send that was given up is finished by the next one."""
    agent = MemoryAgent(SCRIPTS)
    async with opened(agent) as sandbox:
        job = await sandbox.commands.start(_COPY, stdin=True)
        agent.refuse(ConnectError("down"))
        with pytest.raises(HopxError):
            await job.send_stdin(b"one ")
        agent.heal()
        await job.send_stdin(b"two")
        await job.close_stdin()
        assert (await job.result()).stdout == "one two"


async def test_closing_can_be_cancelled_and_called_again() -> None:
    """A cancelled close sends nothing twice and lets no more be sent."""
    agent = MemoryAgent(SCRIPTS)
    async with opened(agent) as sandbox:
        job = await sandbox.commands.start(_COPY, stdin=True)
        await job.send_stdin(b"all")
        agent.stall()
        with anyio.move_on_after(1) as scope:
            await job.close_stdin()
        assert scope.cancelled_caught
        agent.heal()
        with pytest.raises(StdinClosed):
            await job.send_stdin(b"more")
        await job.close_stdin()
        assert (await job.result()).stdout == "all"


async def test_resizing_can_be_cancelled() -> None:
    """A cancelled resize may be called again."""
    agent = MemoryAgent(SCRIPTS)
    async with opened(agent) as sandbox:
        job = await sandbox.commands.start(_COPY, pty=True)
        agent.stall()
        with anyio.move_on_after(1) as scope:
            await job.resize(1, 2)
        assert scope.cancelled_caught
        agent.heal()
        assert await job.resize(1, 2)
        sizes: Any = ((0, 1), (1, 70_000), (1.5, 2), ("1", 2), (True, 2))
        for size in sizes:
            with pytest.raises(InvalidArgument, match="size"):
                await job.resize(*size)


async def test_another_sender_is_noticed() -> None:
    """A handle that another one overtook says so, and goes on behind what was taken."""
    async with opened(MemoryAgent(SCRIPTS)) as sandbox:
        job = await sandbox.commands.start(_COPY, stdin=True)
        other = await sandbox.commands.get(job.ref)
        await other.send_stdin(b"other")
        with pytest.raises(BusyError, match="somebody else"):
            await job.send_stdin(b"1")
        await job.send_stdin(b"2")
        await job.close_stdin()
        assert (await job.result()).stdout == "other12"


class _Nobody:
    """A client whose calls are never answered."""

    async def call(self, method: str, **params: Any) -> Any:
        await anyio.sleep_forever()


async def test_what_is_owed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled sends are remembered up to a bound; one large send is no debt."""
    monkeypatch.setattr(writing, "MAX_OWED_BYTES", 1000)
    client: Any = _Nobody()
    writer = StdinWriter(client, "a", 0)
    for _ in range(1):
        with anyio.move_on_after(1):
            await writer.send(bytes(STDIN_BYTES))
    with pytest.raises(BusyError, match="cancelled"):
        await writer.send(b"x")


@pytest.mark.parametrize("data", [None, 1, ["a"], "\ud800"])
async def test_what_is_no_data_is_refused(data: Any) -> None:
    """Neither bytes nor a text that can be encoded: refused, and not shown."""
    async with opened(MemoryAgent(SCRIPTS)) as sandbox:
        job = await sandbox.commands.start(_COPY, stdin=True)
        with pytest.raises(InvalidArgument, match="data") as caught:
            await job.send_stdin(data)
        assert "ud800" not in str(caught.value)
        wrong: Any = data or 0
        with pytest.raises(InvalidArgument, match="input"):
            await sandbox.commands.run(_COPY, input=wrong)


def test_bytes_are_copied() -> None:
    """What may change behind our back is copied."""
    data = bytearray(b"abc")
    taken = as_bytes("data", data)
    data[0] = 0

    assert taken == b"abc"
    assert as_bytes("data", memoryview(b"x")) == b"x"
    assert as_bytes("data", "ü") == b"\xc3\xbc"
