"""Agent, keepers and root are killed at random moments; what is promised then holds."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import hopx_async as hopx
from hopx_async.keeper import proc
from tests.support.agents import running_agent
from tests.support.deaths import ESCAPED, Writers, kill_now_and_then, marked, processes, until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

SIZES = [
    pytest.param(40, 6, 16, id="few"),
    pytest.param(200, 20, 120, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
]


@pytest.mark.leaves_orphans
@pytest.mark.parametrize(("commands", "kills", "lines"), SIZES)
async def test_nobody_notices_the_death_of_an_agent(
    tmp_path: Path,
    commands: int,
    kills: int,
    lines: int,
    record_property: Callable[[str, object], None],
) -> None:
    """The agent is killed again and again: every stream equals its copy, every code is right."""
    async with running_agent(tmp_path / "state", most_restarts=kills) as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            writers = Writers(sandbox, tmp_path, lines=lines)
            killing = asyncio.create_task(
                kill_now_and_then(agent, "agent.server", kills=kills, pause=1, seed=1)
            )
            for number in range(commands):
                await writers.start(number)
            await killing
            ends = await writers.ends()
            reasons = Counter(end.reason for end in ends.values())
            record_property("ends", dict(reasons))
            assert reasons == {"exited": commands}


@pytest.mark.leaves_orphans
@pytest.mark.parametrize(("commands", "kills", "lines"), SIZES)
async def test_death_of_a_keeper_is_lost_and_nothing_else(
    tmp_path: Path,
    commands: int,
    kills: int,
    lines: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Keepers are killed again and again: outputs are prefixes, ends Lost, nothing is left."""
    config = {"keeper_commands": commands // 4, "most_restarts": kills}
    async with running_agent(tmp_path / "state", **config) as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            writers = Writers(sandbox, tmp_path, lines=lines)
            killing = asyncio.create_task(
                kill_now_and_then(agent, "keeper.keeper", kills=kills, pause=1, seed=2)
            )
            for number in range(commands):
                await writers.start(number)
            await killing
            ends = await writers.ends()
            reasons = Counter(end.reason for end in ends.values())
            record_property("ends", dict(reasons))
            assert reasons.keys() <= {"exited", "lost"}
            assert reasons["lost"] > 0
            # Those in the places of the dead do their work.
            late = Writers(sandbox, tmp_path, lines=4)
            for number in range(commands, commands + 10):
                await late.start(number)
            ends |= await late.ends()
            assert {ends[name].reason for name in late.names} == {"exited"}
            assert marked(sandbox.sandbox_id, list(ends)) == []
            infos = await sandbox.commands.list()
            assert _facts({info.process_id: info.exit for info in infos}) == _facts(ends)


def _facts(exits: Mapping[str, hopx.Exit | None]) -> dict[str, tuple[object, ...]]:
    """Return what is to be equal of exits: listings leave the tail out."""
    return {
        name: (exit_.reason, exit_.exit_code, exit_.ended_at)
        for name, exit_ in exits.items()
        if exit_ is not None
    }


@pytest.mark.leaves_orphans
@pytest.mark.parametrize(
    ("commands", "rounds"),
    [
        pytest.param(20, 1, id="few"),
        pytest.param(200, 4, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
    ],
)
async def test_everything_killed_is_found_again(
    tmp_path: Path, commands: int, rounds: int, record_property: Callable[[str, object], None]
) -> None:
    """Root, keepers and agent killed: the next root lists all, with true ends or Lost."""
    state = tmp_path / "state"
    told: dict[str, hopx.Exit] = {}
    writers: list[Writers] = []
    chance = random.Random(3)  # noqa: S311  # no secret
    for number in range(rounds):
        async with running_agent(state, keeper_commands=max(8, commands // 4)) as agent:
            async with hopx.remote(agent.url, token=agent.token) as sandbox:
                await _check_all(sandbox, told, writers)
                names = range(number * commands, (number + 1) * commands)
                ended = Writers(sandbox, tmp_path, lines=2)
                for name in names[::4]:
                    await ended.start(name)
                told |= await ended.ends()
                # These end sooner or later, and print until they do.
                writers.append(Writers(sandbox, tmp_path, lines=chance.randrange(2, 12)))
                for name in set(names) - set(names[::4]):
                    await writers[-1].start(name)
                survivor = f"survivor{number}"
                handle = await sandbox.commands.start(f"{ESCAPED} exit 7", process_id=survivor)
                told[survivor] = await handle.wait()
                children = [*processes(agent, "keeper.keeper"), *processes(agent, "agent.server")]
                assert len(children) >= 4
                await asyncio.sleep(chance.uniform(0.0, 2.0))
                for pid in [agent.pid, *children]:
                    os.kill(pid, signal.SIGKILL)
                writers[-1].stop()
    async with running_agent(state) as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            await _check_all(sandbox, told, writers)
            infos = await sandbox.commands.list()
            assert len(infos) == rounds * (commands + 1)
            record_property("ends", dict(Counter(info.exit.reason for info in infos if info.exit)))
            while marked(sandbox.sandbox_id, [info.process_id for info in infos]):
                await asyncio.sleep(0.02)


async def _check_all(
    sandbox: hopx.Sandbox, told: Mapping[str, hopx.Exit], writers: Sequence[Writers]
) -> None:
    """Check ends that were told before, and the streams of all others, up to their ends."""
    infos = {info.process_id: info for info in await sandbox.commands.list()}
    assert _facts({name: infos[name].exit for name in told}) == _facts(told)
    for group in writers:
        for name in group.names:
            handle = await sandbox.commands.get(name)
            exit_ = group.check(name, [event async for event in handle.events()])
            assert exit_.reason in {"exited", "lost", "sandbox_stopped"}


@pytest.mark.leaves_orphans
async def test_a_killed_keeper_takes_its_own_commands_alone(tmp_path: Path) -> None:
    """A keeper killed under 50 commands, some escaped: nothing is left, all Lost, others go on."""
    async with running_agent(tmp_path / "state", keeper_commands=60) as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            handles = [await _start_escaping(sandbox, number) for number in range(50)]
            await until(sandbox, 2)
            # The first has fifty, so these go to the second.
            handles += [await _start_escaping(sandbox, number) for number in range(50, 70)]
            keeper = (await until(sandbox, 1))["pid"]
            mine = [handle for handle in handles if _parent(handle) == keeper]
            others = [handle for handle in handles if handle not in mine]
            assert len(mine) >= 50
            assert len(others) >= 10
            waits = [asyncio.create_task(_terminal_events(handle)) for handle in handles]
            there = marked(sandbox.sandbox_id, [handle.process_id for handle in others])
            os.kill(keeper, signal.SIGKILL)
            for wait in waits[:50]:
                [last] = await wait
                assert isinstance(last, hopx.Lost)
            assert marked(sandbox.sandbox_id, [handle.process_id for handle in mine]) == []
            still = marked(sandbox.sandbox_id, [handle.process_id for handle in others])
            assert set(there) <= set(still)
            assert not any(wait.done() for wait in waits[len(mine) :])
            assert {(await handle.info()).status for handle in others} == {"running"}
            for handle in others:
                await handle.kill(grace=0)
            await asyncio.gather(*waits)


async def _start_escaping(sandbox: hopx.Sandbox, number: int) -> hopx.CommandHandle:
    hidden = ESCAPED if number % 3 == 0 else ""
    return await sandbox.commands.start(f"{hidden} echo {number}; exec sleep 300")


async def _terminal_events(handle: hopx.CommandHandle) -> list[hopx.Event]:
    return [one async for one in handle.events() if isinstance(one, hopx.Exited | hopx.Lost)]


def _parent(handle: hopx.CommandHandle) -> int:
    assert handle.pid is not None
    stat = proc.read_stat(handle.pid)
    assert stat is not None
    return stat.ppid


async def test_a_stalled_keeper_holds_up_nobody_else(tmp_path: Path) -> None:
    """While a keeper is stopped, starts go elsewhere and its own requests wait; then it goes on."""
    async with running_agent(tmp_path / "state", stalled_after=0.3) as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            handle = await sandbox.commands.start("exec sleep 300")
            pid = (await until(sandbox, 1))["pid"]
            os.kill(pid, signal.SIGSTOP)
            try:
                await until(sandbox, 1, stalled=True, live=1)
                assert (await sandbox.commands.run("echo hi")).stdout == "hi\n"
                assert (await until(sandbox, 2))["stalled"] is False
                killing = asyncio.create_task(handle.kill(grace=0))
                assert (await sandbox.commands.run("echo ho")).stdout == "ho\n"
                assert not killing.done()
            finally:
                os.kill(pid, signal.SIGCONT)
            assert (await killing).reason == "killed"
            await until(sandbox, 1, stalled=False, live=0)
