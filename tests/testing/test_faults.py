"""Faults before a transport: what goes wrong there goes by unseen, in memory and for real."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import ConnectionLost, InvalidArgument, MisuseError
from hopx_async.testing import (
    Faults,
    MemoryAgent,
    ScriptedCommand,
    VirtualTimeLoop,
    contract,
    memory,
    run,
)
from hopx_async.testing.faults import FaultyChannel, unless
from hopx_async.testing.memory import MemoryTransport
from hopx_async.transport.base import Channel


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def ticks(command: ScriptedCommand) -> int:
    """Print ten lines, one a second."""
    for number in range(10):
        await command.stdout(b"%d\n" % number)
        await anyio.sleep(1)
    return 0


WANTED = b"".join(b"%d\n" % number for number in range(10))


@pytest.mark.parametrize("fault", ["none", "delay", "duplicate"])
@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_contract_is_kept_through_faults(check: contract.Check, fault: str) -> None:
    """Held and repeated calls and frames change nothing that a caller can tell."""

    async def main() -> None:
        faults = Faults()
        async with memory(contract.SCRIPTS, faults=faults) as sandbox:
            if fault == "delay":
                faults.delay(0.001)
            elif fault == "duplicate":
                faults.duplicate()
            await check(sandbox)

    run(main())


async def test_output_is_whole_over_cuts() -> None:
    """Cut at every event, a stream goes on where it was."""
    faults = Faults()
    async with memory({"ticks": ticks}, faults=faults) as sandbox:
        job = await sandbox.commands.start("ticks")
        output = b""
        async for event in job.events():
            faults.drop()
            output += getattr(event, "data", b"")
        assert output == WANTED
        assert faults.connections > 5


async def test_a_restarted_agent_is_connected_to_again() -> None:
    """In memory, a restart cuts the connections, and commands go on."""
    agent, faults = MemoryAgent({"ticks": ticks}), Faults()
    async with memory(agent=agent, faults=faults) as sandbox:
        job = await sandbox.commands.start("ticks")
        await anyio.sleep(2.5)
        before = agent.connections
        await faults.restart_agent()
        assert (await job.result()).stdout_bytes == WANTED
        assert agent.connections > before


async def test_without_a_sandbox_there_is_nothing_to_restart() -> None:
    """restart_agent says that no agent is there; the rest waits for one."""
    faults = Faults()
    faults.drop()
    with pytest.raises(MisuseError, match="no sandbox"):
        await faults.restart_agent()


async def test_a_delay_holds_each_call_until_it_is_healed() -> None:
    """A delay counts for the way there and back, and ends with heal."""
    faults = Faults()
    async with memory({}, faults=faults) as sandbox:
        await sandbox.statistics()
        faults.delay(2)
        began = anyio.current_time()
        await sandbox.statistics()
        assert anyio.current_time() - began == pytest.approx(4)
        faults.heal()
        began = anyio.current_time()
        await sandbox.statistics()
        assert anyio.current_time() == began


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1"])
def test_a_delay_is_a_number_of_seconds(seconds: Any) -> None:
    """What is no finite number of seconds is refused by name."""
    with pytest.raises(InvalidArgument, match="seconds"):
        Faults().delay(seconds)


async def test_calls_are_really_repeated() -> None:
    """While faults duplicate, the far side sees each call twice, the socket up or not."""
    seen: list[str] = []

    class Watched(MemoryAgent):
        async def answer(self, method: str, params: dict[str, Any]) -> Any:
            seen.append(method)
            return await super().answer(method, params)

    faults = Faults()
    async with memory(agent=Watched({"ticks": ticks}), faults=faults) as sandbox:
        faults.duplicate()
        assert not sandbox._client.connected
        await sandbox.statistics()
        await anyio.sleep(1)
        assert sandbox._client.connected
        job = await sandbox.commands.start("ticks", process_id="mine")
        await job.wait()
        assert len(await sandbox.commands.list()) == 1
        assert (seen.count("statistics"), seen.count("start")) == (2, 2)


async def test_a_call_under_way_is_lost_and_asked_again() -> None:
    """Cut during a call, the client asks again, and the caller does not notice."""
    faults = Faults()
    async with memory({}, faults=faults) as sandbox:
        await anyio.sleep(1)
        faults.delay(10)
        task = asyncio.create_task(sandbox.statistics())
        await anyio.sleep(5)
        connections = faults.connections
        faults.drop()
        faults.heal()
        assert (await task)["agent"] == {"commands": 0}
        assert faults.connections > connections


class Slow(Channel):
    """A channel whose frames come when they are put, and whose end is noted."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.sent: list[str] = []
        self.closed = False

    async def send(self, frame: str) -> None:
        """Note it."""
        self.sent.append(frame)

    async def receive(self) -> str | bytes:
        """Wait for one."""
        return await self.frames.get()

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


async def test_a_cancelled_receive_loses_no_frame() -> None:
    """Cancelled while it waits or is held, a frame is there for the next receive."""
    inner, faults = Slow(), Faults()
    channel = FaultyChannel(inner, faults, faults.cut)
    with anyio.move_on_after(1):
        await channel.receive()
    faults.delay(3)
    inner.frames.put_nowait("one")
    with anyio.move_on_after(1):
        await channel.receive()
    assert await channel.receive() == "one"
    with anyio.move_on_after(10):
        await channel.receive()
    await channel.aclose()
    assert inner.closed


async def test_a_channel_that_was_cut_stays_cut() -> None:
    """Neither sending nor receiving works on it, whatever had come before."""
    inner, faults = Slow(), Faults()
    channel = FaultyChannel(inner, faults, faults.cut)
    inner.frames.put_nowait("one")
    waiting = asyncio.create_task(channel.receive())
    await anyio.wait_all_tasks_blocked()
    faults.drop()
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await channel.receive()
    with pytest.raises(ConnectionLost):
        await channel.send("[]")
    assert (await waiting, inner.sent) == ("one", [])
    await channel.aclose()


async def test_what_is_not_waited_for_any_more_is_cancelled() -> None:
    """Cut or cancelled, unless ends the task, unless it is to be kept."""

    async def forever() -> None:
        await anyio.sleep_forever()

    for keep in (False, True):
        task = asyncio.create_task(forever())
        with anyio.move_on_after(1):
            await unless(anyio.Event(), task, keep=keep)
        assert task.done() != keep
        task.cancel()
        await asyncio.wait([task])
    cut, task = anyio.Event(), asyncio.create_task(forever())
    cut.set()
    with pytest.raises(ConnectionLost):
        await unless(cut, task, keep=True)
    assert task.cancelled()


async def test_a_transport_before_another_is_as_that() -> None:
    """Name, long-poll and end are those of the one behind."""
    inner = MemoryTransport(MemoryAgent({}))
    inner.feed = "markers"
    transport = Faults().on(inner)
    assert (transport.name, transport.polls) == (inner.name, inner.polls)
    assert transport.feed == "markers"
    with pytest.raises(hopx.Unsupported):
        await transport.connect_poll()
    await transport.aclose()
