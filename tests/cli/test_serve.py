"""``hopx-async serve --agent stock``: sandboxes whose agent has the flaws of HopX's own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hopx_async.cli.serve import AGENTS
from hopx_async.protocol.rate import RateBudget
from hopx_async.providers.stock import open_stock
from hopx_async.sandbox import Sandbox
from tests.control.test_server import ask, end, up
from tests.support.serving import Served
from tests.support.stock import Nothing, StockAccess, living

# Nobody else sleeps so long, in whatever runs beside this test.
NAP = f"4030.{os.getpid()}"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="serve needs Linux")


@asynccontextmanager
async def opened(told: dict[str, Any]) -> AsyncGenerator[Sandbox]:
    """Open a sandbox that a server has told of, with the token that came with it."""
    access = StockAccess(told["public_host"], RateBudget(), token=told["auth_token"])
    try:
        async with await open_stock(access, told["id"], Nothing(), {}, give_up_after=30) as sandbox:
            yield sandbox
    finally:
        await access.http.close()


def test_every_agent_is_explained() -> None:
    """Whoever chooses knows what for."""
    assert AGENTS.keys() == {"ours", "stock"}
    assert all(AGENTS.values())


@pytest.mark.leaves_orphans
async def test_a_stock_sandbox_is_served(tmp_path: Path) -> None:
    """Kills of HopX's kind claim success and do nothing; ours are proven; SIGTERM ends all."""
    served = Served("--agent", "stock", "--state-dir", str(tmp_path / "state"))
    async with await up(served) as http:
        told = await ask(http, "POST", "/v1/sandboxes", json={"template_name": "base"})
        body = {"command": "bash", "args": ["-c", f"exec sleep {NAP}"]}
        headers = {"Authorization": f"Bearer {told['auth_token']}"}
        options = {"json": body, "headers": headers}
        job = await ask(http, "POST", told["public_host"] + "/commands/background", **options)
        kill = f"{told['public_host']}/execute/kill/{job['process_id']}"
        assert (await ask(http, "POST", kill, headers=headers))["message"] == "success"
        async with opened(told) as sandbox:
            assert sandbox.capabilities.agent == "stock"
            handle = await sandbox.commands.start(f"echo up; exec sleep {NAP}")
            await anext(handle.lines())
            assert (await handle.kill(grace=0)).reason == "killed"
            await sandbox.commands.start(f"exec sleep {NAP}")
    assert await end(served) == (0, "")
    assert living(NAP) == []


@pytest.mark.leaves_orphans
async def test_it_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    """Found again with its commands and tokens, by the same address; deleted, it is gone."""
    state = ("--agent", "stock", "--state-dir", str(tmp_path / "state"))
    served = Served(*state)
    async with await up(served) as http:
        told = await ask(http, "POST", "/v1/sandboxes", json={"template_name": "base"})
        async with opened(told) as sandbox:
            await sandbox.commands.start("echo out; exec sleep 4033", process_id="one")
    await end(served, signal.SIGKILL)

    served = Served(*state)
    async with await up(served) as http:
        again = await ask(http, "GET", f"/v1/sandboxes/{told['id']}")
        assert (again["status"], again["public_host"]) == ("running", told["public_host"])
        async with opened(told) as sandbox:
            handle = await sandbox.commands.get("one")
            assert (await anext(handle.lines())).text == "out"
            assert (await handle.kill(grace=0)).reason == "killed"
        await ask(http, "DELETE", f"/v1/sandboxes/{told['id']}")
    assert (await end(served))[0] == 0
