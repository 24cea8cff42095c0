"""What is asked of a busy agent waits for its turn, and that is no silence of the agent's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from hopx_async.errors import RequestTimeout
from hopx_async.protocol.rate import RateBudget
from hopx_async.testing.virtual_time import run
from hopx_async.transport import cloud_access
from hopx_async.transport.access import Access
from hopx_async.transport.cloud_access import ask_agent


class Answer:
    """An answer without a connection: an empty object."""

    status = 200

    def __init__(self) -> None:
        self.content = self
        self._pieces = [b"{}", b""]

    async def read(self, _: int) -> bytes:
        """Return a piece of the body."""
        await anyio.lowlevel.checkpoint()
        return self._pieces.pop(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Busy(Access):
    """An agent that wants to hear nothing for a while, and then answers in its own time.

    Args:
        quiet: Seconds for which nothing is sent.
        answers_after: Seconds until a request is answered.
    """

    name = "http://there"

    def __init__(self, *, quiet: float, answers_after: float = 0.0) -> None:
        self.budget = RateBudget()
        self.refused(quiet)
        self.sent: list[float] = []
        self._answers_after = answers_after

    def session(self) -> Any:
        """Return itself: it sends what it is given."""
        return self

    async def headers(self) -> Mapping[str, str]:
        """Return none."""
        return {}

    async def request(self, *_: object, **__: object) -> Answer:
        """Note a request, and answer it."""
        self.sent.append(anyio.current_time())
        await anyio.sleep(self._answers_after)
        return Answer()


def test_waiting_for_its_turn_takes_nothing_of_its_time() -> None:
    """A request whose turn comes late is sent, once, and answered."""

    async def main() -> None:
        access = Busy(quiet=10 * cloud_access._ANSWER_SECONDS, answers_after=1.0)
        assert await ask_agent(access, "GET", "/info") == {}
        assert access.sent == [10 * cloud_access._ANSWER_SECONDS]

    run(main())


def test_its_time_begins_when_it_is_sent() -> None:
    """An agent that does not answer is told as such, its whole time behind its turn."""

    async def main() -> None:
        access = Busy(quiet=100.0, answers_after=1_000.0)
        with pytest.raises(RequestTimeout, match="http://there did not answer GET /info in 30 s"):
            await ask_agent(access, "GET", "/info")
        assert anyio.current_time() == pytest.approx(130.0)
        assert access.sent == [100.0]

    run(main())


@pytest.mark.parametrize(("moment", "sent"), [(50.0, 0), (101.0, 1)])
def test_who_is_cancelled_sends_nothing_more(moment: float, sent: int) -> None:
    """Cancelled before its turn nothing is sent, cancelled behind it nothing again."""

    async def main() -> None:
        access = Busy(quiet=100.0, answers_after=10.0)
        task = asyncio.create_task(ask_agent(access, "GET", "/info"))
        await anyio.sleep(moment)
        task.cancel()
        await asyncio.wait([task])
        await anyio.sleep(200.0)
        assert task.cancelled()
        assert len(access.sent) == sent

    run(main())
