"""Which feed carries the link: fallback, probes and the way back, on virtual time."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from hopx_async.client import AgentClient
from hopx_async.errors import AgentUnreachable, ConnectError, ConnectionLost
from hopx_async.model import Capabilities
from hopx_async.protocol.events import Stdout
from hopx_async.protocol.feeds import PROBE_FIRST, PROBE_LAST
from hopx_async.sandbox import Sandbox
from hopx_async.testing import VirtualTimeLoop
from hopx_async.testing.memory import MemoryChannel, _MemoryLease
from hopx_async.transport.base import Channel, SocketRefused
from hopx_async.transport.dialer import GREETING_SECONDS, Dialer
from tests.support.polling import PollingTransport
from tests.support.virtual import CHATTER, CHATTER_TEXT, SLEEP, agent_of


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def silence() -> str:
    """Receive nothing."""
    await anyio.sleep_forever()
    return ""


@asynccontextmanager
async def blocked(
    kind: type[PollingTransport] = PollingTransport, **options: Any
) -> AsyncGenerator[tuple[Sandbox, PollingTransport]]:
    """Open a sandbox whose sockets are refused."""
    agent = agent_of()
    transport = kind(agent)
    client = AgentClient(transport, agent.sandbox_id, **options)
    facts = Capabilities(agent="memory", version="1")
    async with Sandbox(client, _MemoryLease(agent), facts) as sandbox:
        yield sandbox, transport


async def feed(sandbox: Sandbox) -> str | None:
    """Return what carries the link."""
    carries: str | None = (await sandbox.statistics())["client"]["feed"]
    return carries


async def read(sandbox: Sandbox) -> bytes:
    """Return all that the chatter says, line by line in a hundred seconds."""
    handle = await sandbox.commands.start(CHATTER)
    return b"".join([e.data async for e in handle.events() if isinstance(e, Stdout)])


async def test_blocked_sockets_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Everything works by long-poll, probes become rare, and one warning is all that is told."""
    async with blocked() as (sandbox, transport):
        assert await read(sandbox) == CHATTER_TEXT
        assert await feed(sandbox) == "poll"
        await anyio.sleep(86_400)
        assert await feed(sandbox) == "poll"
        assert transport.tries <= 86_400 / PROBE_LAST + 15
        # Sessions that are lost are made anew in the same way.
        transport.cut()
        assert await read(sandbox) == CHATTER_TEXT

    warnings = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert len(warnings) == 1
    assert "long-poll" in warnings[0]
    assert "403" in warnings[0]


async def test_the_socket_is_used_again() -> None:
    """When sockets are let through, the link moves there in the middle of a stream."""
    async with blocked() as (sandbox, transport):
        handle = await sandbox.commands.start(CHATTER)
        data = b""
        async for event in handle.events():
            data += getattr(event, "data", b"")
            if len(data) == 158:
                assert await feed(sandbox) == "poll"
                transport.blocked = False
        assert await feed(sandbox) == "socket"
        assert not transport.sessions

    assert data == CHATTER_TEXT


async def test_sockets_that_keep_failing_count_as_blocked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two failures without a word from the agent lead to the long-poll, too."""

    class Cut(PollingTransport):
        async def connect(self) -> Channel:
            try:
                return await super().connect()
            except SocketRefused:
                raise ConnectionLost("hung up in the handshake") from None

    async with blocked(Cut) as (sandbox, transport):
        assert await read(sandbox) == CHATTER_TEXT
        assert await feed(sandbox) == "poll"
        assert transport.tries >= 2

    assert "hung up" in caplog.text


async def test_sockets_that_say_nothing_count_as_blocked() -> None:
    """A proxy that takes the upgrade and passes nothing on is found out."""

    class Mute(PollingTransport):
        async def connect(self) -> Channel:
            channel = MemoryChannel(self._agent)
            channel.receive = silence  # type: ignore[method-assign]
            return channel

    async with blocked(Mute) as (sandbox, _):
        handle = await sandbox.commands.start(SLEEP)
        await anyio.sleep(2 * GREETING_SECONDS + 1)
        assert await feed(sandbox) == "poll"
        assert (await handle.kill()).reason == "killed"


async def test_an_absent_agent_is_no_blocked_socket(caplog: pytest.LogCaptureFixture) -> None:
    """When nobody answers either way, the policy gives up as ever, and nothing is said of polls."""
    async with blocked(give_up_after=60.0) as (sandbox, transport):
        transport.blocked = False
        transport._agent.refuse()
        with pytest.raises(AgentUnreachable):
            await sandbox.commands.list()
        transport._agent.heal()
        await sandbox.commands.list()
        await anyio.sleep(PROBE_FIRST + 20)
        assert await feed(sandbox) == "socket"

    assert not [record for record in caplog.records if "long-poll" in record.getMessage()]


@pytest.mark.parametrize("moment", range(12))
async def test_dialing_can_be_cancelled(moment: int) -> None:
    """dial that is cancelled at any turn leaves no connection and no task; it may go on."""
    agent = agent_of()
    transport = PollingTransport(agent)
    transport.blocked = moment % 2 == 0
    dialer = Dialer(transport)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(cancel_after, scope, moment)
            dialed = await dialer.dial()
            await dialed.channel.aclose()
    dialed = await dialer.dial()
    await dialed.channel.aclose()
    await dialer.aclose()

    assert transport.alone
    await transport.aclose()
    await agent.aclose()


async def cancel_after(scope: anyio.CancelScope, turns: int) -> None:
    """Cancel a scope after so many turns of the loop."""
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    scope.cancel()


@pytest.mark.parametrize("moment", range(4))
async def test_a_probe_can_be_cancelled(moment: int) -> None:
    """probe that is cancelled leaves no connection; one that found a socket has it closed."""
    agent = agent_of()
    transport = PollingTransport(agent)
    dialer = Dialer(transport)
    dialed = await dialer.dial()
    assert dialed.feed == "poll"
    transport.blocked = False
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(dialer.probe)
            await anyio.sleep(PROBE_FIRST)
            await cancel_after(scope, moment)
    await dialer.aclose()
    await dialed.channel.aclose()

    assert transport.alone
    await agent.aclose()


async def test_a_silent_connection_is_closed() -> None:
    """A channel without a greeting is ConnectError after so long, and closed."""
    agent = agent_of()
    transport = PollingTransport(agent)
    transport.polls = False
    dialer = Dialer(transport)

    async def mute() -> Channel:
        channel = MemoryChannel(agent)
        channel.receive = silence  # type: ignore[method-assign]
        return channel

    transport.connect = mute  # type: ignore[method-assign]
    with pytest.raises(ConnectError, match="said nothing"):
        await dialer.dial()

    assert anyio.current_time() == pytest.approx(GREETING_SECONDS)
    assert transport.alone
    await agent.aclose()


async def test_without_a_poll_a_refusal_is_told() -> None:
    """Where there is no long-poll, a refused socket is what dial raises."""
    agent = agent_of()
    transport = PollingTransport(agent)
    transport.polls = False
    with pytest.raises(SocketRefused):
        await Dialer(transport).dial()
    await agent.aclose()
