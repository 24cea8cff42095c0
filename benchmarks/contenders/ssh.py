"""asyncssh, against a server of its own in another process."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

import asyncssh

from benchmarks.native import Checker, program
from benchmarks.places import scratch
from benchmarks.readings import stamp, told_at
from benchmarks.worker import Contender, in_flight, main

__all__ = ["Ssh"]


class Ssh(Contender):
    """One connection, a channel for each command; the default cipher."""

    async def open(self) -> None:
        """Start the server and connect."""
        self._home = Path(tempfile.mkdtemp(prefix="hopx-bench-", dir=scratch("tmpfs")))
        self._server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.contenders.ssh_server"), stdin=-1, stdout=-1
        )
        if self._server.stdout is None:
            raise AssertionError("stdout was asked for as a pipe")
        port = int(await self._server.stdout.readline())
        self._connection = await asyncssh.connect(
            "127.0.0.1", port, known_hosts=None, username="bench", client_keys=None, config=None
        )

    async def close(self) -> None:
        """Disconnect and end the server."""
        if hasattr(self, "_connection"):
            self._connection.close()
            await self._connection.wait_closed()
        if hasattr(self, "_server") and self._server.stdin is not None:
            self._server.stdin.close()
            await self._server.wait()
        if hasattr(self, "_home"):
            shutil.rmtree(self._home, ignore_errors=True)

    async def _hello(self, _number: int) -> None:
        done = await self._connection.run("echo hi")
        if done.stdout != "hi\n":
            raise AssertionError(done)

    async def commands(self, count: int, at_once: int) -> float:
        """Return the seconds that so many commands take, started and waited for."""
        return await in_flight(count, at_once, self._hello)

    async def notices(self, count: int, pause: int) -> list[float]:
        """Return the seconds from a child's last act until the caller knows, one after another."""
        delays = []
        for _ in range(count):
            word = stamp(self._home)
            # sh itself would be one process more between the last act and the exit.
            command = f"exec {shlex.quote(program('last_word'))} {shlex.quote(word)} {pause}"
            process = await self._connection.create_process(command)
            await process.wait()
            delays.append(time.monotonic() - told_at(word))
        return delays

    async def output(self, size: int) -> float:
        """Return the seconds in which so many bytes come."""
        checker = Checker()
        begin = time.perf_counter()
        command = f"exec {shlex.quote(program('spout'))} {size}"
        process = await self._connection.create_process(command, encoding=None)
        while data := await process.stdout.read(256 * 1024):
            checker.check(data)
        await process.wait()
        if checker.count != size:
            raise AssertionError(f"{checker.count} bytes of {size}")
        return time.perf_counter() - begin

    async def lines(self, count: int) -> float:
        """Return the seconds in which so many short lines come."""
        begin = time.perf_counter()
        process = await self._connection.create_process(f"exec seq {count}")
        seen = 0
        async for line in process.stdout:
            seen += line != ""  # how it tells the end
        await process.wait()
        if seen != count:
            raise AssertionError(f"{seen} lines of {count}")
        return time.perf_counter() - begin


if __name__ == "__main__":
    main(Ssh())
