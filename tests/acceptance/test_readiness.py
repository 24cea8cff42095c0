"""Readiness of real servers, and of those that die before."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import hopx_async as hopx

SERVER = (
    "import http.server as h; s = h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler)"
)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_a_server_is_waited_for_in_every_way() -> None:
    """What it prints, that it listens and that it answers are told as they come."""
    port = free_port()
    program = f"{SERVER.format(port=port)}; print('up on', {port}, flush=True); s.serve_forever()"
    async with hopx.local() as sandbox:
        assert sandbox.capabilities.wait_port
        async with sandbox.commands.start(["python3", "-c", program]) as server:
            await server.wait_for_port(port)
            match = await server.wait_for_output(r"up on (\d+)")
            assert match.groups == (str(port),)
            await server.wait_for_http("/", port=port)


async def test_a_server_in_the_background_counts() -> None:
    """A server that goes on behind its leader's end is the command's all the same."""
    port = free_port()
    program = f"{SERVER.format(port=port)}; s.serve_forever()"
    async with hopx.local() as sandbox:
        command = 'setsid python3 -c "$0" </dev/null >/dev/null 2>&1 & sleep 0.2; exec sleep 60'
        server = await sandbox.commands.start(["bash", "-c", command, program])
        await server.wait_for_port(port)
        await server.kill()


@pytest.mark.parametrize("way", ["output", "port", "http"])
async def test_a_server_that_dies_before_is_told_at_once(way: str) -> None:
    """The error comes with the end, and has the last lines."""
    async with hopx.local() as sandbox:
        server = await sandbox.commands.start("echo starting; echo 'bad config' >&2; exit 78")
        with pytest.raises(hopx.NotReady) as caught:
            if way == "output":
                await server.wait_for_output("up on")
            elif way == "port":
                await server.wait_for_port(free_port())
            else:
                await server.wait_for_http(port=free_port())
        assert caught.value.exit.exit_code == 78
        assert b"bad config" in caught.value.tail
        assert "bad config" in str(caught.value)


@pytest.mark.parametrize("way", ["output", "port", "http"])
async def test_a_server_that_dies_while_it_is_waited_for_ends_the_wait(way: str) -> None:
    """Whoever waits hears of the end when it comes, with the last lines before it."""
    async with hopx.local() as sandbox:
        program = "for i in $(seq 40); do echo loading $i; done; read line; "
        program += "echo 'out of memory' >&2; exit 9"
        server = await sandbox.commands.start(program, stdin=True)
        waits: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "output": lambda: server.wait_for_output("up on"),
            "port": lambda: server.wait_for_port(free_port()),
            "http": lambda: server.wait_for_http("/health", port=free_port()),
        }
        waiting = asyncio.create_task(waits[way]())
        await server.wait_for_output("loading 40")
        assert not waiting.done()
        await server.send_stdin("\n")
        with pytest.raises(hopx.NotReady) as caught:
            await waiting
        assert caught.value.exit.exit_code == 9
        assert caught.value.tail.splitlines()[-2:] == [b"loading 40", b"out of memory"]


async def test_a_stranger_on_the_port_is_not_the_server() -> None:
    """A port that somebody else has opened is not that of the command."""
    async with hopx.local() as sandbox:
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            server = await sandbox.commands.start("exec sleep 0.5")
            with pytest.raises(hopx.NotReady):
                await server.wait_for_port(stranger.getsockname()[1])
