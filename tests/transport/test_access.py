"""The way to an agent: what goes wrong there has a name."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import anyio
import pytest

from hopx_async.errors import ConnectionLost, RequestTimeout
from hopx_async.protocol.rate import RateBudget
from hopx_async.transport.access import Access, translated


class Bare(Access):
    """A way that knows nothing more than it must."""

    def session(self) -> aiohttp.ClientSession:
        """Have none."""
        raise NotImplementedError

    async def headers(self) -> Mapping[str, str]:
        """Return none."""
        return {}


async def test_a_token_is_not_renewed_unless_somebody_can() -> None:
    """By default there is nothing newer, and nobody waits."""
    assert await Bare().renew({}) is False
    await Bare().admit()


@pytest.mark.parametrize(
    "cause", [aiohttp.ServerDisconnectedError(), ConnectionResetError("reset")]
)
async def test_what_breaks_is_a_lost_connection(cause: Exception) -> None:
    """Errors of aiohttp and of sockets become ours, with the far side's name."""
    with pytest.raises(ConnectionLost, match="there broke off"), translated("there", "it", 1.0):
        raise cause


async def test_time_over_is_a_timeout_and_can_be_moved() -> None:
    """The deadline counts as it was moved last."""
    with pytest.raises(RequestTimeout, match="there did not answer it in 100 s"):
        with translated("there", "it", 100.0) as scope:
            scope.deadline = anyio.current_time()
            await anyio.sleep_forever()


async def test_everybody_who_sends_keeps_to_one_budget() -> None:
    """A refusal of one makes all wait; where nobody counts, nobody waits."""
    way = Bare()
    way.refused(1000.0)
    await way.admit()
    way.budget = RateBudget(per_second=1000, burst=1)
    await way.admit()
    way.refused(1000.0)
    with anyio.move_on_after(0.05) as scope:
        await way.admit()
    assert scope.cancelled_caught
