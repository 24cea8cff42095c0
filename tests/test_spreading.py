"""Groups over several sandboxes: by load, and on a pool as many as they need."""

from __future__ import annotations

from typing import Any

import anyio
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
    for wrong in ([], [1]):
        with pytest.raises(InvalidArgument, match="sandboxes"):
            hopx.group(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
