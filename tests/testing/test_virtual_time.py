"""Virtual time: it jumps, it is exact, and it tells when nothing can happen."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import anyio
import anyio.to_thread
import pytest

from hopx_async.errors import Unsupported
from hopx_async.testing import run, virtual_time, without_waiting


def test_time_jumps_to_the_next_timer() -> None:
    """An hour of sleeping takes a moment, and the clock reads an hour."""

    async def main() -> list[float]:
        times = []
        for _ in range(3):
            await asyncio.sleep(3600)
            times.append(asyncio.get_running_loop().time())
        return times

    assert run(main()) == pytest.approx([3600, 7200, 10800])


def test_timers_run_in_their_order() -> None:
    """Tasks that sleep wake in the order of their times, also after thousands of jumps."""
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def main() -> None:
        await asyncio.gather(*(sleep((number * 7919) % 1000 / 7) for number in range(1000)))

    run(main())
    assert all(one <= other for one, other in pairwise(woken))
    assert len(woken) == 1000


def test_timeouts_are_exact() -> None:
    """A scope ends at its deadline, not before and not after."""

    async def main() -> float:
        with anyio.move_on_after(12.5):
            await anyio.sleep_forever()
        return anyio.current_time()

    assert run(main()) == pytest.approx(12.5)


def test_threads_are_waited_for() -> None:
    """A thread that works is waited for, in real time, when no timer is set."""

    async def main() -> int:
        return await anyio.to_thread.run_sync(sum, range(100_000))

    assert run(main()) == sum(range(100_000))


def test_standing_still_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every task waits for what cannot come, there is an error and no hang."""
    monkeypatch.setattr(virtual_time, "_PATIENCE", 0.01)
    loop = virtual_time.VirtualTimeLoop()
    task = loop.create_task(asyncio.Event().wait())
    try:
        with pytest.raises(RuntimeError, match="stands still"):
            loop.run_until_complete(task)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()


async def test_a_loop_of_somebody_else_is_put_on_virtual_time() -> None:
    """Within the block an hour takes a moment, threads are waited for; behind it time passes."""
    loop = asyncio.get_running_loop()
    real, began = loop.time, loop.time()
    for number in range(1, 4):
        with without_waiting():
            await anyio.sleep(3600)
            assert loop.time() - began == pytest.approx(3600 * number, abs=60)
            assert await anyio.to_thread.run_sync(sum, range(100_000)) == sum(range(100_000))
        # It never goes back, and is at the pace of the real one again.
        assert loop.time() - real() == pytest.approx(3600 * number, abs=60)
        assert "select" not in vars(loop._selector)  # type: ignore[attr-defined]
    assert isinstance(loop.time, virtual_time._Shifted)
    assert loop.time.real == real  # its layers do not pile up


async def test_blocks_of_virtual_time_nest() -> None:
    """Inside another block, or on a loop that is virtual anyway, a block changes nothing."""
    loop = asyncio.get_running_loop()
    with without_waiting():
        with without_waiting():
            await anyio.sleep(3600)
        began = loop.time()
        await anyio.sleep(3600)
        assert loop.time() - began == pytest.approx(3600)

    async def main() -> float:
        with without_waiting():
            await anyio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert await anyio.to_thread.run_sync(lambda: run(main())) == pytest.approx(3600)


def test_a_strange_loop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop whose selector cannot be reached is named."""

    class Strange:
        """As uvloop's: nothing of asyncio's own."""

    monkeypatch.setattr(asyncio, "get_running_loop", Strange)
    with pytest.raises(Unsupported, match="Strange"), without_waiting():
        pass
