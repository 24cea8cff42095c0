"""Readiness by a command that looks: where the far side itself cannot tell."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async import probing
from hopx_async.errors import NotFoundError, NotReady, Unsupported
from hopx_async.probing import PROBE_TAGS, port_is_ready
from hopx_async.protocol import rate
from hopx_async.testing import MemoryAgent, ScriptedCommand, memory
from tests.support.stock import stock_sandbox
from tests.support.virtual import SLEEP

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the probe reads /proc")
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def probes(sandbox: hopx.Sandbox, **wanted: Any) -> list[hopx.CommandInfo]:
    """Return the probes that the far side knows of."""
    return await sandbox.commands.list(tags=PROBE_TAGS, **wanted)


@pytest.mark.leaves_orphans  # the emulation runs in this process, and kills what pauses
async def test_a_server_is_waited_for_on_a_stock_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HopX's own agent cannot tell of ports; the words are the same all the same."""
    monkeypatch.setattr(rate, "FIRST_TICK", 0.02)
    monkeypatch.setattr(rate, "LAST_TICK", 0.05)
    port = free_port()
    async with stock_sandbox(tmp_path) as place:
        start = place.sandbox.commands.start
        server = await start(["python3", "-c", SERVER, str(port)])
        await server.wait_for_port(port)
        await server.wait_for_http("/health", port=port)
        await server.kill()
        dead = await start("echo 'bad config' >&2; exit 78")
        with pytest.raises(NotReady, match="bad config") as caught:
            await dead.wait_for_http("/health", port=port)
        assert caught.value.exit.exit_code == 78
        assert await probes(place.sandbox, status="running") == []


async def test_a_path_that_answers_with_an_error_is_not_ready() -> None:
    """A probe goes on while the status is 400 or above; cancelled, it is ended."""
    port = free_port()
    async with hopx.local() as sandbox:
        server = await sandbox.commands.start(["python3", "-c", SERVER, str(port)])
        assert await port_is_ready(server, port, None)
        waiting = asyncio.create_task(port_is_ready(server, port, "/other"))
        while not await probes(sandbox, status="running"):
            await anyio.sleep(0.01)
        assert await port_is_ready(server, port, "/health")
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert await probes(sandbox, status="running") == []


async def test_a_probe_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe ends by itself, in case its client died, and a living client starts the next."""
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0)
    port = free_port()
    async with hopx.local() as sandbox:
        sleeper = await sandbox.commands.start(SLEEP)
        waiting = asyncio.create_task(port_is_ready(sleeper, port, None))
        while len(await probes(sandbox)) < 3:
            await anyio.sleep(0.01)
        with socket.create_server(("127.0.0.1", port)):
            assert await waiting


async def test_a_server_that_outlives_its_leader_counts() -> None:
    """When the command ends first, a last look decides."""
    async with hopx.local() as sandbox:
        over = await sandbox.commands.start("true")
        await over.wait()
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert await port_is_ready(over, server.getsockname()[1], None)
        assert not await port_is_ready(over, free_port(), None)


async def _asleep(command: ScriptedCommand) -> int:
    await anyio.sleep(3600)
    return 0


async def test_where_no_probe_can_run_it_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bash, or where the probe fails, the far side is said to be unable."""
    agent = MemoryAgent({SLEEP: _asleep})
    call = agent.commands.call

    async def older(method: str, params: dict[str, Any]) -> Any:
        if method == "wait_port":
            raise NotFoundError("no method 'wait_port' here")
        return await call(method, params)

    monkeypatch.setattr(agent.commands, "call", older)
    async with memory(agent=agent) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        with pytest.raises(Unsupported, match="nor run bash"):
            await handle.wait_for_port(80)
    with pytest.raises(Unsupported, match="exited with 127"):
        probing._found(127)
