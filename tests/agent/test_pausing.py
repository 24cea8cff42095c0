"""Tests of hopx_async.agent.pausing, through an agent that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.agent.harness import serving

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_paused_agent_answers_nobody(tmp_path: Path) -> None:
    """Paused, its commands are stopped and everything is 503 but its facts; then it goes on."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        for name in ("one", "two"):
            server.keeper.running(name)
        server.keeper.finish("two")
        await client.exit("two")
        assert (await server.ask("POST", "/v1/pause"))[0] == 200
        status, told = await server.ask("POST", "/commands/run", json={"command": "true"})
        assert (status, told["code"]) == (503, "SANDBOX_PAUSED")
        for path in ("/health", "/v1/commands", "/execute/processes"):
            assert (await server.ask("GET", path))[0] == 503
        assert (await server.ask("GET", "/info"))[0] == 200
        assert (await server.ask("POST", "/v1/resume"))[0] == 200
        assert (await server.ask("GET", "/health"))[0] == 200

        said = [(one["id"], one["name"]) for one in server.keeper.requests]
        assert said == [("one", "SIGSTOP"), ("one", "SIGCONT")]


async def test_a_pause_ends_the_links_that_are_open(tmp_path: Path) -> None:
    """Nothing is started behind the back of a pause: sockets close, new ones are refused."""
    async with serving(tmp_path / "s") as server:
        async with server.connect() as socket:
            await socket.recv()
            assert (await server.ask("POST", "/v1/pause"))[0] == 200
            with pytest.raises(ConnectionClosed) as caught:
                while True:
                    await socket.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
        with pytest.raises(InvalidStatus, match="503"):
            await server.connect()
        await server.ask("POST", "/v1/resume")
        async with server.connect() as socket:
            assert await socket.recv()


async def test_what_is_started_while_a_pause_begins_is_paused_too(tmp_path: Path) -> None:
    """A start over a link that is still open comes before the signals, and not behind them."""
    async with serving(tmp_path / "s") as server:
        pausing = server.agent._pausing
        cut = pausing._cut

        async def starting() -> None:
            server.keeper.running("late")
            while server.agent._board.get("late") is None:
                await anyio.sleep(0.01)
            await cut()

        pausing._cut = starting
        assert (await server.ask("POST", "/v1/pause"))[0] == 200
        said = [(one["id"], one["name"]) for one in server.keeper.requests]
        assert said == [("late", "SIGSTOP")]
        await server.ask("POST", "/v1/resume")


async def test_an_agent_that_comes_back_stays_paused(tmp_path: Path) -> None:
    """The mark is on the disk: an agent that was restarted knows it."""
    async with serving(tmp_path / "s") as server:
        await server.ask("POST", "/v1/pause")
    async with serving(tmp_path / "s") as server:
        assert (await server.ask("GET", "/health"))[0] == 503
        await server.ask("POST", "/v1/resume")
    async with serving(tmp_path / "s") as server:
        assert (await server.ask("GET", "/health"))[0] == 200


async def test_pausing_needs_the_token(tmp_path: Path) -> None:
    """Without the token nobody pauses."""
    async with serving(tmp_path / "s") as server:
        headers = {"Authorization": "Bearer wrong"}

        assert (await server.ask("POST", "/v1/pause", headers=headers))[0] == 401
        assert (await server.ask("GET", "/health"))[0] == 200
