"""The task that serves a link, where the far side is not to be trusted: never, or for a while."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from hopx_async.errors import TlsError
from hopx_async.testing import MemoryAgent, VirtualTimeLoop
from hopx_async.testing.memory import MemoryTransport
from hopx_async.transport.pump import Pump
from tests.support.virtual import CHATTER, SLEEP, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def _heal_after(agent: MemoryAgent, seconds: float) -> None:
    await anyio.sleep(seconds)
    agent.heal()


async def test_an_agent_that_was_never_trusted_is_told_at_once() -> None:
    """Before the link was up once, waiting is taken to mend no trust."""
    agent = agent_of()
    agent.refuse(TlsError("no trust"))
    pump = Pump(MemoryTransport(agent))
    pump.start()
    began = anyio.current_time()
    subscription = pump.subscribe("a")
    await pump.news(subscription)
    assert isinstance(subscription.error, TlsError)
    assert anyio.current_time() == began
    await pump.aclose()
    await agent.aclose()


async def test_a_wait_outlives_what_is_in_between_for_a_while() -> None:
    """Once the link was up, no trust is an outage like any other."""
    agent = agent_of()
    async with opened(agent, give_up_after=30.0) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        agent.refuse(TlsError("a captive portal"))
        async with anyio.create_task_group() as group:
            group.start_soon(_heal_after, agent, 20.0)
            assert (await handle.wait()).ok


async def test_a_wait_that_gives_up_says_that_there_was_no_trust() -> None:
    """It is the error that helps, after the time after which any outage is given up."""
    agent = agent_of()
    async with opened(agent, give_up_after=30.0) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        agent.refuse(TlsError("no trust"))
        began = anyio.current_time()
        with pytest.raises(TlsError, match="no trust"):
            await handle.wait()
        assert anyio.current_time() - began == pytest.approx(30.0)
        agent.heal()
        await handle.kill()
