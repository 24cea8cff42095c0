"""The task that serves a link: reconnects, retries, gives up, and dies in the open."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import anyio
import pytest

from hopx_async.errors import (
    AgentFault,
    AgentUnreachable,
    AuthenticationError,
    ClosedError,
    ConnectionLost,
    RemoteProtocolError,
)
from hopx_async.protocol import wire
from hopx_async.protocol.events import Exited, Started, Stdout
from hopx_async.testing import VirtualTimeLoop
from hopx_async.testing.memory import MemoryTransport
from hopx_async.transport.base import Channel
from hopx_async.transport.pump import Pump
from tests.support.virtual import CHATTER, CHATTER_TEXT, SLEEP, STEPS, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def test_a_stream_survives_lost_connections() -> None:
    """events yields every byte once and in order although the connection is cut all the time."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        data = b""
        async for event in handle.events():
            if isinstance(event, Stdout):
                data += event.data
                if len(data) % 5 == 0:
                    agent.drop()
        statistics = await sandbox.statistics()

    assert data == CHATTER_TEXT
    assert statistics["client"]["reconnects"] > 10


async def test_a_wait_survives_an_absent_agent() -> None:
    """wait returns the exit although nobody was there for a while."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        async with anyio.create_task_group() as group:
            group.start_soon(_away, agent, 60.0)
            assert (await handle.wait()).ok


async def _away(agent: Any, seconds: float) -> None:
    agent.refuse()
    await anyio.sleep(seconds)
    agent.heal()


async def test_a_stalled_agent_delays_and_loses_nothing() -> None:
    """A connection over which nothing comes for a while goes on afterwards."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        agent.stall()
        with anyio.move_on_after(10) as scope:
            await handle.wait()
        assert scope.cancelled_caught
        agent.heal()
        assert (await handle.output()).stdout_bytes == CHATTER_TEXT[:78]
        assert (await handle.wait()).ok


async def test_a_start_whose_answer_is_lost_runs_once() -> None:
    """A start is repeated until it is answered, and the command runs once."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        agent.lose_answers(5)
        handle = await sandbox.commands.start(STEPS)
        assert (await handle.wait()).exit_code == 3
        assert len(await sandbox.commands.list()) == 1


async def test_a_kill_whose_answer_is_lost_is_repeated() -> None:
    """kill returns the end although its first answers got lost."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        agent.lose_answers(2)
        assert (await handle.kill()).reason == "killed"


async def test_nobody_answers() -> None:
    """After give_up_after, streams, waits and calls fail; the handle is usable afterwards."""
    agent = agent_of()
    async with opened(agent, give_up_after=30.0) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        events = handle.events()
        assert isinstance(await anext(events), Started)
        agent.refuse()
        began = anyio.current_time()
        with pytest.raises(AgentUnreachable) as caught:
            await anext(events)
        assert anyio.current_time() - began == pytest.approx(30.0)
        assert caught.value.seconds == 30.0
        with pytest.raises(AgentUnreachable):
            await handle.info()
        with pytest.raises(AgentUnreachable):
            await handle.wait()
        agent.heal()
        assert (await handle.info()).status == "running"
        assert (await handle.kill()).reason == "killed"
        assert isinstance([event async for event in handle.events()][-1], Exited)


async def test_a_refusal_for_good_is_told_at_once() -> None:
    """A far side that says no is not asked again: streams get its error."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        agent.refuse(AuthenticationError("the token was revoked"))
        with pytest.raises(AuthenticationError, match="revoked"):
            await handle.wait()
        with pytest.raises(AuthenticationError):
            await handle.info()
        agent.heal()
        await handle.kill()


async def test_an_agent_that_starts_up_is_waited_for() -> None:
    """A call answered 503 is repeated; another fault of the agent is raised."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        agent.refuse(AgentFault("starting", status=503))
        async with anyio.create_task_group() as group:
            group.start_soon(_heal_after, agent, 3.0)
            assert await sandbox.commands.list() == []
        agent.refuse(AgentFault("the disk is full", status=507))
        with pytest.raises(AgentFault, match="disk"):
            await sandbox.commands.start(STEPS)


async def _heal_after(agent: Any, seconds: float) -> None:
    await anyio.sleep(seconds)
    agent.heal()


async def test_closing_fails_who_waits() -> None:
    """aclose wakes streams and waits with ClosedError, and calls fail from then on."""
    agent = agent_of()
    pump = Pump(MemoryTransport(agent))
    pump.start()
    await pump.call("start", {"process_id": "a", "command": SLEEP})
    subscription = pump.subscribe("a", output=False)
    async with anyio.create_task_group() as group:
        group.start_soon(pump.news, subscription)
        await anyio.wait_all_tasks_blocked()
        await pump.aclose()
    assert isinstance(subscription.error, ClosedError)
    with pytest.raises(ClosedError):
        await pump.call("list", {})
    with pytest.raises(ClosedError):
        pump.subscribe("a")
    await agent.aclose()


async def test_the_death_of_the_pump_is_seen() -> None:
    """A bug in the pump fails every stream, wait and call with that bare error."""
    agent = agent_of()

    class Broken(MemoryTransport):
        async def connect(self) -> Channel:
            await anyio.sleep(1)
            raise ZeroDivisionError("a bug")

    pump = Pump(Broken(agent))
    pump.start()
    subscription = pump.subscribe("a")
    await pump.news(subscription)
    assert isinstance(subscription.error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        await pump.call("list", {})
    await pump.aclose()
    await agent.aclose()


async def test_a_pump_that_the_loop_ends_lets_nobody_wait() -> None:
    """Cancelled by the event loop's end, it fails who waits; calls still go by request."""
    agent = agent_of()
    pump = Pump(MemoryTransport(agent))
    pump.start()
    await pump.call("start", {"process_id": "a", "command": SLEEP})
    subscription = pump.subscribe("a", output=False)
    task = pump._task
    assert task is not None
    task.cancel()
    await pump.news(subscription)
    assert isinstance(subscription.error, ClosedError)
    await asyncio.wait([task])
    with pytest.raises(ClosedError, match="event loop"):
        pump.subscribe("a")
    assert len((await pump.call("list", {}))["infos"]) == 1
    await pump.aclose()
    await agent.aclose()


@pytest.mark.parametrize("moment", range(12))
async def test_closing_at_any_moment_leaves_nothing(moment: int) -> None:
    """aclose may come at any turn of connecting and serving; no task is left."""
    before = asyncio.all_tasks()
    agent = agent_of()
    pump = Pump(MemoryTransport(agent))
    pump.start()
    for _ in range(moment):
        await anyio.lowlevel.checkpoint()
    await pump.aclose()
    await pump.aclose()
    await agent.aclose()

    assert asyncio.all_tasks() == before


class Blocked(MemoryTransport):
    """Connections over which nothing can be sent until they are opened."""

    async def connect(self) -> Channel:
        """Return one of them."""
        channel = await super().connect()
        send, self.opened = channel.send, anyio.Event()

        async def wait_and_send(frame: str) -> None:
            await self.opened.wait()
            await send(frame)

        channel.send = wait_and_send  # type: ignore[method-assign]
        return channel


async def test_what_waits_for_a_blocked_connection_is_bounded() -> None:
    """While nothing can be sent, calls wait their turn, and those given up leave nothing."""
    agent = agent_of()
    transport = Blocked(agent)
    pump = Pump(transport)
    pump.start()
    while not pump.connected:
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
    outbox = pump._link._outbox[1]
    large = {"name": "x" * 1_000_000}
    for _ in range(3):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(pump.call, "list", large)
            for _ in range(1000):
                pump.close(pump.subscribe("a"))
            await anyio.wait_all_tasks_blocked()
            assert 4_000_000 < outbox.size <= wire.MAX_CONTROL_BYTES + wire.MAX_CALL_BYTES
            group.cancel_scope.cancel()
        assert outbox.size < 100
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(pump.call, "list", large)
        await anyio.wait_all_tasks_blocked()
        transport.opened.set()
    assert not outbox
    await pump.aclose()
    await agent.aclose()


async def test_closing_ends_calls_that_wait_for_room() -> None:
    """aclose fails the calls that wait until something could be sent."""
    agent = agent_of()
    pump = Pump(Blocked(agent))
    pump.start()
    while not pump.connected:
        await anyio.lowlevel.checkpoint()
    calls = [asyncio.create_task(pump.call("list", {"name": "x" * 1_000_000})) for _ in range(10)]
    await anyio.wait_all_tasks_blocked()
    await pump.aclose()
    await asyncio.wait(calls)
    assert {type(call.exception()) for call in calls} == {ClosedError}
    await agent.aclose()


@pytest.mark.parametrize("moment", range(8))
async def test_a_call_can_be_cancelled_at_any_moment(moment: int) -> None:
    """A cancelled call leaves no future behind, and the next call works."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        task = asyncio.create_task(sandbox.commands.list())
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
        assert await sandbox.commands.list() == []


async def test_an_agent_that_breaks_the_protocol_is_told() -> None:
    """A frame that is none ends the link with a protocol error, not with another try."""
    agent = agent_of()

    class Nonsense(MemoryTransport):
        async def connect(self) -> Channel:
            channel = await super().connect()

            async def receive() -> str:
                return "nonsense"

            channel.receive = receive  # type: ignore[method-assign]
            return channel

    pump = Pump(Nonsense(agent))
    pump.start()
    subscription = pump.subscribe("a")
    await pump.news(subscription)
    assert isinstance(subscription.error, RemoteProtocolError)
    await pump.aclose()
    await agent.aclose()


async def test_a_channel_lost_in_the_handshake_is_retried() -> None:
    """A connection that breaks before its first word counts as a failure, with a growing pause."""
    agent = agent_of()
    times = []

    class Flaky(MemoryTransport):
        async def connect(self) -> Channel:
            times.append(anyio.current_time())
            if len(times) < 6:
                raise ConnectionLost("flaky")
            return await super().connect()

    pump = Pump(Flaky(agent), chance=lambda: 1.0)
    pump.start()
    while not pump.connected:
        await anyio.sleep(0.01)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == pytest.approx([0.0, 0.05, 0.1, 0.2, 0.4])
    await pump.aclose()
    await agent.aclose()
