"""Stock sandboxes over HTTP: whatever happens between client, agent and markers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import hopx_async as hopx
from hopx_async.protocol import rate
from hopx_async.protocol.rate import RateBudget
from hopx_async.providers.stock import open_stock, stock_capabilities
from tests.support.shells import quick
from tests.support.stock import Nothing, StockAccess, StockPlace, stock_sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation needs Linux")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll often: what is tested is not how long a poll waits."""
    monkeypatch.setattr(rate, "FIRST_TICK", 0.02)
    monkeypatch.setattr(rate, "LAST_TICK", 0.05)


def client_of(place: StockPlace, *arguments: str) -> subprocess.Popen[str]:
    """Start a client of the sandbox as a process of its own."""
    command = [sys.executable, "-m", "tests.support.stock_client", place.agent.url]
    return subprocess.Popen(
        [*command, place.sandbox_id, *arguments], stdout=subprocess.PIPE, text=True
    )


# What it is.


def test_capabilities_tell_the_truth() -> None:
    """Nothing is claimed but what markers can do; the version is the far side's."""
    can = stock_capabilities({"agent": "HopX VM Agent (Go)", "version": "3.2.8"})
    assert (can.agent, can.version, can.proof) == ("stock", "3.2.8", "ancestry")
    lacking = ("stdin", "pty", "overflow_wait", "limits", "env", "mask_secrets", "usage")
    assert not any(getattr(can, name) for name in (*lacking, "wait_port"))
    assert can.merge_stderr
    assert can.idle_timeout
    assert can.files
    assert can.watch
    assert stock_capabilities({"agent_version": "3.1"}).version == "3.1"
    assert stock_capabilities({}).version == "unknown"


async def test_a_way_without_a_budget_gets_one(tmp_path: Path) -> None:
    """A stock agent is never asked faster than it is published to allow."""
    async with stock_sandbox(tmp_path) as place:
        access = StockAccess(place.agent.url, quick())
        access.budget = None
        sandbox = await open_stock(access, place.sandbox_id, Nothing(), {}, give_up_after=9)
        assert isinstance(access.budget, RateBudget)
        await sandbox.aclose()
        await access.http.close()


async def test_statistics_say_that_news_come_by_markers(tmp_path: Path) -> None:
    """There is no socket, nor the long-poll of an agent of ours."""
    async with stock_sandbox(tmp_path) as place, await place.connect() as sandbox:
        job = await sandbox.commands.start("echo a")
        assert (await job.wait()).ok
        client = (await sandbox.statistics())["client"]
        assert (client["connected"], client["feed"]) == (True, "markers")


async def test_a_far_side_without_perl_is_unsupported(tmp_path: Path) -> None:
    """The door says so, at once, and nothing has run."""
    (tmp_path / "bin").mkdir()
    async with stock_sandbox(tmp_path) as place:
        place.agent.programs._env["PATH"] = str(tmp_path / "bin")
        with pytest.raises(hopx.Unsupported, match="no perl"):
            await place.connect()
        place.agent.programs._env["PATH"] = os.environ["PATH"]


async def test_a_door_that_is_not_answered_leaves_nothing(tmp_path: Path) -> None:
    """A bad token, nobody there, or no patience: the error is true, and no connection is left."""
    async with stock_sandbox(tmp_path) as place:
        access = StockAccess(place.agent.url, quick(), token="eyJ.bad")
        with pytest.raises(hopx.AuthenticationError, match="Invalid or expired"):
            await open_stock(access, place.sandbox_id, Nothing(), {}, give_up_after=9)
        await access.http.close()
        access = StockAccess("http://127.0.0.1:1", quick())
        with pytest.raises(hopx.AgentUnreachable), anyio.fail_after(30):
            await open_stock(access, place.sandbox_id, Nothing(), {}, give_up_after=0.3)
        with anyio.move_on_after(0.05) as scope:
            await open_stock(access, place.sandbox_id, Nothing(), {}, give_up_after=9)
        assert scope.cancelled_caught
        await access.http.close()


# What commands get, and what becomes of them.


async def test_variables_and_directories_arrive(tmp_path: Path) -> None:
    """Values in the request's variables; relative directories begin in the workspace."""
    async with stock_sandbox(tmp_path) as place:
        run = place.sandbox.commands.run
        await place.sandbox.files.mkdir("sub/dir")
        script = 'pwd; echo "$PWD"; printf "%s|%s" "$A" "${HOME-unset}"'
        env = {"A": "ü\n'\"$x", "HOME": None}
        for given, where in ((None, ""), ("sub/dir", "/sub/dir"), ("/workspace/sub", "/sub")):
            result = await run(script, env=env, working_dir=given)
            place_there = f"{place.workspace}{where}"
            assert result.stdout == f"{place_there}\n{place_there}\n{env['A']}|unset"
        assert (await run("pwd", working_dir="/usr")).stdout == "/usr\n"
        with pytest.raises(hopx.SpawnError) as caught:
            await run("pwd", working_dir="gone")
        assert caught.value.filename == f"{place.workspace}/gone"


async def test_time_is_told_apart_from_failure(tmp_path: Path) -> None:
    """A limit, a silence, a signal and a code that looks like one are four things."""
    async with stock_sandbox(tmp_path) as place:
        run = place.sandbox.commands.run
        results = await asyncio.gather(
            run("sleep 4020", timeout=0.3),
            run("echo a; sleep 4021", idle_timeout=0.3),
            run("kill -9 $$"),
            run("exit 124"),
        )
        reasons = [result.exit.reason for result in results]
        assert reasons == ["timed_out", "idle_timed_out", "signaled", "exited"]
        assert [result.exit_code for result in results] == [None, None, None, 124]


async def test_another_process_reads_on_from_a_cursor(tmp_path: Path) -> None:
    """By id alone, to the byte, while the command still runs."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with stock_sandbox(tmp_path) as place:
        handle = await place.sandbox.commands.start(f"seq 3; read x < {gate}; seq 4 6; exit 7")
        first = await anext(handle.lines())
        reader = client_of(place, "read", handle.process_id, first.cursor)
        await asyncio.to_thread(gate.write_text, "on\n")
        said, _ = await asyncio.to_thread(reader.communicate, timeout=60)
        assert said.splitlines()[:-1] == ["2", "3", "4", "5", "6"]
        assert "exited with 7" in said.splitlines()[-1]


async def test_a_client_that_is_killed_takes_nothing_along(tmp_path: Path) -> None:
    """Its command goes on, and another client finds all of it."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with stock_sandbox(tmp_path) as place:
        command = f"echo before; read x < {gate}; echo $x; exit 3"
        client = client_of(place, "start", command, "mine")
        assert client.stdout is not None
        assert await asyncio.to_thread(client.stdout.readline) == "started\n"
        client.kill()
        await asyncio.to_thread(client.communicate)
        handle = await place.sandbox.commands.get("mine")
        assert (await handle.info()).status == "running"
        await asyncio.to_thread(gate.write_text, "after\n")
        result = await handle.result()
        assert (result.stdout, result.exit_code) == ("before\nafter\n", 3)
