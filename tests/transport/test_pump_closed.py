"""The end of a pump that is itself cut short."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from hopx_async.errors import ClosedError
from hopx_async.testing import VirtualTimeLoop
from hopx_async.transport.base import Channel, Transport
from hopx_async.transport.pump import Pump
from tests.support.virtual import SLEEP, agent_of, opened


class Slow(Transport):
    """A transport that takes its time to give up connecting."""

    name = "slow"

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.closed = False

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Answer nothing."""
        await anyio.sleep_forever()

    async def connect(self) -> Channel:
        """Connect to nobody."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.gate.wait()
        raise AssertionError

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


async def test_a_closing_that_is_cancelled_closes_the_transport_all_the_same() -> None:
    """asyncio's own cancellations know no shield: no connection is left by one."""
    transport = Slow()
    pump = Pump(transport)
    pump.start()
    await anyio.wait_all_tasks_blocked()
    closing = asyncio.create_task(pump.aclose())
    await anyio.wait_all_tasks_blocked()
    assert not transport.closed
    closing.cancel()
    transport.gate.set()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert transport.closed


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualTimeLoop})])
async def test_a_transport_that_is_closed_first_ends_the_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who closes the client before its sandbox is told so by every wait, and no bug is logged."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        agent.refuse(ClosedError("the client is closed"))
        with pytest.raises(ClosedError, match="the client is closed"):
            await handle.wait()
        with pytest.raises(ClosedError, match="the client is closed"):
            await handle.wait()
    assert caplog.records == []
