"""Tests of hopx_async.agent.usage: who is sampled, when, and what is handed over."""

from __future__ import annotations

import asyncio
import importlib.util
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hopx_async.agent.board import Command
from hopx_async.agent.usage import Sampler
from hopx_async.errors import AgentFault, InvalidArgument, Unsupported
from tests.agent.harness import serving
from tests.agent.keeper_double import PATIENCE, PID, full_spec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXIT = b'{"reason":"exited","exit_code":0}'


def sample(cpu: float, read: int | None = 0) -> dict[str, Any]:
    """Return the figures of one look."""
    return {"cpu_seconds": cpu, "rss_bytes": 1, "read_bytes": read, "write_bytes": 0}


def command_of(process_id: str, interval: float | None = 0.001) -> Command:
    """Return a command that runs."""
    command = Command(process_id, msgspec.json.encode({"usage_interval": interval}))
    command.pid = PID
    return command


class Bench:
    """A sampler with looks as told, and what it has handed over."""

    def __init__(self, *looks: dict[str, dict[str, Any]]) -> None:
        self.looks = deque(looks)
        self.told: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.problem: Exception | None = None
        self.hanging: asyncio.Event | None = None
        self.looked: list[dict[str, int]] = []
        self.sampler = Sampler(self.tell, self.look)

    def look(self, leaders: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        self.looked.append(dict(leaders))
        found = self.looks.popleft() if len(self.looks) > 1 else self.looks[0]
        return {key: dict(figures) for key, figures in found.items()}

    async def tell(self, command: Command, figures: dict[str, Any]) -> None:
        await self.told.put((command.process_id, figures))
        if self.hanging is not None:
            await self.hanging.wait()
        if self.problem is not None:
            raise self.problem

    async def next(self) -> tuple[str, dict[str, Any]]:
        async with asyncio.timeout(PATIENCE):
            return await self.told.get()


async def test_nothing_runs_unless_asked_for() -> None:
    """Commands that did not ask, that have ended or never started make no task."""
    bench = Bench({})
    ended, unstarted = command_of("ended"), command_of("unstarted")
    ended.end_with(EXIT, 10)
    unstarted.pid = None
    for command in (command_of("quiet", None), ended, unstarted):
        bench.sampler.watch(command)

    assert len(bench.sampler) == 0
    assert bench.sampler._task is None
    await bench.sampler.aclose()


async def test_samples_come_until_the_end() -> None:
    """A command is sampled again and again; with its end the task ends, too."""
    bench = Bench({"a": sample(1.0)})
    command = command_of("a")
    bench.sampler.watch(command)
    bench.sampler.watch(command)
    assert [await bench.next() for _ in range(3)] == [("a", sample(1.0))] * 3
    task = bench.sampler._task
    assert task is not None
    command.end_with(EXIT, 10)
    async with asyncio.timeout(PATIENCE):
        await task

    assert len(bench.sampler) == 0
    assert bench.sampler._task is None
    assert bench.looked[0] == {"a": PID}
    bench.sampler.watch(command_of("a"))
    assert (await bench.next())[0] == "a"
    await bench.sampler.aclose()


async def test_what_was_used_stays_used() -> None:
    """Sums never shrink, what may not be known is None, and a gap in looks is no sample."""
    looks: list[dict[str, Any]] = [{"a": sample(2.0, 7)}, {}, {"a": sample(1.0, None)}]
    bench = Bench(*looks, {"a": sample(3.0, 9)})
    bench.sampler.watch(command_of("a"))
    told = [(await bench.next())[1] for _ in range(3)]
    await bench.sampler.aclose()

    assert [figures["cpu_seconds"] for figures in told] == [2.0, 2.0, 3.0]
    assert [figures["read_bytes"] for figures in told] == [7, None, 9]


async def test_one_that_is_not_taken_delays_no_other() -> None:
    """While a sample hangs at its keeper no second one of that command follows; others go on."""
    bench = Bench({"a": sample(1.0), "b": sample(2.0)})
    bench.hanging = asyncio.Event()
    bench.sampler.watch(command_of("a"))
    assert (await bench.next())[0] == "a"
    bench.sampler.watch(command_of("b"))
    assert (await bench.next())[0] == "b"
    bench.hanging.set()
    assert {(await bench.next())[0], (await bench.next())[0]} <= {"a", "b"}
    await bench.sampler.aclose()


async def test_a_keeper_that_says_no_is_no_trouble() -> None:
    """An error of the hand-over is told elsewhere; sampling goes on."""
    bench = Bench({"a": sample(1.0)})
    bench.problem = AgentFault("gone")
    bench.sampler.watch(command_of("a"))
    await bench.next()
    await bench.next()
    await bench.sampler.aclose()


async def test_a_fault_is_printed_and_disturbs_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """A look that fails ends the sampling, says why on stderr, and a later command begins anew."""
    bench = Bench({"a": sample(1.0)})
    bench.looks.appendleft({"a": {}})
    bench.sampler.watch(command_of("a"))
    task = bench.sampler._task
    assert task is not None
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)

    assert "KeyError" in capsys.readouterr().err
    assert len(bench.sampler) == 0
    bench.sampler.watch(command_of("a"))
    await bench.next()
    await bench.sampler.aclose()


async def test_samples_go_through_the_keeper(tmp_path: Path) -> None:
    """The agent samples who asked, hands it to the keeper, and goes on after its own restart."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        await client.call("start", **full_spec("quiet"))
        await client.call("start", **full_spec("sampled", usage_interval=0.1))
        server.agent._sampler._look = lambda leaders: dict.fromkeys(leaders, sample(1.5))
        request = await server.keeper.asked(3)
        first = server.keeper

        assert (request["op"], request["id"]) == ("usage", "sampled")
        assert request["usage"] == sample(1.5)
        assert server.agent._sampler.__len__() == 1
    async with serving(tmp_path / "s", logs=first) as server:
        assert len(server.agent._sampler) == 1


async def test_without_psutil_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where psutil is missing the start is refused before the keeper hears of it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    async with serving(tmp_path / "s") as server, server.link() as client:
        with pytest.raises(Unsupported, match="psutil"):
            await client.call("start", **full_spec(usage_interval=1.0))
        with pytest.raises(InvalidArgument, match="usage_interval"):
            await client.call("start", **full_spec(usage_interval=0.01))

        assert server.keeper.requests == []
        assert not (await client.call("hello"))["capabilities"]["usage"]
