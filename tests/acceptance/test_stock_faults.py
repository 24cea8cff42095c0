"""Stock sandboxes whose answers get lost, whose supervisors die, whose markers are removed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from hopx_async.protocol import rate, records
from hopx_async.protocol.marker_logs import ROOM
from hopx_async.protocol.rate import RateBudget
from hopx_async.testing.stock_agent import StockSettings
from tests.support.shells import supervisors_of
from tests.support.stock import FAULTS, alive, living, stock_sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation needs Linux")
soak = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Poll often, but in the full size: there the pace is tested as well."""
    if request.node.get_closest_marker("soak") is None:
        monkeypatch.setattr(rate, "FIRST_TICK", 0.02)
        monkeypatch.setattr(rate, "LAST_TICK", 0.05)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_start_whose_answer_is_lost_runs_once(fault: str, tmp_path: Path) -> None:
    """Whatever happens to its request, it is started, once, and answered for."""
    async with stock_sandbox(tmp_path, faults=0) as place:
        place.proxy.once[b'"start"'] = fault
        handle = await place.sandbox.commands.start("echo x >> ran; exit 3")
        assert (await handle.wait()).exit_code == 3
        assert place.proxy.made[fault] == 1
        assert (place.workspace / "ran").read_text() == "x\n"


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_kill_whose_answer_is_lost_is_proven(fault: str, tmp_path: Path) -> None:
    """It is asked for again, and TERM is sent once."""
    script = (
        "trap 'echo term' TERM; mkfifo gate; exec 9<> gate; echo up;"
        " while :; do read -t 1 -u 9; done"
    )
    async with stock_sandbox(tmp_path, faults=0) as place:
        handle = await place.sandbox.commands.start(script)
        lines = handle.lines(stream="stdout")
        await anext(lines)
        place.proxy.once[b'"kill"'] = fault
        exit_ = await handle.kill(grace=0.4)
        assert (exit_.reason, exit_.signal) == ("killed", "SIGKILL")
        assert [line.text async for line in lines] == ["term"]


async def test_a_kill_does_not_overtake_its_start(tmp_path: Path) -> None:
    """A kill that comes while the start's request is slow finds the command, and ends it."""
    async with stock_sandbox(tmp_path, faults=0) as place:
        commands = place.sandbox.commands
        place.proxy.once[b'"start"'] = "delayed"
        starting = asyncio.create_task(commands.start(f"exec sleep {place.nap}", process_id="one"))
        while not place.proxy.made["delayed"]:
            await asyncio.sleep(0.01)
        assert (await commands.kill("one", 0.0)).reason == "killed"
        await starting
        assert living(place.nap) == []


async def test_a_start_that_is_left_leaves_nothing(tmp_path: Path) -> None:
    """A start that is cancelled while its request is slow ends what it has started."""
    async with stock_sandbox(tmp_path, faults=0) as place:
        place.proxy.once[b'"start"'] = "delayed"
        with anyio.move_on_after(0.1) as scope:
            await place.sandbox.commands.start(f"exec sleep {place.nap}")
        assert scope.cancelled_caught
        assert place.proxy.made["delayed"] == 1
        assert living(place.nap) == []
        assert [info.status for info in await place.sandbox.commands.list()] == ["killed"]


async def test_a_grace_is_waited_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request hangs for long, TERM is sent once, and who ends in time is not killed."""
    monkeypatch.setattr("hopx_async.transport.marker_calls.KILL_SECONDS", 0.1)
    script = "trap 'echo term; sleep 0.5; exit 5' TERM; echo up; while :; do sleep 0.02; done"
    async with stock_sandbox(tmp_path) as place:
        handle = await place.sandbox.commands.start(script)
        lines = handle.lines(stream="stdout")
        await anext(lines)
        before = place.agent.requests["POST /commands/run"]
        exit_ = await handle.kill(grace=60)
        assert (exit_.reason, exit_.exit_code) == ("killed", 5)
        assert [line.text async for line in lines] == ["term"]
        assert place.agent.requests["POST /commands/run"] - before > 2


@pytest.mark.leaves_orphans
async def test_a_supervisor_that_is_killed_is_lost(tmp_path: Path) -> None:
    """No code is invented, what was printed is whole, and nothing runs on unseen."""
    async with stock_sandbox(tmp_path) as place:
        handle = await place.sandbox.commands.start(f"echo out; sleep {place.nap}")
        assert (await anext(handle.lines())).text == "out"
        [supervisor] = supervisors_of(place.root)
        os.kill(supervisor, signal.SIGKILL)
        # Nobody looks into a directory that has changed a moment ago.
        os.utime(place.root / "c" / handle.process_id, (1.0, 1.0))
        exit_ = await handle.wait()
        assert (exit_.reason, exit_.exit_code, exit_.signal) == ("lost", None, None)
        assert (await handle.result()).stdout == "out\n"
        assert living(place.nap) == []


async def test_markers_that_are_removed_are_lost(tmp_path: Path) -> None:
    """Whoever waits hears it; the next command finds everything in place again."""
    async with stock_sandbox(tmp_path) as place:
        handle = await place.sandbox.commands.start(f"echo out; sleep {place.nap}")
        waiting = asyncio.create_task(handle.wait())
        assert (await anext(handle.lines())).text == "out"
        [leader], [supervisor] = living(place.nap), supervisors_of(place.root)
        shutil.rmtree(place.root)
        exit_ = await waiting
        assert (exit_.reason, exit_.exit_code) == ("lost", None)
        assert (await place.sandbox.commands.run("echo again")).stdout == "again\n"
        # Its supervisor looks from time to time, and does not let it go on unseen.
        with anyio.fail_after(60):
            while any(alive(pid) for pid in (leader, supervisor)):
                await asyncio.sleep(0.1)
        for pid in (leader, supervisor):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


async def test_one_that_was_claimed_and_never_started_is_lost(tmp_path: Path) -> None:
    """Its claim stays: it is not run when it is asked for again, and not by who comes late."""
    async with stock_sandbox(tmp_path) as place:
        commands = place.sandbox.commands
        await commands.run("true", process_id="model")
        marker, model = place.root / "c" / "claim", place.root / "c" / "model"
        marker.mkdir(mode=0o700)
        shutil.copy(model / "digest", marker / "digest")
        log = (model / ("0" * 16)).read_bytes()
        spec = records.HEADER.size + 24  # behind the first record, a base
        size = int.from_bytes(log[spec + 4 : spec + 8], "little")
        claimed = log[: spec + size].replace(b"model", b"claim")
        (marker / ("0" * 16)).write_bytes(claimed)
        os.utime(marker, (1.0, 1.0))
        assert (await (await commands.get("claim")).wait()).reason == "lost"
        assert (await (await commands.get("claim")).kill()).reason == "lost"


# Many.


@pytest.mark.parametrize(("commands", "percent"), [(40, 20), pytest.param(300, 10, marks=soak)])
async def test_nothing_runs_twice_and_nothing_is_lost(
    commands: int, percent: int, tmp_path: Path
) -> None:
    """Answers are lost, late, double or 5xx: each command runs once, with its output and code.

    In full with the pace and the limits that are published; all kills are proven.
    """
    true = commands == 300
    settings = StockSettings() if true else StockSettings(requests_per_minute=10**6)
    budget = RateBudget() if true else None
    async with stock_sandbox(tmp_path, settings, faults=percent, budget=budget) as place:
        start = place.sandbox.commands.start

        async def one(number: int) -> None:
            killed = number % 5 == 0
            end = f"exec sleep {place.nap}" if killed else f"exit {number % 200}"
            script = f"echo x >> ran{number}; echo out {number}; echo err {number} >&2; {end}"
            handle = await start(script, process_id=f"c{number}")
            if killed:
                lines = handle.lines()
                seen = {(await anext(lines)).text, (await anext(lines)).text}
                assert seen == {f"out {number}", f"err {number}"}
                exit_ = await handle.kill(grace=0.2)
                assert (exit_.reason, exit_.exit_code, exit_.survivors) == ("killed", None, 0)
            else:
                result = await handle.result()
                assert (result.stdout, result.stderr) == (f"out {number}\n", f"err {number}\n")
                assert (result.exit.reason, result.exit_code) == ("exited", number % 200)

        async def next_ones(numbers: Iterator[int]) -> None:
            for number in numbers:
                await one(number)

        # Few at a time: many that come together would travel in few requests.
        numbers = iter(range(commands))
        await asyncio.gather(*(next_ones(numbers) for _ in range(12)))
        place.proxy.percent = 0
        ran = {path.name: path.read_text() for path in place.workspace.glob("ran*")}
        assert ran == {f"ran{number}": "x\n" for number in range(commands)}
        assert len(await place.sandbox.commands.list()) == commands
        assert living(place.nap) == []
        assert sum(place.proxy.made[fault] for fault in FAULTS) > 0
        if true:
            assert all(place.proxy.made[fault] for fault in FAULTS)
            assert place.proxy.quota.refused == 0, "the client keeps to what is published"
            print(place.proxy.made, place.proxy.quota.highest, place.agent.quota.refused)  # noqa: T201


@pytest.mark.parametrize(("commands", "each"), [(20, 25), pytest.param(500, 1, marks=soak)])
async def test_many_handles_cost_one_request_a_tick(
    commands: int, each: int, tmp_path: Path
) -> None:
    """Five hundred live handles are asked after together, in an answer that stays small."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with stock_sandbox(tmp_path, faults=0) as place:
        there = place.sandbox.commands
        first = await asyncio.gather(*(there.start(f"read x < {gate}") for _ in range(commands)))
        handles = await asyncio.gather(*(there.get(one.ref) for _ in range(each) for one in first))
        waits = [asyncio.create_task(handle.wait()) for handle in handles]
        await asyncio.sleep(0)
        transport = place.sandbox._client._transport
        requests, polls = place.agent.requests["POST /commands/run"], transport.polls_made  # type: ignore[attr-defined]
        place.proxy.largest = 0
        while transport.polls_made < polls + 3:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
        made = place.agent.requests["POST /commands/run"] - requests
        assert made <= transport.polls_made - polls + 1  # type: ignore[attr-defined]
        assert place.proxy.largest < ROOM
        ends = await asyncio.gather(*(there.kill(handle.process_id, 0.0) for handle in first))
        assert {exit_.reason for exit_ in ends} == {"killed"}
        assert {exit_.reason for exit_ in await asyncio.gather(*waits)} == {"killed"}


async def test_a_far_side_that_keeps_little_of_an_answer_is_read_whole(tmp_path: Path) -> None:
    """Nobody knows how much of an answer the service keeps: less is asked for, until it fits."""
    settings = StockSettings(requests_per_minute=10**6, output_limit=50_000)
    async with stock_sandbox(tmp_path, settings) as place:
        commands = place.sandbox.commands
        script = "head -c 300000 /dev/urandom | tee copy$0"
        argvs = [["bash", "-c", script, str(number)] for number in range(8)]
        results = await asyncio.gather(*(commands.run(argv) for argv in argvs))
        for number, result in enumerate(results):
            assert result.stdout_bytes == (place.workspace / f"copy{number}").read_bytes()
