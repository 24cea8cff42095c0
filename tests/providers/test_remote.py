"""An agent that runs somewhere already: tokens, hosts, and what answers there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import hopx_async as hopx
from hopx_async.errors import (
    AgentUnreachable,
    ApiError,
    AuthenticationError,
    InvalidArgument,
    RemoteProtocolError,
    Unsupported,
)
from tests.support.agents import running_agent


async def test_remote_commands_are_detached(tmp_path: Path) -> None:
    """Closing a remote sandbox ends nothing there; another client finds the command."""
    async with running_agent(tmp_path / "state") as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            handle = await sandbox.commands.start("exec sleep 300")
            assert sandbox.capabilities.agent == "hopx_async"
            assert agent.token not in repr(sandbox)
            with pytest.raises(Unsupported):
                await sandbox.kill()
        async with hopx.remote(agent.url, token=agent.token) as again:
            assert (await (await again.commands.get(handle.ref)).info()).status == "running"


async def test_tokens_are_checked(tmp_path: Path) -> None:
    """A wrong token and that of another agent are refused at the door, and not shown."""
    async with running_agent(tmp_path / "one") as one, running_agent(tmp_path / "two") as two:
        for token in ("wrong", two.token):
            with pytest.raises(AuthenticationError) as caught:
                await hopx.remote(one.url, token=token)
            assert token not in str(caught.value)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{one.url}/v1/commands") as answer:
                assert answer.status == 401
            async with session.get(f"{one.url}/v1/commands?token={one.token}") as answer:
                assert answer.status == 401
            async with session.get(f"{one.url}/health") as answer:
                assert (await answer.json())["status"] == "healthy"


async def test_unknown_hosts_are_refused(tmp_path: Path) -> None:
    """A Host that the agent does not serve, and a browser's Origin, get nothing."""
    async with running_agent(tmp_path / "state") as agent, aiohttp.ClientSession() as session:
        for header in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            headers = {"Authorization": f"Bearer {agent.token}", **header}
            async with session.get(f"{agent.url}/v1/commands", headers=headers) as answer:
                assert answer.status in {403, 421}
                assert "error" in await answer.json()


@pytest.mark.parametrize("url", ["", "ftp://x", "http://user:pw@x", "http://x?q"])
def test_bad_urls_are_refused_at_the_call(url: str) -> None:
    """remote names what is no URL of an agent."""
    with pytest.raises(InvalidArgument, match="url"):
        hopx.remote(url, token="t")


@pytest.mark.parametrize("token", ["", "a\nb", "ü", None])
def test_bad_tokens_are_refused_at_the_call(token: Any) -> None:
    """remote refuses what cannot be a token, without showing it."""
    with pytest.raises(InvalidArgument, match="not shown"):
        hopx.remote("http://127.0.0.1:1", token=token)


async def test_nobody_there_is_told(free_tcp_port: int) -> None:
    """A door that nobody opens gives up after give_up_after."""
    with pytest.raises(AgentUnreachable, match="did not answer"):
        await hopx.remote(f"http://127.0.0.1:{free_tcp_port}", token="t", give_up_after=0.1)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"agent": "x"}, RemoteProtocolError),
        ({"link_version": 99}, RemoteProtocolError),
        ([], RemoteProtocolError),
        ("<html>", RemoteProtocolError),
        ({"error": {"code": "x", "message": "no"}}, ApiError),
    ],
)
async def test_something_else_there_is_told(answer: Any, kind: type[Exception]) -> None:
    """What answers, but is no agent of ours, is a protocol error that shows it."""

    async def handler(_: web.Request) -> web.Response:
        if isinstance(answer, str):
            return web.Response(text=answer)
        return web.json_response(answer, status=400 if "error" in answer else 200)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        with pytest.raises(kind):
            await hopx.remote(f"http://{host}:{port}", token="t")
    finally:
        await runner.cleanup()
