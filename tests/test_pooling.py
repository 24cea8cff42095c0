"""Pools: a clean sandbox for each use, first come, first served, and none too many."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import ClosedError, ConnectError, InvalidArgument, MisuseError
from hopx_async.pooling import Pool
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


async def test_each_use_has_a_clean_one_and_warm_ones_are_ready() -> None:
    """A used sandbox is ended and replaced; the next user does not wait for a warm one."""
    factory = Factory()
    async with hopx.pool(factory, min_size=2, max_size=3) as pool:
        assert factory.live == pool.size == 2
        began = anyio.current_time()
        async with pool.sandbox() as first, pool.sandbox() as second:
            assert anyio.current_time() == began
            assert {first, second} == set(factory.opened)
        await anyio.sleep(5)
        assert first._closed
        assert second._closed
        assert factory.live == pool.size == 2
        assert "0 in use" in repr(pool)
    assert factory.live == 0
    assert "closed" in repr(pool)


async def test_warm_waits_for_those_that_have_no_place_yet() -> None:
    """warm returns when as many are there as should be, also while used ones are ended."""
    factory = Factory()
    async with hopx.pool(factory, min_size=2, max_size=2) as pool:
        async with pool.sandbox(), pool.sandbox():
            pass
        await pool.warm()
        assert factory.live == pool.size == pool.lendable == 2
        async with pool.sandbox(), pool.sandbox():
            pass
        factory.broken = 2
        with pytest.raises(ConnectError):
            await pool.warm()
    await pool.warm()
    assert pool.size == 0


async def test_users_wait_in_their_order_and_there_are_never_too_many() -> None:
    """With all in use, users get their place first come, first served."""
    factory = Factory()
    order: list[int] = []
    most = 0

    async def use(number: int, pool: Pool) -> None:
        nonlocal most
        async with pool.sandbox():
            order.append(number)
            most = max(most, factory.live)
            await anyio.sleep(10)

    async with hopx.pool(factory, max_size=2) as pool, anyio.create_task_group() as tasks:
        for number in range(7):
            tasks.start_soon(use, number, pool)
            await anyio.lowlevel.checkpoint()
    assert order == list(range(7))
    assert most == 2


async def test_reset_keeps_a_sandbox_and_one_that_fails_is_replaced() -> None:
    """With reset, a sandbox is lent again; if that raises, a new one takes its place."""
    factory = Factory()
    cleaned: list[Sandbox] = []

    async def reset(sandbox: Sandbox) -> None:
        cleaned.append(sandbox)
        if len(cleaned) == 2:
            raise ConnectError("dirty")

    async with hopx.pool(factory, max_size=1, reset=reset) as pool:
        used = []
        for _ in range(3):
            async with pool.sandbox() as sandbox:
                used.append(sandbox)
        assert used[0] is used[1] is not used[2]
        assert cleaned[:2] == used[:2]


async def test_a_warm_one_that_broke_is_replaced() -> None:
    """A sandbox that was closed, or does not answer, is not lent."""
    factory = Factory()
    async with hopx.pool(factory, min_size=2, max_size=2) as pool:
        await factory.opened[0].aclose()
        factory.agents[1].stall()
        async with pool.sandbox() as sandbox:
            assert sandbox is factory.opened[2]
            assert (await sandbox.commands.run(["nap", "1"])).ok
        factory.agents[1].heal()


async def test_what_the_factory_raises_is_told_to_who_waits() -> None:
    """A failed attempt is one user's error; the next attempt is the next user's."""
    factory = Factory()
    factory.broken = 1
    with pytest.raises(ConnectError):
        await hopx.pool(factory, min_size=1, max_size=2)
    factory.broken = 1
    async with hopx.pool(factory, max_size=1) as pool:
        with pytest.raises(ConnectError):
            async with pool.sandbox():
                pass
        async with pool.sandbox() as sandbox:
            assert (await sandbox.commands.run(["nap", "1"])).ok
        factory.broken = 3
        await anyio.sleep(100)
        assert factory.broken == 3
    assert factory.live == 0


@pytest.mark.parametrize("moment", range(0, 24, 2))
async def test_a_user_cancelled_at_any_moment_takes_nothing_away(moment: int) -> None:
    """Cancelled while it waits, or as it is served, a user leaves the place to the next."""
    factory = Factory()
    async with hopx.pool(factory, min_size=1, max_size=1) as pool:
        task = asyncio.create_task(pool.sandbox().__aenter__())
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            with anyio.fail_after(30):
                async with pool.sandbox() as sandbox:
                    assert (await sandbox.commands.run(["nap", "1"])).ok
    assert factory.live == 0


async def test_closing_ends_those_in_use_and_tells_who_waits() -> None:
    """Closing is the end of all, of those in use and of the hopes of those who wait."""
    factory = Factory()
    pool = await hopx.pool(factory, max_size=1)
    lease = pool.sandbox()
    sandbox = await lease.__aenter__()
    waiting = asyncio.create_task(pool.sandbox().__aenter__())
    await anyio.lowlevel.checkpoint()
    with pytest.raises(MisuseError):
        await lease.__aenter__()
    await pool.aclose()
    await pool.aclose()
    assert sandbox._closed
    with pytest.raises(ClosedError):
        await waiting
    await lease.__aexit__(None, None, None)
    with pytest.raises(ClosedError):
        await pool.take()


async def test_closing_while_one_opens_leaves_nothing() -> None:
    """A sandbox that is being opened or cleaned when the pool closes is ended, too."""
    factory = Factory()

    async def reset(sandbox: Sandbox) -> None:
        await anyio.sleep(3600)

    pool = await hopx.pool(factory, min_size=1, max_size=2, reset=reset)
    async with pool.sandbox():
        waiting = asyncio.create_task(pool.sandbox().__aenter__())
        await anyio.lowlevel.checkpoint()
    await anyio.sleep(0.5)
    await pool.aclose()
    await asyncio.wait([waiting])
    assert isinstance(waiting.exception(), ClosedError)
    assert factory.live == 0


async def test_closing_that_is_cancelled_closes_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cancelled at its beginning, aclose ends also what was being cleaned, and raises then."""
    factory = Factory()
    close = Sandbox.aclose

    async def slowly(self: Sandbox) -> None:
        await anyio.sleep(5)
        await close(self)

    async def reset(sandbox: Sandbox) -> None:
        await anyio.sleep(3600)

    monkeypatch.setattr(Sandbox, "aclose", slowly)
    pool = await hopx.pool(factory, max_size=2, reset=reset)
    async with pool.sandbox():
        pass
    closing = asyncio.create_task(pool.aclose())
    await anyio.lowlevel.checkpoint()
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert (pool.size, factory.live) == (0, 0)


async def test_a_reset_that_hangs_gives_its_place_up() -> None:
    """A sandbox that is not clean in time is replaced; its next user waits no longer."""
    factory = Factory()

    async def reset(sandbox: Sandbox) -> None:
        await anyio.sleep(3600)

    async with hopx.pool(factory, max_size=1, reset=reset) as pool:
        async with pool.sandbox() as first:
            pass
        began = anyio.current_time()
        async with pool.sandbox() as second:
            assert second is not first
        assert anyio.current_time() - began == pytest.approx(61, abs=1)


@pytest.mark.parametrize(
    ("parameter", "arguments"),
    [
        ("min_size", {"min_size": -1}),
        ("max_size", {"max_size": 0}),
        ("max_size", {"max_size": True}),
        ("min_size", {"min_size": 3, "max_size": 2}),
        ("factory", {"factory": 1}),
        ("reset", {"reset": 1}),
    ],
)
def test_bad_arguments_are_refused_at_the_call(parameter: str, arguments: dict[str, Any]) -> None:
    """pool names the argument that breaks a rule."""
    values: dict[str, Any] = {"factory": Factory(), **arguments}
    with pytest.raises(InvalidArgument) as caught:
        hopx.pool(values.pop("factory"), **values)
    assert caught.value.parameter == parameter
