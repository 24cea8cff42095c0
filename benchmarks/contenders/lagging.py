"""hopx_async with an agent that tells of its event loop: who reads much, and who has to wait."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import hopx_async as hopx
from benchmarks.contenders.lagging_agent import PROGRAM, read_lags
from benchmarks.contenders.many import Many
from benchmarks.lag import watch_lag
from benchmarks.places import scratch
from benchmarks.verdict import percentile
from benchmarks.worker import main
from hopx_async.providers.root_process import RootProcess

__all__ = ["Lagging"]


class Lagging(Many):
    """A sandbox of an agent that is measured from within, as its client is."""

    async def open(self, where: str = "tmpfs") -> None:  # type: ignore[override]
        """Start the agent and open its sandbox."""
        self._home = Path(tempfile.mkdtemp(prefix="hopx-bench-", dir=scratch(where)))
        self._root = await RootProcess.start(self._home / "state", {}, program=PROGRAM)
        said = await self._root.announced()
        self._handles = []
        self._sandbox = await hopx.remote(said["url"], token=said["token"])
        self._offset = 0

    async def close(self) -> None:
        """Close the sandbox and end the agent."""
        if hasattr(self, "_sandbox"):
            await self._sandbox.aclose()
        if hasattr(self, "_root"):
            await self._root.stop(0.5)
        shutil.rmtree(self._home, ignore_errors=True)

    async def quiet(self, seconds: float) -> dict[str, float]:
        """Return the p99.9 of both loops' lags while nothing happens."""
        async with self._lags() as lags:
            await asyncio.sleep(seconds)
        return lags

    async def catch_up(self, readers: int, size: int) -> dict[str, float]:
        """Read the log that was written, by so many at once; add the p99.9 of both loops' lags."""
        async with self._lags() as lags:
            told = await super().catch_up(readers, size)
        return {**told, **lags}

    @asynccontextmanager
    async def _lags(self) -> AsyncGenerator[dict[str, float]]:
        """Fill what is yielded: the p99.9 of ``client`` and ``agent`` within the block, in s."""
        told: dict[str, float] = {}
        mine: list[float] = []
        self._take()
        watching = asyncio.create_task(watch_lag(mine.append))
        try:
            yield told
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        told["client"], told["agent"] = (percentile(lags, 99.9) for lags in (mine, self._take()))

    def _take(self) -> list[float]:
        lags, self._offset = read_lags(self._home / "state", self._offset)
        return lags


if __name__ == "__main__":
    main(Lagging())
