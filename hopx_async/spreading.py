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
            clean ones as it needs them, and has them back when its block ends.
        limit: As for ``sandbox.commands.group``: how many run at once, on all together.
        on_error: As there.
        grace: As there, in seconds.

    Raises:
        InvalidArgument: If an argument breaks a rule.
    """
    if isinstance(sandboxes, Pool):
        return Group(_Leases(sandboxes), limit=limit, on_error=on_error, grace=grace)
    starters = [_commands_of(sandbox) for sandbox in sandboxes]
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
        self._lock = anyio.Lock()

    async def take(self) -> Starter:
        async with self._lock:
            busy = all(self._loads.values())
            # The first is waited for; more are taken only where nobody else would wait for them.
            if not self._loads or (busy and self._pool.lendable > 0):
                self._loads[await self._pool.take()] = 0
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
