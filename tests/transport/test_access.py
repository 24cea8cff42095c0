"""The way to an agent: what goes wrong there has a name."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import anyio
import pytest

from hopx_async.errors import ConnectError, ConnectionLost, InvalidArgument, RequestTimeout
from hopx_async.protocol.rate import RateBudget
from hopx_async.transport.access import Access, check_url, translated


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


async def test_who_makes_no_connection_in_time_has_sent_nothing() -> None:
    """That is known, and no answer that may have been lost."""
    with pytest.raises(ConnectError, match="cannot reach there"), translated("there", "it", 60.0):
        raise aiohttp.ConnectionTimeoutError("connect timed out")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:sesame@host", "http://:sesame@host", "http://user:sesame@host:port",
        "http://:sesame@host:port", "http://sesame@", "http://host?token=sesame",
        "http://host#sesame", "http://host:port?sesame", "http://[sesame@host",
    ],
)  # fmt: skip
def test_a_url_with_a_secret_is_refused_and_not_shown(url: str) -> None:
    """A user, a query and a fragment may be secrets, whatever else is wrong with it."""
    with pytest.raises(InvalidArgument) as caught:
        check_url(url)
    assert "sesame" not in str(caught.value)
    assert "not shown" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://ho st", "http://ho\nst", "http://host\0", "ftp://h", "h", 7]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """It is not cleaned up silently."""
    with pytest.raises(InvalidArgument, match="http://HOST:PORT"):
        check_url(url)
