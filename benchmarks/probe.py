"""How late an agent answers somebody else: asked for its health, again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from benchmarks.verdict import percentile

__all__ = ["Probe", "probing"]

_PAUSE = 0.002


class Probe:
    """What was seen so far."""

    def __init__(self) -> None:
        self._delays: list[float] = []

    def take(self) -> float:
        """Return the p99.9 in seconds of what was seen since the last time."""
        delays, self._delays = self._delays, []
        return percentile(delays, 99.9) if delays else 0.0

    async def run(self, url: str) -> None:
        """Ask until cancelled."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        question = f"GET /health HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        try:
            while True:
                begin = time.perf_counter()
                writer.write(question)
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                self._delays.append(time.perf_counter() - begin)
                await asyncio.sleep(_PAUSE)
        finally:
            writer.close()


@asynccontextmanager
async def probing(url: str) -> AsyncGenerator[Probe]:
    """Probe the agent at *url* within the block."""
    probe = Probe()
    task = asyncio.create_task(probe.run(url))
    try:
        yield probe
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
