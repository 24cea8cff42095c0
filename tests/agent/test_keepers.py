"""Tests of hopx_async.agent.keepers: an agent around doubles of several keepers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hopx_async.agent import keepers as module
from hopx_async.agent.board import Board, Command
from hopx_async.agent.environment import SandboxEnvironment
from hopx_async.agent.keepers import KeeperFacts, Keepers
from hopx_async.agent.starts import Starts
from hopx_async.agent.usage import Sampler
from hopx_async.protocol import records
from tests.agent.keeper_double import PATIENCE, PID, FakeKeeper, full_spec, make_state

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


async def _no_samples(_command: Command, _figures: dict[str, Any]) -> None:
    raise AssertionError("nobody asked for samples")


class Several:
    """The agent's keepers, doubles at the other ends, and what the root was told."""

    def __init__(self, state: Path, keeper_commands: int) -> None:
        self.state = state
        self.board = Board()
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.news: list[str] = []
        self.doubles: dict[int, FakeKeeper] = {}
        self.facts: dict[int, KeeperFacts] = {}
        self.keepers = Keepers(
            self.board,
            state,
            keeper_commands=keeper_commands,
            on_news=self.news.extend,
            tell_root=self.told.put_nowait,
        )
        self.starts = Starts(
            self.board,
            self.keepers,
            SandboxEnvironment(state),
            Sampler(_no_samples),
            state_dir=state,
            secret=b"s",
            workspace="/w",
            base_env={},
        )

    def know(self, number: int, *, stalled: bool = False) -> None:
        """Let the root tell of a keeper."""
        self.facts[number] = KeeperFacts(number, PID, stalled)
        self.keepers.know(self.facts.values())

    async def add(self, number: int, *, introduce: bool = True) -> FakeKeeper:
        """Bring a keeper, or another in the place of one."""
        ours, its = socket.socketpair()
        logs = self.doubles[number].logs if number in self.doubles else {}
        double = self.doubles[number] = FakeKeeper(self.state, its)
        double.logs = logs
        self.keepers.take(number, ours)
        self.know(number)
        if introduce:
            await double.introduce()
        return double

    async def start(self, process_id: str, **changes: Any) -> int:
        """Start a command and return the number of the keeper that got it."""
        async with asyncio.timeout(PATIENCE):
            command, _ = await self.starts.start(full_spec(process_id, **changes))
        return command.keeper

    async def hears(self) -> dict[str, Any]:
        """Return what the root is told next."""
        async with asyncio.timeout(PATIENCE):
            return await self.told.get()

    async def up(self, number: int) -> None:
        """Wait until a keeper is up."""
        async with asyncio.timeout(PATIENCE):
            await self.keepers.returned(number)

    async def aclose(self) -> None:
        """Close everything."""
        await self.starts.aclose()
        await self.keepers.aclose()
        for double in self.doubles.values():
            await double.aclose()


@asynccontextmanager
async def several(tmp_path: Path, *, keeper_commands: int = 100) -> AsyncGenerator[Several]:
    it = Several(make_state(tmp_path / "state"), keeper_commands)
    try:
        await it.add(1)
        await it.keepers.ready
        yield it
    finally:
        await it.aclose()


async def test_a_start_goes_to_the_emptiest(tmp_path: Path) -> None:
    """Each start goes to the keeper with the fewest live commands; ended ones do not count."""
    async with several(tmp_path) as it:
        assert [await it.start(name) for name in "abc"] == [1, 1, 1]
        await it.add(2)
        await it.up(2)
        assert [await it.start(name) for name in "def"] == [2, 2, 2]
        it.doubles[1].finish("a")
        await it.board.ended(it.board.require("a"))
        assert await it.start("g") == 1

        live = [one["live"] for one in it.keepers.statistics()]
        assert live == [3, 3]


async def test_another_is_asked_for_before_all_are_full(tmp_path: Path) -> None:
    """At four fifths the root is asked for one more keeper, once; a start waits for it if full."""
    async with several(tmp_path, keeper_commands=5) as it:
        for name in "abc":
            await it.start(name)
        assert it.told.empty()
        await it.start("d")
        await it.start("e")
        assert await it.hears() == {"op": "more"}
        assert it.told.empty()
        waiting = asyncio.create_task(it.start("f"))
        cancelled = asyncio.create_task(it.start("g"))
        await asyncio.sleep(0)
        assert not waiting.done()
        cancelled.cancel()
        await asyncio.wait([cancelled])
        await it.add(2)

        assert await waiting == 2


async def test_help_is_asked_for_while_all_are_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many starts under way at each keeper one more is asked for, once, up to a bound."""
    monkeypatch.setattr(module, "AT_ONCE", 2)
    async with several(tmp_path) as it:
        places = [it.keepers.take_place() for _ in range(module.BUSY - 1)]
        assert it.told.empty()
        places += [it.keepers.take_place() for _ in range(3)]
        assert await it.hears() == {"op": "more", "busy": True}
        assert it.told.empty()
        await it.add(2)
        await it.up(2)
        # What is under way counts more than what runs.
        taken = [it.keepers.take_place() for _ in range(2 * module.BUSY)]
        assert [link.number for link in taken if link][: module.BUSY] == [2] * module.BUSY
        assert it.told.empty()
        for link in filter(None, places + taken):
            it.keepers.give_back(link)


async def test_idle_keepers_take_turns(tmp_path: Path) -> None:
    """One after another, commands are shared out: each keeper keeps as much as it may."""
    async with several(tmp_path) as it:
        await it.add(2)
        await it.up(2)
        given = []
        for name in "abcd":
            given.append(await it.start(name))
            it.doubles[given[-1]].finish(name)
            await it.board.ended(it.board.require(name))

        assert sorted(given) == [1, 1, 2, 2]


async def test_an_end_makes_room_for_a_start_that_waits(tmp_path: Path) -> None:
    """A start that waits goes on as soon as a command has ended."""
    async with several(tmp_path, keeper_commands=1) as it:
        await it.start("a")
        waiting = asyncio.create_task(it.start("b"))
        await asyncio.sleep(0)
        assert not waiting.done()
        it.doubles[1].finish("a")

        assert await waiting == 1


async def test_a_stalled_keeper_gets_no_starts(tmp_path: Path) -> None:
    """Starts go elsewhere while a keeper is stalled; if there is no other, one is asked for."""
    async with several(tmp_path) as it:
        it.know(1, stalled=True)
        waiting = asyncio.create_task(it.start("a"))
        assert await it.hears() == {"op": "more"}
        await it.add(2)
        assert await waiting == 2
        assert await it.start("b") == 2
        it.know(1)

        assert await it.start("c") == 1


async def test_a_request_waits_for_a_keeper_that_is_replaced(tmp_path: Path) -> None:
    """What is asked of a live command while its keeper is away is asked of the next one."""
    async with several(tmp_path) as it:
        await it.start("a")
        command = it.board.require("a")
        it.doubles[1].silent = True
        asking = asyncio.create_task(
            it.keepers.ask(command, lambda keeper: keeper.signal("a", "s", "SIGHUP", None))
        )
        await it.doubles[1].asked(2)
        await it.doubles[1].aclose()
        assert await it.hears() == {"op": "gone", "number": 1}
        late = asyncio.create_task(it.keepers.ask(command, lambda keeper: keeper.kill("a", 0.0)))
        gone = asyncio.create_task(it.keepers.ask(command, lambda keeper: keeper.kill("a", 0.0)))
        await asyncio.sleep(0)
        gone.cancel()
        it.doubles[1].logs["a"].finish(records.LOST, exit_code=None, reason="lost")
        await it.add(1)

        assert (await asking).delivered
        assert (await late).survivors == []
        assert command.status == "lost"
        assert "a" in it.news


async def test_an_ended_command_is_anybodys(tmp_path: Path) -> None:
    """A kill of an ended command goes to its keeper, or to another while that is away."""
    async with several(tmp_path) as it:
        await it.start("a")
        await it.add(2)
        await it.up(2)
        it.doubles[1].finish("a")
        command = it.board.require("a")
        await it.board.ended(command)
        await it.keepers.ask(command, lambda keeper: keeper.kill("a", 0.0))
        assert (await it.doubles[1].asked(2))["op"] == "kill"
        await it.doubles[1].aclose()
        await it.hears()
        it.doubles[2].logs = it.doubles[1].logs
        await it.keepers.ask(command, lambda keeper: keeper.kill("a", 0.0))

        assert (await it.doubles[2].asked(1))["op"] == "kill"


async def test_a_start_that_died_unclaimed_goes_to_another(tmp_path: Path) -> None:
    """A start in flight at a death is made again if the dead keeper had not claimed the id."""
    async with several(tmp_path) as it:
        it.doubles[1].silent = True
        starting = asyncio.create_task(it.start("a"))
        await it.doubles[1].asked(1)
        await it.add(2)
        await it.up(2)
        await it.doubles[1].aclose()
        assert await it.hears() == {"op": "gone", "number": 1}
        assert it.doubles[2].requests == []
        await it.add(1)

        assert await starting in {1, 2}
        assert sum(len(double.requests) for double in it.doubles.values()) == 1


async def test_a_start_that_died_claimed_is_not_made_again(tmp_path: Path) -> None:
    """A start in flight at a death, whose log tells its end, is answered from the log."""
    async with several(tmp_path) as it:
        it.doubles[1].silent = True
        starting = asyncio.create_task(it.starts.start(full_spec("a")))
        asked = await it.doubles[1].asked(1)
        log = it.doubles[1].log(**asked["public"], keeper=1)
        await it.doubles[1].aclose()
        await it.hears()
        log.finish(records.LOST, exit_code=None, reason="lost")
        await it.add(1)
        command, created = await starting

        assert (command.status, command.keeper, created) == ("lost", 1, True)
        assert it.doubles[1].requests == []


async def test_a_claim_of_another_keeper_is_waited_for(tmp_path: Path) -> None:
    """An id that another keeper has just claimed is answered when its news come."""
    async with several(tmp_path) as it:
        it.doubles[1].silent = True
        first = asyncio.create_task(it.start("other"))
        await it.doubles[1].asked(1)
        await it.add(2)
        await it.up(2)
        it.doubles[2].refusals.append({"code": "conflict_claimed", "message": "claimed"})
        starting = asyncio.create_task(it.starts.start(full_spec("a")))
        asked = await it.doubles[2].asked(1)
        it.doubles[1].running(**asked["public"])
        command, _ = await starting

        assert (command.keeper, command.status) == (1, "running")
        first.cancel()
        await asyncio.wait([first])


async def test_nothing_is_known_before_all_have_told(tmp_path: Path) -> None:
    """The keepers are ready when the last snapshot is in; commands come from all, and indexes."""
    state = make_state(tmp_path / "state")
    it = Several(state, 100)
    it.facts = {1: KeeperFacts(1), 2: KeeperFacts(2)}
    it.keepers.know(it.facts.values())
    one, two = await it.add(1, introduce=False), await it.add(2, introduce=False)
    try:
        one.log("a")
        ended = two.log("b")
        ended.finish()
        await one.introduce()
        await asyncio.sleep(0)
        assert not it.keepers.ready.done()
        (state / "index.2").write_text(ended.index_lines())
        (state / "index.3").write_text("")
        two.log("c")
        await two.introduce(index=None)
        await it.keepers.ready

        page, _ = it.board.page()
        assert [(one.process_id, one.keeper) for one in page] == [("a", 1), ("b", 0), ("c", 2)]
        assert it.board.live_on == {1: 1, 2: 1}
        assert [one["number"] for one in it.keepers.statistics()] == [1, 2]
        assert msgspec.json.encode(it.keepers.statistics())
    finally:
        await it.aclose()
