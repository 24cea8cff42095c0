"""Groups over several sandboxes: by load, and on a pool as many as they need."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import hopx_async as hopx
from hopx_async.errors import ConnectError, InvalidArgument
from hopx_async.sandbox import Sandbox
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop, memory


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def nap(command: ScriptedCommand) -> int:
    """Sleep for as many seconds as the first argument says."""
    await anyio.sleep(float(command.spec["command"][1]))
    await command.stdout(b"done")
    return 0


class Factory:
    """Opens memory sandboxes in a second each, and knows them all."""

    def __init__(self) -> None:
        self.agents: list[MemoryAgent] = []
        self.opened: list[Sandbox] = []
        self.broken = 0

    async def __call__(self) -> Sandbox:
        await anyio.sleep(1)
        if self.broken:
            self.broken -= 1
            raise ConnectError("no host has room")
        agent = MemoryAgent({"nap": nap}, sandbox_id=f"sbx_{len(self.agents)}")
        self.agents.append(agent)
        self.opened.append(await memory(agent=agent))
        return self.opened[-1]

    @property
    def live(self) -> int:
        return sum(not sandbox._closed for sandbox in self.opened)


async def test_a_group_spreads_by_load() -> None:
    """A command goes where fewest of the group run."""
    factory = Factory()
    sandboxes = [await factory(), await factory()]
    async with hopx.group(sandboxes, limit=4) as group:
        handles = [group.start_soon(["nap", seconds]) for seconds in ("100", "5", "100", "5", "5")]
        await handles[4].info()
    assert [handle.ref.sandbox for handle in handles[:4]] == ["sbx_0", "sbx_1", "sbx_0", "sbx_1"]
    assert handles[4].ref.sandbox == "sbx_1"
    for sandbox in sandboxes:
        await sandbox.aclose()


async def test_a_group_on_a_pool_is_lent_what_it_needs() -> None:
    """A group takes as many sandboxes as it has use for, and gives them back at its end."""
    factory = Factory()
    async with hopx.pool(factory, max_size=3) as pool:
        async with pool.sandbox(), hopx.group(pool, limit=4) as group:
            handles = [group.start_soon(["nap", "10"]) for _ in range(6)]
            results = [await handle.result() for handle in handles]
            assert [result.stdout for result in results] == ["done"] * 6
            assert len({handle.ref.sandbox for handle in handles}) == 2
            assert pool.lendable == 0
        await anyio.sleep(1)
        assert pool.lendable == 3
        with pytest.raises(hopx.SpawnError):
            async with hopx.group(pool, limit=3) as group:
                group.start_soon(["nap", "3600"])
                group.start_soon(["absent"])
                await anyio.sleep(1000)
        await anyio.sleep(1)
        assert pool.lendable == 3
    assert factory.live == 0


async def test_a_group_wants_sandboxes() -> None:
    """A group names what is no sandbox, and wants one at least."""
    wrongs: list[Any] = [[], [1], 1, None]
    for wrong in wrongs:
        with pytest.raises(InvalidArgument, match="sandboxes"):
            hopx.group(wrong)
    async with memory() as sandbox:
        alone: Any = sandbox
        with pytest.raises(InvalidArgument, match="several sandboxes"):
            hopx.group(alone)


async def test_a_sandbox_that_is_named_twice_is_one() -> None:
    """Loads are those of sandboxes, however often each was named."""
    factory = Factory()
    one, other = await factory(), await factory()
    async with hopx.group([one, one, other], limit=4) as group:
        handles = [group.start_soon(["nap", "10"]) for _ in range(4)]
        await asyncio.gather(*(handle.info() for handle in handles))
        counts = Counter(handle.ref.sandbox for handle in handles)
    assert counts == {"sbx_0": 2, "sbx_1": 2}
    await one.aclose()
    await other.aclose()


async def test_a_group_on_a_pool_borrows_at_once_what_it_needs() -> None:
    """Sandboxes that open for a group open side by side, not one behind the other."""
    factory = Factory()
    async with hopx.pool(factory, max_size=8) as pool:
        began = anyio.current_time()
        async with hopx.group(pool, limit=8) as group:
            handles = [group.start_soon(["nap", "10"]) for _ in range(8)]
            await asyncio.gather(*(handle.info() for handle in handles))
            assert anyio.current_time() - began == pytest.approx(1)
            assert len({handle.ref.sandbox for handle in handles}) == 8


async def test_commands_that_wait_for_the_first_sandbox_share_it() -> None:
    """Where a pool has one place, all wait for that, also when a first attempt fails."""
    factory = Factory()
    factory.broken = 1
    async with hopx.pool(factory, max_size=1) as pool:
        with pytest.raises(ConnectError):
            async with hopx.group(pool, limit=3) as group:
                for _ in range(3):
                    group.start_soon(["nap", "1"])
        async with hopx.group(pool, limit=3) as group:
            handles = [group.start_soon(["nap", "1"]) for _ in range(3)]
            await asyncio.gather(*(handle.wait() for handle in handles))
        assert {handle.ref.sandbox for handle in handles} == {"sbx_0"}
        await anyio.sleep(1)
        assert pool.lendable == 1


@pytest.mark.parametrize("moment", range(0, 16, 3))
async def test_a_group_cancelled_while_it_borrows_gives_all_back(moment: int) -> None:
    """Cancelled at any turn, a group on a pool holds none of its sandboxes."""
    factory = Factory()
    async with hopx.pool(factory, max_size=2) as pool:

        async def body() -> None:
            async with hopx.group(pool, limit=4) as group:
                for _ in range(6):
                    group.start_soon(["nap", "3600"])

        task = asyncio.create_task(body())
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(moment / 10)
        task.cancel()
        await asyncio.wait([task])
        await anyio.sleep(5)
        assert pool.lendable == 2
