"""Batches: what is asked together goes together, and nobody pays for another's fate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import anyio
import pytest

from hopx_async.errors import ClosedError, ConnectionLost
from hopx_async.protocol.marker_answers import Line, Unknown
from hopx_async.protocol.markers import MAX_BATCH, MAX_BATCH_BYTES
from hopx_async.testing import run
from hopx_async.transport.batches import LANES, Batches


class Far:
    """Answers with a line for each that was asked."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def send(self, batch: Mapping[str, int]) -> list[Line]:
        """Answer a request."""
        self.batches.append(list(batch))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [Unknown(key) for key in batch]


def test_what_comes_together_goes_together() -> None:
    """A hundred in one turn of the loop are four requests; each gets its own lines."""

    async def main() -> None:
        far = Far()
        batches = Batches(far.send)
        names = [f"c{number}" for number in range(100)]
        found = await asyncio.gather(*(batches.ask(name, 0, 10) for name in names))
        assert found == [[Unknown(name)] for name in names]
        assert [len(batch) for batch in far.batches] == [MAX_BATCH] * 3 + [100 - 3 * MAX_BATCH]
        await batches.aclose()

    run(main())


def test_a_request_has_a_size() -> None:
    """Large ones travel apart, and one key is in a request once."""

    async def main() -> None:
        far = Far()
        batches = Batches(far.send)
        half = MAX_BATCH_BYTES // 2 + 1
        await asyncio.gather(*(batches.ask(name, 0, half) for name in "abc"))
        assert sorted(far.batches) == [["a"], ["b"], ["c"]]
        await asyncio.gather(batches.ask("same", 1, 1), batches.ask("same", 2, 1))
        assert far.batches[3:] == [["same"], ["same"]]
        await batches.aclose()

    run(main())


def test_few_requests_are_under_way() -> None:
    """While the far side is slow, the others gather."""

    async def main() -> None:
        far = Far()
        far.gate = anyio.Event()
        batches = Batches(far.send)
        tasks = [asyncio.create_task(batches.ask(f"c{number}", 0, 1)) for number in range(500)]
        while len(far.batches) < LANES:
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        assert len(far.batches) == LANES
        far.gate.set()
        await asyncio.gather(*tasks)
        await batches.aclose()

    run(main())


def test_who_asks_again_when_all_requests_end_at_once_is_answered() -> None:
    """A question that comes in the turn in which the last requests ended gets one of its own."""

    async def main() -> None:
        far = Far()
        far.gate = anyio.Event()
        batches = Batches(far.send)

        async def ask_twice() -> None:
            await batches.ask("first", 0, MAX_BATCH_BYTES)
            await batches.ask("again", 0, 1)

        names = [f"c{number}" for number in range(1, LANES)]
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(ask_twice())]
        tasks += [asyncio.create_task(batches.ask(name, 0, MAX_BATCH_BYTES)) for name in names]
        while len(far.batches) < LANES:
            await asyncio.sleep(0)
        far.gate.set()
        with anyio.fail_after(5):
            await asyncio.gather(*tasks)
        await batches.aclose()

    run(main())


def test_a_failure_is_told_to_all_of_its_request_and_to_nobody_else() -> None:
    """The next request is tried as if nothing had been."""

    async def main() -> None:
        far = Far()
        far.error = ConnectionLost("gone")
        batches = Batches(far.send)
        found = await asyncio.gather(
            *(batches.ask(name, 0, 1) for name in "ab"), return_exceptions=True
        )
        assert all(isinstance(error, ConnectionLost) for error in found)
        far.error = None
        assert await batches.ask("a", 0, 1) == [Unknown("a")]
        await batches.aclose()

    run(main())


def test_who_leaves_is_not_asked_for() -> None:
    """A question that was cancelled before its turn is not sent; the others are."""

    async def main() -> None:
        far = Far()
        batches = Batches(far.send)
        with anyio.move_on_after(0):
            await batches.ask("gone", 0, 1)
        assert await batches.ask("there", 0, 1) == [Unknown("there")]
        assert far.batches == [["there"]]
        await batches.aclose()

    run(main())


def test_nothing_hangs_when_it_is_closed() -> None:
    """Whoever waits and whoever comes is told."""

    async def main() -> None:
        far = Far()
        far.gate = anyio.Event()
        batches = Batches(far.send)
        tasks = [asyncio.create_task(batches.ask(f"c{number}", 0, 1)) for number in range(200)]
        while len(far.batches) < LANES:
            await asyncio.sleep(0)
        await batches.aclose()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(error, ClosedError) for error in found)
        with pytest.raises(ClosedError):
            await batches.ask("late", 0, 1)

    run(main())


def test_what_must_not_overtake_waits() -> None:
    """settled returns once what was asked before is through, also of an asker who has gone."""

    async def main() -> None:
        far = Far()
        far.gate = anyio.Event()
        batches = Batches(far.send)
        await batches.settled("a")  # nothing was asked
        asking = asyncio.create_task(batches.ask("a", 0, 1))
        while not far.batches:
            await asyncio.sleep(0)
        asking.cancel()
        settled = asyncio.create_task(batches.settled("a"))
        await batches.settled("b")
        with anyio.move_on_after(1) as scope:
            await batches.settled("a")
        assert scope.cancelled_caught, "it can be cancelled"
        assert not settled.done()
        far.gate.set()
        await settled
        far.error = ConnectionLost("gone")
        failing = asyncio.create_task(batches.ask("a", 0, 1))
        await asyncio.sleep(0)
        await batches.settled("a")
        with pytest.raises(ConnectionLost):
            await failing
        await batches.aclose()

    run(main())
