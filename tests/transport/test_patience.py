"""Calls that are tried again, on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hopx_async import errors
from hopx_async.errors import HopxError
from hopx_async.testing import VirtualTimeLoop
from hopx_async.transport.patience import Patience, passes


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


class Attempts:
    """Raises one error after another, then returns."""

    def __init__(self, *failures: HopxError) -> None:
        self.failures = list(failures)
        self.count = 0

    async def __call__(self) -> str:
        """Try once."""
        self.count += 1
        await anyio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def patience() -> Patience:
    """Return one that gives up after a hundred seconds."""
    return Patience("there", 100.0, lambda: 0.5)


def nothing() -> None:
    """Find nothing wrong."""


async def test_what_nobody_answered_is_tried_again() -> None:
    """Losses and an agent that is starting up are waited out."""
    attempts = Attempts(
        errors.ConnectError("no"), errors.ConnectionLost("cut"), errors.AgentFault("", status=503)
    )

    assert await patience().call(attempts, nothing) == "done"
    assert attempts.count == 4


@pytest.mark.parametrize(
    "failure", [errors.AgentFault("bug"), errors.ApiError("no"), errors.RateLimited("slowly")]
)
async def test_an_answer_is_an_answer(failure: HopxError) -> None:
    """A no, a fault and a limit are raised at once."""
    attempts = Attempts(failure)

    with pytest.raises(type(failure)):
        await patience().call(attempts, nothing)
    assert attempts.count == 1


async def test_what_may_have_been_done_is_not_repeated() -> None:
    """Where it matters, only what was never sent is tried again."""
    attempts = Attempts(errors.ConnectError("no"), errors.ConnectionLost("cut"))

    with pytest.raises(errors.ConnectionLost):
        await patience().call(attempts, nothing, repeatable=False)
    assert attempts.count == 2


async def test_the_polite_wait_as_long_as_they_are_asked_to() -> None:
    """retry_after counts, unless it is longer than the patience."""
    before = anyio.current_time()
    attempts = Attempts(errors.RateLimited("slowly", retry_after=42.0))
    await patience().call(attempts, nothing, polite=True)
    assert anyio.current_time() - before == pytest.approx(42.0)

    with pytest.raises(errors.RateLimited):
        hopeless = Attempts(errors.RateLimited("tomorrow", retry_after=101.0))
        await patience().call(hopeless, nothing, polite=True)


async def test_in_the_end_it_gives_up() -> None:
    """After so many seconds the last reason stands in AgentUnreachable."""
    attempts = Attempts(*(errors.ConnectError("no") for _ in range(1000)))

    with pytest.raises(errors.AgentUnreachable, match="there did not answer for 100 s: no"):
        await patience().call(attempts, nothing)
    assert anyio.current_time() == pytest.approx(100.0, abs=1.0)


async def test_what_is_closed_is_not_tried() -> None:
    """The check comes before each try, and instead of an error that is not repeated."""

    def closed_after(count: int) -> Callable[[], None]:
        left = [None] * count

        def check() -> None:
            if not left:
                raise errors.ClosedError("closed")
            left.pop()

        return check

    with pytest.raises(errors.ClosedError):
        await patience().call(Attempts(), closed_after(0))
    for repeatable in (True, False):
        lost = Attempts(errors.ConnectionLost("cut"))
        with pytest.raises(errors.ClosedError):
            await patience().call(lost, closed_after(1), repeatable=repeatable)


async def test_it_can_be_cancelled() -> None:
    """A cancelled call stops trying."""
    attempts = Attempts(*(errors.ConnectError("no") for _ in range(1000)))

    with anyio.move_on_after(5) as scope:
        await patience().call(attempts, nothing)

    count = attempts.count
    await anyio.sleep(100)
    assert scope.cancelled_caught
    assert attempts.count == count


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (errors.ConnectionLost("x"), True),
        (errors.AgentFault("x", status=503), True),
        (errors.AgentFault("x", status=507), False),
        (errors.SpawnError("x", errno=2, filename="x"), False),
    ],
)
async def test_what_passes_is_tried_again(error: HopxError, again: bool) -> None:
    """Lost connections and an agent that is not ready yet pass; an answer is one."""
    assert passes(error) is again
