"""The doors to the service, against ``hopx-async serve`` and agents that run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import jwt
import pytest

import hopx_async as hopx
from hopx_async import blocking
from hopx_async.errors import ConflictError, SandboxNotFound, TemplateNotFound
from hopx_async.transport.base import Channel
from hopx_async.transport.http import HttpTransport
from tests.support.local_server import LocalServer, local_server

#: Reads a command of a sandbox in a process of its own, from its beginning.
READER = """
import asyncio, json, sys
import hopx_async as hopx
async def main():
    ref = hopx.CommandRef(*sys.argv[1:3])
    async with hopx.Sandbox.connect(ref.sandbox) as sandbox:
        job = await sandbox.commands.get(ref)
        lines = [line.text async for line in job.lines()]
        print(json.dumps([lines, (await job.wait()).exit_code]))
asyncio.run(main())
"""


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    """Serve here."""
    with local_server() as found:
        yield found


def client_of(server: LocalServer) -> hopx.Client:
    """Return a client of it."""
    return hopx.Client(api_key=server.api_key, base_url=server.url)


async def test_a_sandbox_from_its_creation_to_its_end(server: LocalServer) -> None:
    """Commands see its variables; it is listed, found again, and gone behind its block."""
    async with client_of(server) as client:
        async with hopx.Sandbox.create(
            "base", env_vars={"WHO": "you"}, timeout_seconds=600, client=client
        ) as sandbox:
            result = await sandbox.commands.run("echo hello, $WHO; exit 3")
            assert (result.stdout, result.exit_code) == ("hello, you\n", 3)
            await sandbox.files.write("a", b"1")
            info = await sandbox.get_info()
            assert (info.template_name, info.timeout_seconds) == ("base", 600)
            assert [one async for one in client.list_sandboxes()] == [info]
            async with hopx.Sandbox.connect(sandbox.sandbox_id, client=client) as again:
                assert await again.files.read("a") == b"1"
                assert len(await again.commands.list()) == 1
            await sandbox.set_timeout(60)
            expires = (await sandbox.get_info()).expires_at
            assert expires is not None
            assert expires - time.time() < 61
        assert [one async for one in client.list_sandboxes()] == []
        with pytest.raises(SandboxNotFound):
            await hopx.Sandbox.connect(sandbox.sandbox_id, client=client)
        with pytest.raises(TemplateNotFound) as caught:
            await hopx.Sandbox.create("code-interpretr", client=client)
        assert caught.value.suggestions == ("code-interpreter",)


async def test_another_process_goes_on(server: LocalServer, monkeypatch: Any) -> None:
    """A command is read from its beginning by another process, found by ids alone."""
    monkeypatch.setenv("HOPX_API_KEY", server.api_key)
    monkeypatch.setenv("HOPX_BASE_URL", server.url)
    async with hopx.Sandbox.create("base") as sandbox:
        job = await sandbox.commands.start("echo one; read x < <(sleep 0.3); echo two; exit 7")
        command = [sys.executable, "-c", READER, job.ref.sandbox, job.ref.process_id]
        done = await asyncio.to_thread(subprocess.check_output, command, text=True)

        assert json.loads(done) == [["one", "two"], 7]


async def test_a_pause_stops_everything_and_a_resume_loses_nothing(server: LocalServer) -> None:
    """Streams and waits of a paused sandbox wait; all lines come, once, after the resume."""
    async with client_of(server) as client, hopx.Sandbox.create("base", client=client) as sandbox:
        job = await sandbox.commands.start("for i in {1..20}; do echo $i; sleep 0.05; done")
        lines: list[str] = []

        async def read() -> None:
            lines.extend([line.text async for line in job.lines()])

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await job.wait_for_output("2")
            await sandbox.pause()
            assert (await client.get_sandbox(sandbox.sandbox_id)).status == "paused"
            # Whoever comes by a connection of its own resumes it.
            async with hopx.Sandbox.connect(sandbox.sandbox_id, client=client) as again:
                assert (await again.get_info()).status == "running"
            await sandbox.resume()
            assert (await job.wait()).ok
        assert lines == [str(number) for number in range(1, 21)]


async def test_a_stopped_sandbox_is_refused(server: LocalServer) -> None:
    """connect does not start what is stopped."""
    async with client_of(server) as client:
        async with hopx.Sandbox.create("base", client=client) as sandbox:
            path = f"/v1/sandboxes/{sandbox.sandbox_id}/stop"
            await client._plane.ask("POST", path)
            with pytest.raises(ConflictError, match="is stopped"):
                await hopx.Sandbox.connect(sandbox.sandbox_id, client=client)


async def test_a_token_that_expires_is_renewed_for_all_ways(server: LocalServer) -> None:
    """Calls, files, the websocket and the long-poll take a renewed token after a 401."""
    async with client_of(server) as client, hopx.Sandbox.create("base", client=client) as sandbox:
        box = client._tokens.of(sandbox.sandbox_id)
        transport: Any = sandbox._client._transport

        async def spoil() -> str:
            token = await box.get()
            claims = jwt.decode(token, options={"verify_signature": False})
            expired = jwt.encode({**claims, "exp": 1}, "x" * 64, algorithm="HS256")
            box._token = expired
            return expired

        for use in (
            lambda: transport.request("statistics", {}),
            lambda: sandbox.files.exists("a"),
            transport.connect,
            transport.connect_poll,
        ):
            expired = await spoil()
            made: Any = await use()
            assert await box.get() != expired
            if hasattr(made, "aclose"):
                assert await made.receive()
                await made.aclose()
        assert (await sandbox.commands.run("echo 1")).stdout == "1\n"


async def test_a_link_that_breaks_comes_back_with_a_new_token(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is cut and its token worth nothing while a command prints: no line is lost."""
    channels: list[Any] = []
    connect = HttpTransport.connect

    async def watched(self: HttpTransport) -> Channel:
        channels.append(await connect(self))
        return channels[-1]  # type: ignore[no-any-return]

    monkeypatch.setattr(HttpTransport, "connect", watched)
    async with client_of(server) as client, hopx.Sandbox.create("base", client=client) as sandbox:
        job = await sandbox.commands.start("for i in {1..30}; do echo $i; sleep 0.02; done")
        lines = []
        async for line in job.lines():
            lines.append(line.text)
            if line.text in {"3", "9"}:
                client._tokens.of(sandbox.sandbox_id)._token = "eyJ-forged"  # noqa: S105  # it opens nothing
                channels[-1].abort()

        assert lines == [str(number) for number in range(1, 31)]
        assert len(channels) == 3


async def test_many_sandboxes_at_once(server: LocalServer) -> None:
    """Six sandboxes by one client run their commands at once, and all are deleted."""
    async with client_of(server) as client:

        async def one(number: int) -> str:
            async with hopx.Sandbox.create("base", client=client) as sandbox:
                return (await sandbox.commands.run(f"echo {number}")).stdout

        assert await asyncio.gather(*map(one, range(6))) == [f"{n}\n" for n in range(6)]
        assert [info async for info in client.list_sandboxes()] == []


async def test_a_stock_agent_is_opened_as_what_it_is() -> None:
    """Its /info does not say that it is ours: commands are kept by markers, and all else works."""
    with local_server("--agent", "stock") as server:
        async with client_of(server) as client:
            async with hopx.Sandbox.create(
                "base", env_vars={"WHO": "you"}, client=client
            ) as sandbox:
                assert sandbox.capabilities.agent == "stock"
                job = await sandbox.commands.start("echo hello, $WHO; exit 3", timeout=60)
                assert [line.text async for line in job.lines()] == ["hello, you"]
                assert (await job.wait()).exit_code == 3
                left = await sandbox.commands.start("sleep 300")
                async with hopx.Sandbox.connect(sandbox.sandbox_id, client=client) as again:
                    found = await again.commands.get(left.ref)
                    assert (await found.kill(grace=0)).reason == "killed"
                await sandbox.pause()
                await sandbox.resume()
                assert (await sandbox.commands.run("echo 1")).stdout == "1\n"
            assert [one async for one in client.list_sandboxes()] == []


def test_the_same_without_async(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocking doors do the same: create, list, pause, resume, connect, delete."""
    with local_server() as server:
        monkeypatch.setenv("HOPX_API_KEY", server.api_key)
        monkeypatch.setenv("HOPX_BASE_URL", server.url)
        with blocking.Client() as client, blocking.Sandbox.create("base", client=client) as sandbox:
            assert sandbox.commands.run("echo 1").stdout == "1\n"
            assert [one.sandbox_id for one in client.list_sandboxes()] == [sandbox.sandbox_id]
            sandbox.pause()
            sandbox.resume()
            with blocking.Sandbox.connect(sandbox.sandbox_id, client=client) as again:
                assert again.get_info().status == "running"
            sandbox.set_timeout(60)
            assert sandbox.get_preview_url(80) == "http://127.0.0.1:80/"
            assert client.get_template("base").name == "base"
            other = blocking.Sandbox.create("base", detached=True)
            other.close()
            client.kill_sandbox(other.sandbox_id)
            assert [one.name for one in client.list_templates()][:1] == ["base"]
        with blocking.Client() as client:
            assert list(client.list_sandboxes()) == []
