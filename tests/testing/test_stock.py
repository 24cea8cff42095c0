"""An emulated stock sandbox as a process: it ends with everything that runs in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from hopx_async.control.records import Sandbox as Record
from hopx_async.control.tokens import issue
from hopx_async.protocol.markers import marker_root
from hopx_async.providers.machines import AgentMachine, AgentMachines
from hopx_async.providers.stock import open_stock
from hopx_async.sandbox import Sandbox
from tests.support.shells import quick
from tests.support.stock import Nothing, StockAccess, living

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation needs Linux")
# Nobody else sleeps so long, in whatever runs beside this test.
NAP = f"4013.{os.getpid()}"
PROGRAM = ("hopx_async.testing.stock", "--requests-per-minute", "100000")


def record() -> Record:
    """Return a sandbox as a control plane writes it down."""
    return Record(
        id=f"1{os.urandom(6).hex()}",
        template="base",
        token_secret="7a" * 64,
        created_at=1.5,
        env_vars={"CREATED": "with"},
    )


@asynccontextmanager
async def opened(machine: AgentMachine, known: Record) -> AsyncGenerator[Sandbox]:
    """Open the sandbox of a machine, with a token of the control plane."""
    access = StockAccess(machine.url, quick(), token=issue(known)[0])
    try:
        async with await open_stock(access, known.id, Nothing(), {}, give_up_after=30) as sandbox:
            yield sandbox
    finally:
        await access.http.close()


async def test_a_sandbox_from_its_start_to_its_end(tmp_path: Path) -> None:
    """Commands run, a pause holds them, and what is left at the end is ended, markers too."""
    known = record()
    machine = await AgentMachines(program=PROGRAM).start(known, tmp_path)
    try:
        async with opened(machine, known) as sandbox:
            ran = await sandbox.commands.run("pwd; echo ${CREATED-unset}")
            # Variables of the creation do not get there, as with the real one.
            assert ran.stdout == f"{tmp_path}/workspace\nunset\n"
            await machine.pause()
            async with aiohttp.ClientSession() as http, http.get(f"{machine.url}/health") as told:
                assert told.status == 503
            await machine.resume()
            handle = await sandbox.commands.start(
                f"trap '' TERM; (setsid sleep {NAP} &); echo up; sleep {NAP}"
            )
            await anext(handle.lines())
            assert Path(marker_root(known.id)).is_dir()
    finally:
        await machine.stop(0.2)
    assert not Path(marker_root(known.id)).exists()
    assert living(NAP) == []


async def test_the_token_of_another_sandbox_opens_nothing(tmp_path: Path) -> None:
    """It is checked as our own agent does it."""
    known = record()
    machine = await AgentMachines(program=PROGRAM).start(known, tmp_path)
    try:
        headers = {"Authorization": f"Bearer {issue(record())[0]}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.post(f"{machine.url}/commands/run", json={"command": "true"}) as told,
        ):
            assert told.status == 401
            assert (await told.json())["message"] == "Invalid or expired token"
    finally:
        await machine.stop(0.0)


@pytest.mark.leaves_orphans
async def test_a_detached_one_is_found_again(tmp_path: Path) -> None:
    """It outlives whoever started it, with its commands, and is ended by another."""
    known = record()
    machine = await AgentMachines(detached=True, program=PROGRAM).start(known, tmp_path)
    async with opened(machine, known) as sandbox:
        await sandbox.commands.start("sleep 4015", process_id="one")
    found = await AgentMachines(detached=True, program=PROGRAM).find(known, tmp_path)
    assert found is not None
    async with opened(found, known) as sandbox:
        assert (await (await sandbox.commands.get("one")).info()).status == "running"
    await found.stop(0.5)
    assert await AgentMachines(program=PROGRAM).find(known, tmp_path) is None


@pytest.mark.leaves_orphans
async def test_an_agent_that_dies_takes_everything_along(tmp_path: Path) -> None:
    """Its holder notices, ends the commands, and goes."""
    command = [sys.executable, "-m", "hopx_async.testing.stock", "--announce", "--state-dir"]
    process = await asyncio.to_thread(
        subprocess.Popen, [*command, str(tmp_path / "state")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    facts = json.loads(await asyncio.to_thread(process.stdout.readline))
    headers = {"Authorization": f"Bearer {facts['token']}"}
    async with aiohttp.ClientSession(facts["url"], headers=headers) as http:
        body = {"command": "sleep", "args": ["4016"]}
        async with http.post("/commands/background", json=body) as told:
            assert told.status == 200
        os.kill(facts["agent_pid"], signal.SIGKILL)
    assert await asyncio.to_thread(process.wait, 30) == 1
    process.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-such"], "no-such"),
        (["--announce", "--state-dir", "s", "--port", "70000"], "65535"),
        ([], "state_dir"),
    ],
)
def test_bad_arguments_are_told(arguments: list[str], said: str, tmp_path: Path) -> None:
    """Before anything is made, by the same words as our agent's."""
    command = [sys.executable, "-m", "hopx_async.testing.stock", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
