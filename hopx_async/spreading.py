"""Groups of commands over several sandboxes, or over a pool of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio

from hopx_async.errors import InvalidArgument
from hopx_async.grouping import LIMIT, Group, OnError, Spread
from hopx_async.pooling import Pool
from hopx_async.protocol import lifecycle
from hopx_async.sandbox import Sandbox
from hopx_async.starting import Starter

__all__ = ["group"]


def group(
    sandboxes: Pool | Iterable[Sandbox],
    *,
    limit: int | None = LIMIT,
    on_error: OnError = "cancel",
    grace: float = lifecycle.GRACE,
) -> Group:
    """Return a scope for commands that spread over several sandboxes.

    Args:
        sandboxes: The next command goes where fewest of the group run. A pool lends the group
            clean ones as it needs them, and has them back when its block ends. Of one sandbox
            alone, ``sandbox.commands.group`` is the word.
        limit: As for ``sandbox.commands.group``: how many run at once, on all together.
        on_error: As there.
        grace: As there, in seconds.

    Raises:
        InvalidArgument: If an argument breaks a rule.
    """
    if isinstance(sandboxes, Pool):
        return Group(_Leases(sandboxes), limit=limit, on_error=on_error, grace=grace)
    given: Any = sandboxes
    if not isinstance(given, Iterable):
        raise InvalidArgument("sandboxes", type(given).__name__, "several sandboxes, or a pool")
    # One that is named twice is one.
    starters = list(dict.fromkeys(_commands_of(sandbox) for sandbox in given))
    if not starters:
        raise InvalidArgument("sandboxes", "()", "one sandbox at least, or a pool")
    return Group(Spread(starters), limit=limit, on_error=on_error, grace=grace)


def _commands_of(sandbox: Any) -> Starter:
    if not isinstance(sandbox, Sandbox):
        raise InvalidArgument("sandboxes", type(sandbox).__name__, "sandboxes, or a pool")
    return sandbox.commands


class _Leases:
    """Places in a pool: sandboxes are lent to a group as it needs them, until it ends."""

    def __init__(self, source: Pool) -> None:
        self._pool = source
        self._loads: dict[Sandbox, int] = {}
        self._coming = 0
        self._bell = anyio.Event()

    async def take(self) -> Starter:
        while True:
            # The first is waited for; more are taken only where nobody else would wait for them.
            first = not self._loads and not self._coming
            if first or (all(self._loads.values()) and self._pool.lendable > 0):
                self._loads[await self._borrowed()] = 0
            elif not self._loads:
                await self._bell.wait()
                continue
            sandbox = min(self._loads, key=lambda sandbox: self._loads[sandbox])
            self._loads[sandbox] += 1
            return sandbox.commands

    async def give(self, starter: Starter) -> None:
        sandbox = next(sandbox for sandbox in self._loads if sandbox.commands is starter)
        self._loads[sandbox] -= 1

    def close(self) -> None:
        for sandbox in self._loads:
            self._pool.give(sandbox)
        self._loads.clear()

    async def _borrowed(self) -> Sandbox:
        self._coming += 1
        try:
            return await self._pool.take()
        finally:
            self._coming -= 1
            bell, self._bell = self._bell, anyio.Event()
            bell.set()
