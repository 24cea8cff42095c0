"""hopx_async: ``local()``, its agent a process of its own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import hopx_async as hopx
from benchmarks.native import Checker, program
from benchmarks.places import scratch
from benchmarks.readings import stamp, told_at
from benchmarks.worker import Contender, in_flight, main
from hopx_async.transport.base import Channel, SocketRefused
from hopx_async.transport.http import HttpTransport

__all__ = ["Ours"]

_HELLO = ["sh", "-c", "echo hi"]


class Ours(Contender):
    """A local sandbox."""

    async def open(self, where: str = "tmpfs", *, sockets: bool = True, **options: Any) -> None:
        """Open the sandbox, its state on a tmpfs or on a disk; maybe as if sockets were blocked."""
        if not sockets:
            setattr(HttpTransport, "connect", _blocked)  # noqa: B010  # mypy minds the other way
        self._home = Path(tempfile.mkdtemp(prefix="hopx-bench-", dir=scratch(where)))
        self._sandbox = await hopx.local(state_dir=self._home / "state", **options)
        self._handles: list[hopx.CommandHandle] = []

    async def close(self) -> None:
        """Close it."""
        if hasattr(self, "_sandbox"):
            await self._sandbox.aclose()
            shutil.rmtree(self._home, ignore_errors=True)

    async def _hello(self, _number: int = 0) -> None:
        handle = await self._sandbox.commands.start(_HELLO)
        end = await handle.wait()
        if not end.ok:
            raise AssertionError(end)

    async def commands(self, count: int, at_once: int) -> float:
        """Return the seconds that so many commands take, started and waited for."""
        return await in_flight(count, at_once, self._hello)

    async def notices(self, count: int, pause: int) -> list[float]:
        """Return the seconds from a child's last act until the caller knows, one after another."""
        return [await self._notice(pause) for _ in range(count)]

    async def _notice(self, pause: int) -> float:
        word = stamp(self._home)
        handle = await self._sandbox.commands.start([program("last_word"), word, str(pause)])
        await handle.wait()
        return time.monotonic() - told_at(word)

    async def notices_under_load(self, count: int, rate: float) -> list[float]:
        """Return the same while so many a second are started, late or not."""
        begin = time.monotonic()

        async def one(number: int) -> float:
            await asyncio.sleep(begin + number / rate - time.monotonic())
            return await self._notice(0)

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    async def output(self, size: int) -> float:
        """Return the seconds in which so many bytes come through events, each compared."""
        checker = Checker()
        begin = time.perf_counter()
        handle = await self._sandbox.commands.start([program("spout"), str(size)], overflow="wait")
        async for event in handle.events():
            if isinstance(event, hopx.Stdout):
                checker.check(event.data)
        if checker.count != size:
            raise AssertionError(f"{checker.count} bytes of {size}")
        return time.perf_counter() - begin

    async def lines(self, count: int) -> float:
        """Return the seconds in which so many short lines come."""
        seen = 0
        begin = time.perf_counter()
        handle = await self._sandbox.commands.start(["seq", str(count)])
        last = None
        async for line in handle.lines():
            seen += 1
            last = line
        if seen != count or last is None or last.text != str(count):
            raise AssertionError(f"{seen} lines of {count}, the last {last}")
        return time.perf_counter() - begin


async def _blocked(_self: HttpTransport) -> Channel:
    raise SocketRefused("refused by the benchmark, as by a proxy")


if __name__ == "__main__":
    main(Ours())
