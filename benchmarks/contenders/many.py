"""hopx_async with very many handles, readers and bytes: what all that takes."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any

import hopx_async as hopx
from benchmarks.contenders.ours import Ours
from benchmarks.native import program
from benchmarks.readings import (
    descriptors,
    family,
    forget_peak,
    memory_kib,
    tcp_bytes,
    threads,
)
from benchmarks.worker import in_flight, main

__all__ = ["Many"]

_STARTS_AT_ONCE = 64


class Many(Ours):
    """A local sandbox that holds much at a time."""

    async def start_idle(self, count: int) -> float:
        """Start so many commands that do nothing, hold their handles, return the seconds."""

        async def one(_number: int) -> None:
            handle = await self._sandbox.commands.start(["sleep", "36000"])
            self._handles.append(handle)

        return await in_flight(count, _STARTS_AT_ONCE, one)

    async def watch(self) -> int:
        """Wait for whichever of them ends first, by one task; return how many there are."""
        ends = hopx.as_completed(self._handles)
        self._watching = asyncio.create_task(anext(ends))
        await asyncio.sleep(0)
        # The agent has heard of all of them when it answers what was said behind them.
        await self._sandbox.statistics()
        return len(self._handles)

    async def forget_idle(self) -> None:
        """End them all."""
        if hasattr(self, "_watching"):
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        handles, self._handles = self._handles, []
        for first in range(0, len(handles), 200):
            await asyncio.gather(*(handle.kill(grace=0) for handle in handles[first:][:200]))

    async def close(self) -> None:
        """End what waits, then the sandbox."""
        if hasattr(self, "_watching"):
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await super().close()

    async def holds(self) -> dict[str, Any]:
        """Return what client, root, keepers and agent hold: memory in KiB, descriptors, threads."""
        gc.collect()
        told: dict[str, Any] = {}
        for name, pids in {"client": [os.getpid()], **family(os.getpid())}.items():
            told[name] = {
                "processes": len(pids),
                "kib": sum(map(memory_kib, pids)),
                "descriptors": sum(map(descriptors, pids)),
                "threads": sum(map(threads, pids)),
            }
        return told

    async def idle_bytes(self, seconds: float) -> float:
        """Return the bytes a second that the client's connections carry while nothing happens."""
        before = tcp_bytes()
        await asyncio.sleep(seconds)
        # What one that was closed meanwhile has carried nobody knows any more.
        after = tcp_bytes()
        return sum(after[name] - before.get(name, 0) for name in after) / seconds

    async def url(self) -> str:
        """Return where the agent is."""
        return self._sandbox._client._transport.name  # noqa: SLF001  # a benchmark may look inside

    async def write_log(self, size: int) -> None:
        """Run a command that prints so much, and keep its handle."""
        self._long = await self._sandbox.commands.start([program("spout"), str(size)])
        await self._long.wait()

    async def catch_up(self, readers: int, size: int) -> dict[str, float]:
        """Read that log by so many readers at once; return the seconds and the events."""
        events = 0

        async def read() -> None:
            nonlocal events
            seen = 0
            async for event in self._long.events():
                events += 1
                if isinstance(event, hopx.Stdout):
                    seen += len(event.data)
            if seen != size:
                raise AssertionError(f"{seen} bytes of {size}")

        begin = time.perf_counter()
        await asyncio.gather(*(read() for _ in range(readers)))
        return {"seconds": time.perf_counter() - begin, "events": float(events)}

    async def client_peak(self, size: int) -> float:
        """Stream so many bytes; return by how much the client's memory rose, in MiB."""
        gc.collect()
        before = forget_peak(os.getpid())
        await self.output(size)
        return (memory_kib(os.getpid(), "VmHWM") - before) / 1024

    async def agent_peak(self, readers: int, size: int) -> float:
        """Let so many readers read a log at once; return by how much the agent's memory rose."""
        await self.write_log(size)
        [agent] = family(os.getpid())["agent"]
        before = forget_peak(agent)
        await self.catch_up(readers, size)
        return (memory_kib(agent, "VmHWM") - before) / 1024


if __name__ == "__main__":
    main(Many())
