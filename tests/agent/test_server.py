"""Tests of hopx_async.agent.server: the process, with the test as its root and keeper."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed

from hopx_async.protocol import records
from hopx_async.protocol.events import Lost
from tests.agent.harness import TOKEN, LinkClient, config_for, link_socket, listening
from tests.agent.keeper_double import PATIENCE, FakeKeeper, full_spec, make_state

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


class Root:
    """An agent's process, played to by hand.

    Attributes:
        said: What the agent has told its root, until read by `hears`.
    """

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.listen = listening()
        self.port = self.listen.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._ours, self._its = socket.socketpair()
        mine, self._keepers = socket.socketpair()
        self.keeper = FakeKeeper(state_dir, mine)

    async def spawn(self) -> None:
        fds = (self.listen.fileno(), self._its.fileno())
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hopx_async.agent.server"),
            *("--listen-fd", str(fds[0]), "--root-fd", str(fds[1])),
            pass_fds=fds,
            stderr=asyncio.subprocess.PIPE,
        )
        self._its.close()
        self.reader, self.writer = await asyncio.open_unix_connection(sock=self._ours)

    def say(self, message: dict[str, Any]) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    def configure(self, **changes: Any) -> None:
        config = {"op": "config", **config_for(self.state_dir, self.port, **changes)}
        self.say(config)
        self.give(1, self._keepers)

    def give(self, number: int, keeper: socket.socket) -> None:
        """Give the agent the socket of a keeper."""
        line = json.dumps({"op": "keeper", "number": number}).encode() + b"\n"
        # Nothing waits in the writer: what was said before is small.
        with self.writer.get_extra_info("socket").dup() as raw:
            socket.send_fds(raw, [line], [keeper.fileno()])
        keeper.close()

    async def replace_keeper(self) -> None:
        """Put another keeper in the place of the one that has gone."""
        ours, its = socket.socketpair()
        self.keeper = FakeKeeper(self.state_dir, ours)
        self.give(1, its)
        await self.keeper.introduce()

    async def hears(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return json.loads(await self.reader.readline())

    async def ended(self) -> tuple[int, str]:
        """Wait for the end of the process; return its status and stderr."""
        async with asyncio.timeout(PATIENCE):
            _, stderr = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, stderr.decode()

    async def aclose(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
        self.writer.close()
        self.listen.close()
        self._keepers.close()
        await self.keeper.aclose()


@asynccontextmanager
async def rooted(tmp_path: Path) -> AsyncGenerator[Root]:
    root = Root(make_state(tmp_path / "state"))
    await root.spawn()
    try:
        yield root
    finally:
        await root.aclose()


@asynccontextmanager
async def ready(tmp_path: Path) -> AsyncGenerator[Root]:
    async with rooted(tmp_path) as root:
        root.configure()
        await root.keeper.introduce()
        assert await root.hears() == {"op": "ready"}
        yield root


async def get(url: str, path: str, **options: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(url) as http:
        async with http.get(path, headers=headers, **options) as response:
            return response.status, await response.json()


async def test_requests_wait_for_the_snapshot(tmp_path: Path) -> None:
    """Until the keeper's snapshot is in, requests are answered with 503, pings at once."""
    async with rooted(tmp_path) as root:
        root.say({"op": "ping", "n": 1})
        assert await root.hears() == {"op": "pong", "n": 1}
        root.configure()
        assert await get(root.url, "/health") == (503, {"status": "starting"})
        assert (await get(root.url, "/v1/commands"))[0] == 503
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            async with aiohttp.ClientSession(root.url) as http:
                await http.ws_connect("/v1/link", headers={"Authorization": f"Bearer {TOKEN}"})
        assert (await get(root.url, "/info"))[0] == 200
        await root.keeper.introduce()

        assert await root.hears() == {"op": "ready"}
        status, told = await get(root.url, "/health")
        assert (status, told["status"]) == (200, "healthy")


@pytest.mark.parametrize("way", ["stop", "eof", "SIGTERM"])
async def test_a_stop_is_prompt_and_clean(tmp_path: Path, way: str) -> None:
    """Told to stop, the agent closes sockets with 1001 and ends with status 0, saying nothing."""
    async with ready(tmp_path) as root, link_socket(root.url, TOKEN) as ws:
        await ws.recv()
        if way == "stop":
            root.say({"op": "stop"})
        elif way == "eof":
            root.writer.close()
        else:
            root.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert await root.ended() == (0, "")


@pytest.mark.parametrize("configured", [False, True])
async def test_a_stop_before_it_is_ready_is_prompt(tmp_path: Path, *, configured: bool) -> None:
    """A root that goes before config or snapshot have come takes the agent with it."""
    async with rooted(tmp_path) as root:
        if configured:
            root.configure()
            assert (await get(root.url, "/health"))[0] == 503
        root.writer.close()

        assert await root.ended() == (0, "")


async def test_the_terminals_interrupt_is_for_the_root(tmp_path: Path) -> None:
    """SIGINT does nothing to the agent."""
    async with ready(tmp_path) as root:
        root.process.send_signal(signal.SIGINT)
        root.say({"op": "ping", "n": 2})

        assert await root.hears() == {"op": "pong", "n": 2}
        root.say({"op": "stop"})
        assert await root.ended() == (0, "")


async def test_a_keeper_that_has_gone_is_told_and_replaced(tmp_path: Path) -> None:
    """Without its keeper the agent tells the root, goes on, and takes another in its place."""
    async with ready(tmp_path) as root:
        async with link_socket(root.url, TOKEN) as ws:
            client = LinkClient(ws)
            await client.call("start", **full_spec("one"))
            await root.keeper.aclose()
            assert await root.hears() == {"op": "gone", "number": 1}
            await client.call("info", process_id="one")
            signal = {"process_id": "one", "signal_id": "s", "name": "SIGHUP", "cause": None}
            asked = asyncio.create_task(client.call("signal", **signal))
            lost = root.keeper.logs.pop("one")
            lost.finish(records.LOST, exit_code=None, reason="lost")
            await root.replace_keeper()

            exit_ = await client.exit("one")
            assert isinstance(exit_, Lost)
            assert await asked == {"delivered": True}
            assert (await root.keeper.asked(1))["id"] == "one"
            await client.aclose()


@pytest.mark.parametrize("line", ["nonsense", '{"op":"config"}', "[]"])
async def test_a_root_that_talks_nonsense_is_left(tmp_path: Path, line: str) -> None:
    """A line that is none of the agreement ends the agent."""
    async with rooted(tmp_path) as root:
        root.writer.write(line.encode() + b"\n")

        assert (await root.ended())[0] == 0


async def test_a_killed_agent_is_replaced_on_the_same_port(tmp_path: Path) -> None:
    """A second agent on the same socket and keeper knows the commands of the first."""
    async with ready(tmp_path) as first:
        async with link_socket(first.url, TOKEN) as ws:
            client = LinkClient(ws)
            await client.call("start", **full_spec("one"))
            await client.aclose()
        first.process.kill()
        await first.ended()
        second = Root(first.state_dir)
        second.listen.close()
        second.listen, second.port, second.url = first.listen.dup(), first.port, first.url
        second.keeper.logs = first.keeper.logs
        await second.spawn()
        try:
            second.configure()
            asking = asyncio.create_task(get(first.url, "/health"))
            await second.keeper.introduce()
            await second.hears()
            await asking
            status, answer = await get(first.url, "/v1/commands/one")

            assert (status, answer["info"]["spec"]["process_id"]) == (200, "one")
        finally:
            await second.aclose()


async def test_what_is_no_request_stays_out_of_the_log(tmp_path: Path) -> None:
    """Neither requests nor bytes that are none are written to stderr: they may hold secrets."""
    async with ready(tmp_path) as root:
        await get(root.url, "/v1/commands")
        for data in (b"\x16\x03\x01 nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"x" * 9000):
            reader, writer = await asyncio.open_connection("127.0.0.1", root.port)
            writer.write(data)
            await reader.read()
            writer.close()
            await writer.wait_closed()
        root.say({"op": "stop"})

        assert await root.ended() == (0, "")
