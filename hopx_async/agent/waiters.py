"""Those who wait for something to become of an id."""

from __future__ import annotations

import asyncio

__all__ = ["Waiters"]


class Waiters:
    """Futures by id; an id for which nobody waits costs nothing."""

    def __init__(self) -> None:
        self._futures: dict[str, set[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return len(self._futures)

    async def wait(self, process_id: str) -> None:
        """Wait until the id is released. Cancelling it leaves no trace."""
        future = asyncio.get_running_loop().create_future()
        futures = self._futures.setdefault(process_id, set())
        futures.add(future)
        try:
            await future
        finally:
            futures.discard(future)
            if not futures and self._futures.get(process_id) is futures:
                del self._futures[process_id]

    def release(self, process_id: str) -> None:
        """Let everybody go on who waits for the id."""
        for future in self._futures.pop(process_id, ()):
            if not future.done():
                future.set_result(None)
