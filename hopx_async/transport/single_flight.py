"""One errand for all who want it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from hopx_async.errors import ClosedError

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs *errand* once, however many wait for it; whoever comes later starts it anew.

    Args:
        errand: What is to be done; bounded in time by itself.
    """

    def __init__(self, errand: Callable[[], Awaitable[T]]) -> None:
        self._errand = errand
        self._task: asyncio.Task[T] | None = None
        self._closed = False

    async def join(self) -> T:
        """Return what the errand returns, that which is under way if there is one.

        Cancelling ``join`` is safe: the errand goes on, for others who wait, or for the next.

        Raises:
            HopxError: What the errand raises, to each who waits.
            ClosedError: After `aclose`.
        """
        if self._closed:
            raise ClosedError("it has been closed")
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(_retrieved)
        task = self._task
        # Not awaited itself: that would cancel it with the first who gives up.
        await asyncio.wait([task])
        if task.cancelled():
            raise ClosedError("it was closed meanwhile")
        return task.result()

    async def aclose(self) -> None:
        """End the errand under way; who waits gets `ClosedError`. May be called again."""
        self._closed = True
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> T:
        return await self._errand()


def _retrieved(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # whoever waited has it, and maybe nobody did
