"""asyncio itself, in the client's process: no agent, nothing is kept."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.native import Checker, program
from benchmarks.places import scratch
from benchmarks.readings import stamp, told_at
from benchmarks.worker import Contender, in_flight, main, use_pidfd_watcher

__all__ = ["InProcess"]


class InProcess(Contender):
    """``asyncio.create_subprocess_exec`` with a watcher that makes no threads."""

    async def open(self, where: str = "tmpfs") -> None:
        """Get ready."""
        use_pidfd_watcher()
        self._home = Path(tempfile.mkdtemp(prefix="hopx-bench-", dir=scratch(where)))

    async def close(self) -> None:
        """Remove the files."""
        if hasattr(self, "_home"):
            shutil.rmtree(self._home, ignore_errors=True)

    async def _hello(self, number: int) -> None:
        with (self._home / f"out-{number}").open("wb") as output:
            process = await asyncio.create_subprocess_exec("sh", "-c", "echo hi", stdout=output)
        if await process.wait() != 0:
            raise AssertionError(process)

    async def commands(self, count: int, at_once: int) -> float:
        """Return the seconds that so many commands take, started and waited for."""
        return await in_flight(count, at_once, self._hello)

    async def notices(self, count: int, pause: int) -> list[float]:
        """Return the seconds from a child's last act until the caller knows, one after another."""
        delays = []
        for _ in range(count):
            word = stamp(self._home)
            process = await asyncio.create_subprocess_exec(program("last_word"), word, str(pause))
            await process.wait()
            delays.append(time.monotonic() - told_at(word))
        return delays

    async def output(self, size: int) -> float:
        """Return the seconds in which so many bytes come through a StreamReader."""
        checker = Checker()
        begin = time.perf_counter()
        process = await asyncio.create_subprocess_exec(program("spout"), str(size), stdout=-1)
        if process.stdout is None:
            raise AssertionError("stdout was asked for as a pipe")
        while data := await process.stdout.read(256 * 1024):
            checker.check(data)
        await process.wait()
        if checker.count != size:
            raise AssertionError(f"{checker.count} bytes of {size}")
        return time.perf_counter() - begin

    async def lines(self, count: int) -> float:
        """Return the seconds in which so many short lines come, decoded."""
        begin = time.perf_counter()
        process = await asyncio.create_subprocess_exec("seq", str(count), stdout=-1)
        if process.stdout is None:
            raise AssertionError("stdout was asked for as a pipe")
        seen = 0
        async for line in process.stdout:
            line.decode()
            seen += 1
        await process.wait()
        if seen != count:
            raise AssertionError(f"{seen} lines of {count}")
        return time.perf_counter() - begin


if __name__ == "__main__":
    main(InProcess())
