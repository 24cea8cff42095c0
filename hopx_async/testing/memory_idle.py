"""The limit on how long a scripted command may print nothing."""

from __future__ import annotations

from collections.abc import Awaitable

import anyio

__all__ = ["MemoryIdle"]


class MemoryIdle:
    """Ends a script that prints nothing.

    Attributes:
        over: Whether it did.

    Args:
        seconds: How long it may print nothing, None for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._scope: anyio.CancelScope | None = None
        self.over = False

    async def watch(self, script: Awaitable[int]) -> int | None:
        """Return what the script returns, None if it was ended. Cancelling it is safe."""
        if self._seconds is None:
            return await script
        with anyio.move_on_after(self._seconds) as self._scope:
            return await script
        self.over = self._scope.cancelled_caught
        return None

    def touched(self) -> None:
        """Note that there was output."""
        if self._scope is not None and self._seconds is not None:
            self._scope.deadline = anyio.current_time() + self._seconds
