"""The contract checks on the real agent through long-poll alone: a proxy refuses every upgrade."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import hopx_async as hopx
from hopx_async import Sandbox
from hopx_async.protocol import feeds
from hopx_async.testing.contract import CHECKS, Check
from hopx_async.testing.contract_needs import NEEDS
from tests.support.agents import running_agent
from tests.support.proxy import RefusingProxy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the local agent needs Linux")


@asynccontextmanager
async def behind_a_proxy(
    state: Path, status: int = 403
) -> AsyncGenerator[tuple[Sandbox, RefusingProxy]]:
    """Open a sandbox whose agent is reached through a proxy that refuses sockets."""
    async with RefusingProxy(status) as proxy:
        host = f"127.0.0.1:{proxy.port}"
        async with running_agent(state, allow_hosts=[host]) as agent:
            proxy.target = ("127.0.0.1", int(agent.url.rpartition(":")[2]))
            async with hopx.remote(f"http://{host}", token=agent.token) as sandbox:
                yield sandbox, proxy


# Changes of files come by socket alone.
WITHOUT_SOCKETS = [check for check in CHECKS if "watch" not in NEEDS.get(check, ())]


@pytest.mark.parametrize("check", WITHOUT_SOCKETS, ids=lambda check: check.__name__)
async def test_long_poll_keeps_the_contract(check: Check, tmp_path: Path) -> None:
    """The agent behind a proxy that refuses upgrades passes each check, and no socket is up."""
    async with behind_a_proxy(tmp_path / "state") as (sandbox, proxy):
        await up(sandbox, "poll")
        await check(sandbox)
        statistics = await sandbox.statistics()

    assert statistics["client"]["feed"] == "poll"
    assert (statistics["agent"]["connections"], statistics["agent"]["sessions"]) == (0, 1)
    assert proxy.refusals


async def test_a_watch_needs_a_socket(tmp_path: Path) -> None:
    """Where sockets are blocked, a watch says so, and other calls of files work."""
    async with behind_a_proxy(tmp_path / "state") as (sandbox, _):
        await sandbox.files.write("a", b"")
        with pytest.raises(hopx.RemoteProtocolError, match="refused with status 403"):
            await anext(sandbox.files.watch())
        assert await sandbox.files.exists("a")


async def up(sandbox: Sandbox, feed: str) -> None:
    """Wait until the link is carried by *feed*."""
    with anyio.fail_after(30):
        while (await sandbox.statistics())["client"]["feed"] != feed:
            await anyio.sleep(0.01)


@pytest.mark.parametrize("status", [400, 403, 405, 426, 502])
async def test_fallback_is_told_once_and_ends(
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Sockets that are refused are told of once; when they are let through, one is used again."""
    monkeypatch.setattr(feeds, "PROBE_FIRST", 0.05)
    async with behind_a_proxy(tmp_path / "state", status) as (sandbox, proxy):
        await up(sandbox, "poll")
        handle = await sandbox.commands.start("echo one; read; sleep 3600")
        while proxy.refusals < 3:
            await anyio.sleep(0.01)
        proxy.open = True
        await up(sandbox, "socket")
        events = handle.events()
        await anext(events)
        assert (await anext(events)).data == b"one\n"  # type: ignore[union-attr]
        assert (await handle.kill(grace=0)).reason == "killed"
        with anyio.fail_after(30):
            while (statistics := await sandbox.statistics())["agent"]["sessions"]:
                await anyio.sleep(0.01)

    assert statistics["agent"]["connections"] == 1
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert ["long-poll" in record.getMessage() for record in told] == [True]


async def test_much_output_comes_whole(tmp_path: Path) -> None:
    """Megabytes arrive intact by long-poll although its connections are cut all the time."""
    async with behind_a_proxy(tmp_path / "state") as (sandbox, proxy):
        await up(sandbox, "poll")
        handle = await sandbox.commands.start("seq 1 1000000")
        data, cut = b"", 0
        async for event in handle.events():
            data += getattr(event, "data", b"")
            if len(data) >= cut:
                cut += 500_000
                proxy.cut()

    assert data == b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    assert proxy.cuts > 5
