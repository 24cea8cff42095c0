"""The agent as a user's client meets it: root, keeper and agent are real."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed

from hopx_async.errors import (
    BadCursor,
    CommandNotFound,
    ConflictError,
    InvalidArgument,
    SpawnError,
)
from hopx_async.protocol import wire
from hopx_async.protocol.cursor import Position, parse_cursor
from hopx_async.protocol.events import Exited, Started, Stderr, Stdout, Truncated
from tests.agent.harness import LinkClient, link_socket
from tests.agent.keeper_double import PATIENCE, full_spec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


class Running:
    """A whole far side: `python -m hopx_async.agent`.

    Attributes:
        url: As announced.
        token: As announced.
        agent_pid: Of the first agent.
    """

    def __init__(self, process: asyncio.subprocess.Process, announced: dict[str, Any]) -> None:
        self.process = process
        self.url: str = announced["url"]
        self.token: str = announced["token"]
        self.agent_pid: int = announced["agent_pid"]

    @asynccontextmanager
    async def link(self) -> AsyncGenerator[LinkClient]:
        async with link_socket(self.url, self.token) as socket:
            client = LinkClient(socket)
            try:
                yield client
            finally:
                await client.aclose()

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        async with (
            aiohttp.ClientSession(self.url) as http,
            http.request(method, path, headers=headers, **options) as response,
        ):
            return response.status, await response.json()

    async def healthy(self) -> None:
        """Wait until an agent answers again."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if (await self.ask("GET", "/health"))[0] == 200:
                        return
                except aiohttp.ClientConnectionError:
                    pass  # accepted by the one that was killed

    async def stop(self) -> int:
        self.process.terminate()
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def running(tmp_path: Path, *options: str) -> AsyncGenerator[Running]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hopx_async.agent", "--host", "127.0.0.1", "--port", "0"),
        *("--state-dir", str(tmp_path / "state"), "--announce", *options),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            announced = json.loads(await process.stdout.readline())
        yield Running(process, announced)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def told(events: list[Any], kind: type[Stdout | Stderr] = Stdout) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, kind))


async def test_a_command_is_started_and_followed(tmp_path: Path) -> None:
    """Events tell start, both streams and the code; a wait tells the same end."""
    async with running(tmp_path) as far, far.link() as client:
        command = 'echo "$A in $PWD"; echo err >&2; exit 3'
        spec = full_spec("one", command=command, env={"A": "value"}, name="n", tags={"k": "v"})
        answer = await client.call("start", **spec)
        events = await client.events("one")
        end = await client.exit("one")

        assert answer["created"]
        assert isinstance(events[0], Started)
        assert events[0].pid == answer["info"]["pid"]
        workspace = tmp_path / "state" / "workspace"
        assert told(events) == f"value in {workspace}\n".encode()
        assert told(events, Stderr) == b"err\n"
        assert isinstance(end, Exited)
        assert isinstance(events[-1], Exited)
        assert end.exit == events[-1].exit
        assert (end.exit.exit_code, end.exit.reason) == (3, "exited")
        assert (await client.call("list", tags={"k": "v"}))["infos"][0]["exit"]["exit_code"] == 3


async def test_starts_are_idempotent(tmp_path: Path) -> None:
    """The same start is one command, another spec a conflict, a failed spawn fails alike."""
    async with running(tmp_path) as far, far.link() as client:
        spec = full_spec("one", command="echo x >> count", env={"A": "b"})
        first = await client.call("start", **spec)
        again = await client.call("start", **spec)
        await client.exit("one")
        with pytest.raises(ConflictError):
            await client.call("start", **{**spec, "env": {"A": "c"}})
        assert (again["created"], again["info"]["pid"]) == (False, first["info"]["pid"])
        assert (tmp_path / "state" / "workspace" / "count").read_text() == "x\n"

        failures = []
        for _ in range(2):
            with pytest.raises(SpawnError) as caught:
                await client.call("start", **full_spec("two", command=["/not/there"]))
            failures.append(str(caught.value))
        assert failures[0] == failures[1]
        with pytest.raises(ConflictError):
            await client.call("start", **full_spec("two", command=["true"]))


async def test_an_agents_death_disturbs_nothing(tmp_path: Path) -> None:
    """After kill -9 an agent serves on the same port, commands go on and no byte is lost."""
    async with running(tmp_path) as far:
        go = tmp_path / "go"
        os.mkfifo(go)
        async with far.link() as client:
            spec = full_spec("one", command=f"echo before; cat {go}; echo after; exit 4")
            first = await client.call("start", **spec)
            await client.call("start", **full_spec("ended", command="echo done; exit 5"))
            await client.exit("ended")
            reading = client.subscribe("one")
            seen = [await client.next(reading), await client.next(reading)]
            assert told(seen) == b"before\n"
            assert seen[1] is not None
            cursor = seen[1].cursor
            os.kill(far.agent_pid, signal.SIGKILL)
            await asyncio.wait([client._reader])
        await far.healthy()
        async with far.link() as client:
            again = await client.call("start", **spec)
            assert (again["created"], again["info"]["pid"]) == (False, first["info"]["pid"])
            with pytest.raises(ConflictError):
                await client.call("start", **{**spec, "name": "other"})
            with go.open("w") as fifo:  # its reader is there
                fifo.write("middle\n")
            events = await client.events("one", parse_cursor("one", cursor))
            assert told(events) == b"middle\nafter\n"
            assert told(await client.events("one")) == b"before\nmiddle\nafter\n"
            assert told(await client.events("ended")) == b"done\n"
            end = await client.exit("ended")
            assert isinstance(end, Exited)
            assert end.exit.exit_code == 5
            infos = (await client.call("list"))["infos"]
            assert [info["spec"]["process_id"] for info in infos] == ["ended", "one"]


async def test_a_stop_tells_everybody(tmp_path: Path) -> None:
    """SIGTERM to the root ends commands first, then sockets with 1001, and exits with 0."""
    async with running(tmp_path) as far:
        async with link_socket(far.url, far.token) as socket:
            client = LinkClient(socket)
            await client.call("start", **full_spec("one", command="exec sleep 1000"))
            waiting = client.subscribe("one", output=False)
            await client.flush()
            stopping = asyncio.create_task(far.stop())
            end = await client.next(waiting)
            assert isinstance(end, Exited)
            assert end.exit.reason == "sandbox_stopped"
            await client._reader
            assert socket.close_code == 1001
            assert await stopping == 0


async def test_strangers_are_refused(tmp_path: Path) -> None:
    """No token, another's token, an unknown Host, a browser's page and large bodies are refused."""
    async with running(tmp_path) as far:
        listed = "/v1/commands"
        large = io.BytesIO(bytes(wire.MAX_CALL_BYTES + 1))
        asked = [
            await far.ask("GET", listed, headers={"Authorization": ""}),
            await far.ask("GET", listed, headers={"Authorization": f"Bearer {far.token[::-1]}"}),
            await far.ask("GET", listed, headers={"Host": "evil.example"}),
            await far.ask("GET", listed, headers={"Origin": "https://evil.example"}),
            await far.ask("PUT", f"{listed}/x", data=large),
        ]

        assert [status for status, _ in asked] == [401, 401, 403, 403, 413]
        assert all(answer["error"]["message"] for _, answer in asked)
        assert (await far.ask("GET", listed))[1]["infos"] == []


async def test_what_breaks_the_rules_starts_nothing(tmp_path: Path) -> None:
    """Bad specs, unknown ids, foreign positions and oversized frames are typed errors."""
    async with running(tmp_path) as far, far.link() as client:
        refused: list[dict[str, Any]] = [
            {"command": ""},
            {"timeout": -1},
            {"env": {"A=": "b"}},
        ]
        for bad in refused:
            with pytest.raises(InvalidArgument):
                await client.call("start", **full_spec(**bad))
        with pytest.raises(SpawnError):
            await client.call("start", **full_spec("dir", working_dir="not/there"))
        with pytest.raises(CommandNotFound):
            await client.call("kill", process_id="nobody")
        await client.call("start", **full_spec("one", command="true"))
        with pytest.raises(BadCursor):
            await client.events("one", Position(1 << 40, 0, 0))
        async with link_socket(far.url, far.token) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.send("x" * (wire.MAX_CONTROL_BYTES + 1))
                while True:
                    await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_much_output_arrives_intact(tmp_path: Path) -> None:
    """Ten megabytes of random bytes have the same hash here and there."""
    async with running(tmp_path) as far, far.link() as client:
        command = "head -c 10000000 /dev/urandom | tee copy"
        await client.call("start", **full_spec("one", command=command))
        data = told(await client.events("one"))
        copy = (tmp_path / "state" / "workspace" / "copy").read_bytes()

        assert len(data) == 10_000_000
        assert hashlib.sha256(data).digest() == hashlib.sha256(copy).digest()


async def test_a_gap_is_exact(tmp_path: Path) -> None:
    """With little retention the beginning is missing, and its size is told exactly."""
    options = ("--retention-bytes", "1000000", "--segment-bytes", "262144")
    async with running(tmp_path, *options) as far, far.link() as client:
        command = "seq 1 500000; echo err >&2"
        await client.call("start", **full_spec("one", command=command))
        await client.exit("one")
        events = await client.events("one")
        whole = b"".join(b"%d\n" % n for n in range(1, 500_001))
        place, lost = 0, 0
        for event in events:
            if isinstance(event, Truncated):
                place += event.stdout_bytes
                lost += event.stdout_bytes
            elif isinstance(event, Stdout):
                assert whole[place : place + len(event.data)] == event.data
                place += len(event.data)

        assert place == len(whole)
        assert lost > 1_000_000
        assert told(events, Stderr) == b"err\n"


async def test_a_kill_is_proven_and_reaches_descendants(tmp_path: Path) -> None:
    """A kill answers with the true end when nothing of the command is left."""
    async with running(tmp_path) as far, far.link() as client:
        command = "trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000"
        await client.call("start", **full_spec("one", command=command))
        reading = client.subscribe("one")
        await client.next(reading)
        said = await client.next(reading)
        assert isinstance(said, Stdout)
        answer = await client.call("kill", process_id="one", grace=0.05)

        assert answer["exit"]["reason"] == "killed"
        assert (answer["survivors"], answer["means"]) == ([], "ancestry")
        with pytest.raises(ProcessLookupError):
            os.kill(int(said.data), 0)
        delivered = await client.call(
            "signal", process_id="one", signal_id="s1", name="SIGTERM", cause=None
        )
        assert delivered == {"delivered": False}
