"""Calls that are tried again while nobody answers, until the policy gives up."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from hopx_async.errors import (
    AgentFault,
    AgentUnreachable,
    ConnectError,
    HopxError,
    RateLimited,
    TransportError,
)
from hopx_async.protocol.backoff import Backoff

__all__ = ["Patience", "passes"]

T = TypeVar("T")
_STARTING = 503


def passes(error: HopxError) -> bool:
    """Return whether what may be repeated is to be tried again after *error*."""
    if isinstance(error, AgentFault):
        return error.status == _STARTING
    return isinstance(error, TransportError)


class Patience:
    """The policy of one sandbox.

    Args:
        name: What errors call the far side.
        give_up_after: Seconds without an answer after which a call fails.
        chance: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        name: str,
        give_up_after: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._name = name
        self._give_up_after = give_up_after
        self._chance = chance

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        check: Callable[[], None],
        *,
        repeatable: bool = True,
        polite: bool = False,
    ) -> T:
        """Return what *attempt* returns, trying again while nobody answers.

        Cancelling it is safe if cancelling *attempt* is.

        Args:
            attempt: One try.
            check: Raises why there is nothing to try any more; called before each try.
            repeatable: Whether it may be tried again although it may have been carried out.
            polite: Whether to wait as long as a far side asks for that wants fewer calls.

        Raises:
            AgentUnreachable: If nobody answered until the policy gave up.
            HopxError: What *attempt* raises else.
        """
        backoff = Backoff(give_up_after=self._give_up_after)
        while True:
            check()
            asked = 0.0
            try:
                return await attempt()
            except TransportError as error:
                if not (repeatable or isinstance(error, ConnectError)):
                    check()
                    raise
                reason: HopxError = error
            except AgentFault as error:
                if not passes(error):
                    raise
                reason = error
            except RateLimited as error:
                if not polite or (error.retry_after or 0.0) > self._give_up_after:
                    raise
                reason, asked = error, error.retry_after or 0.0
            delay = backoff.failed(anyio.current_time(), self._chance())
            if delay is None:
                raise self.unreachable(reason) from reason
            await anyio.sleep(max(delay, asked))

    def unreachable(self, reason: HopxError) -> AgentUnreachable:
        """Return the error of one that gave up because of *reason*."""
        return AgentUnreachable(
            f"{self._name} did not answer for {self._give_up_after:g} s: {reason}",
            seconds=self._give_up_after,
        )
