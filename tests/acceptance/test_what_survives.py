"""The page of what survives what: each row is made to happen, and read back in its own words."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import hopx_async as hopx
from tests.support.agents import RunningAgent, running_agent
from tests.support.deaths import marked, processes
from tests.support.proxy import CuttingProxy
from tests.test_docs import tables

#: What each row of the page is called: what dies, then commands, output, streams.
ROWS = {row[0]: row[1:] for row in tables("explanation/what-survives.md")[0]}
#: Rows that tests elsewhere make happen, for what dies there is the test's own program.
ELSEWHERE = {
    "your program, undetached `local()`": "tests/acceptance/test_ends.py",
    "your program, `detached=True` or `remote()`": "tests/acceptance/test_worker.py",
    "the whole machine": "tests/acceptance/test_deaths.py",
}
LINES = 300
# Prints half, waits for a line of input, prints the rest.
COMMAND = f"seq {LINES}; read line; seq {LINES}"
OUTPUT = "".join(f"{number}\n" for number in range(1, LINES + 1)).encode()


def _kill(agent: RunningAgent, module: str) -> None:
    for pid in processes(agent, module):
        os.kill(pid, signal.SIGKILL)


class Watched:
    """One command on an agent behind a proxy, and what its stream has told so far."""

    def __init__(self, agent: RunningAgent, proxy: CuttingProxy, handle: hopx.CommandHandle):
        self.agent = agent
        self.proxy = proxy
        self.handle = handle
        self.printed = b""
        self.end: hopx.Exit | None = None

    async def follow(self, enough: int) -> None:
        """Read until so many bytes, or the end."""
        async for event in self.handle.events():
            if isinstance(event, hopx.Stdout):
                self.printed += event.data
            elif isinstance(event, hopx.Exited | hopx.Lost):
                self.end = event.exit
            if len(self.printed) == enough:
                return

    def die(self, what: str) -> None:
        """Let that die."""
        if what == "a connection":
            self.proxy.cut()
        elif what == "the agent":
            _kill(self.agent, "agent.server")
        elif what == "a keeper":
            _kill(self.agent, "keeper.keeper")
        else:
            os.kill(self.agent.pid, signal.SIGKILL)


@asynccontextmanager
async def watched(tmp_path: Path) -> AsyncGenerator[Watched]:
    """Start the command, and read its first half."""
    async with (
        CuttingProxy() as proxy,
        running_agent(tmp_path / "state", allow_hosts=[f"127.0.0.1:{proxy.port}"]) as agent,
    ):
        proxy.target = ("127.0.0.1", urlsplit(agent.url).port or 0)
        url = f"http://127.0.0.1:{proxy.port}"
        async with hopx.remote(url, token=agent.token, give_up_after=2.0) as sandbox:
            handle = await sandbox.commands.start(COMMAND, stdin=True)
            one = Watched(agent, proxy, handle)
            await one.follow(len(OUTPUT))
            yield one


def test_every_row_is_made_to_happen() -> None:
    """The page has no row that no test makes true."""
    assert set(ROWS) == {"a connection", "the agent", "a keeper", "the root", *ELSEWHERE}
    for path in ELSEWHERE.values():
        assert (Path(__file__).parents[2] / path).exists()


@pytest.mark.parametrize("what", ["a connection", "the agent"])
async def test_commands_and_streams_go_on(tmp_path: Path, what: str) -> None:
    """The same command goes on, with its stdin; its stream is whole and has its true end."""
    commands, output, streams = ROWS[what]
    assert commands.startswith("go on")
    assert output == "whole"
    assert streams.startswith("go on by themselves")
    async with watched(tmp_path) as one:
        following = asyncio.create_task(one.follow(-1))
        one.printed = b""
        one.die(what)
        await one.handle.send_stdin("go\n")
        await following
        assert one.printed == OUTPUT * 2
        assert one.end is not None
        assert one.end.ok


async def test_a_keeper_takes_its_own_commands_along(tmp_path: Path) -> None:
    """They are ended and lost at once; what they printed is whole."""
    commands, output, streams = ROWS["a keeper"]
    assert commands.startswith("its own are ended by the root")
    assert output == "whole up to then, the end is `lost`"
    assert streams == "end with `Lost`, at once"
    async with watched(tmp_path) as one:
        one.printed = b""
        one.die("a keeper")
        await one.follow(-1)
        assert one.printed == OUTPUT
        assert one.end is not None
        assert (one.end.reason, one.end.exit_code) == ("lost", None)
        assert marked(one.handle.ref.sandbox, [one.handle.process_id]) == []


@pytest.mark.leaves_orphans
async def test_the_root_takes_everything_along(tmp_path: Path) -> None:
    """Commands end in order, nobody answers; the next root knows the whole output and the end."""
    commands, output, streams = ROWS["the root"]
    assert commands.startswith("end")
    assert output == "whole"
    assert streams.startswith("raise `AgentUnreachable`")
    async with watched(tmp_path) as one:
        following = asyncio.create_task(one.follow(-1))
        one.printed = b""
        one.die("the root")
        with pytest.raises(hopx.AgentUnreachable):
            await following
    async with (
        running_agent(tmp_path / "state") as agent,
        hopx.remote(agent.url, token=agent.token) as sandbox,
    ):
        handle = await sandbox.commands.get(one.handle.process_id)
        result = await handle.result()
        assert result.stdout == OUTPUT.decode()
        assert result.exit.reason == "sandbox_stopped"
