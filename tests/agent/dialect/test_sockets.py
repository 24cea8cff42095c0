"""Tests of hopx_async.agent.dialect.sockets, through an agent that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from hopx_async.agent.dialect import sockets as module
from tests.agent.harness import serving

if TYPE_CHECKING:
    from pathlib import Path

ROUTES = ["/commands/stream", "/execute/stream", "/files/watch"]


@pytest.mark.parametrize("path", ROUTES)
async def test_a_socket_needs_the_token(tmp_path: Path, path: str) -> None:
    """Without a token the upgrade is refused with 401."""
    async with serving(tmp_path / "s") as server, aiohttp.ClientSession(server.url) as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(path)

        assert caught.value.status == 401


async def test_sockets_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is refused with 429."""
    monkeypatch.setattr(module, "MAX_SOCKETS", 1)
    async with serving(tmp_path / "s") as server, server.http.ws_connect(ROUTES[0]):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await server.http.ws_connect(ROUTES[0])

        assert caught.value.status == 429


async def test_the_agents_end_closes_them(tmp_path: Path) -> None:
    """A client hears 1001 when the agent ends."""
    async with serving(tmp_path / "s") as server, server.http.ws_connect(ROUTES[0]) as socket:
        await server.agent._dialect.aclose()
        message = await socket.receive(timeout=30)

        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
