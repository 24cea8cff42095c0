"""hopx_async on an emulated stock agent of HopX's: commands kept by markers, found by polling."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

import hopx_async as hopx
from benchmarks.contenders.ours import Ours
from benchmarks.places import scratch
from benchmarks.worker import main

__all__ = ["Stock"]


class Stock(Ours):
    """A sandbox of ``hopx-async serve --agent stock``, with the quota that HopX publishes."""

    async def open(self, where: str = "tmpfs", *, sockets: bool = True, **options: Any) -> None:
        """Start the server and make a sandbox; count every request from then on."""
        self._home = Path(tempfile.mkdtemp(prefix="hopx-bench-", dir=scratch(where)))
        self._server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hopx_async.cli", "serve", "--announce", "--port", "0"),
            *("--agent", "stock", "--state-dir", str(self._home / "state")),
            stdout=-1,
        )
        if self._server.stdout is None:
            raise AssertionError("stdout was asked for as a pipe")
        said = json.loads(await self._server.stdout.readline())
        self._sandbox = await hopx.Sandbox.create(base_url=said["url"], api_key=said["api_key"])
        self._handles: list[hopx.CommandHandle] = []
        self._made = 0
        sent = aiohttp.ClientSession._request  # noqa: SLF001  # a benchmark may look inside

        def counted(session: aiohttp.ClientSession, *args: Any, **more: Any) -> Any:
            self._made += 1
            return sent(session, *args, **more)

        setattr(aiohttp.ClientSession, "_request", counted)  # noqa: B010  # mypy minds it else

    async def close(self) -> None:
        """Close the sandbox, then the server."""
        if hasattr(self, "_sandbox"):
            await self._sandbox.aclose()
        if hasattr(self, "_server"):
            self._server.terminate()
            await self._server.wait()
        if hasattr(self, "_home"):
            shutil.rmtree(self._home, ignore_errors=True)

    async def requests(self) -> int:
        """Return how many requests were made so far."""
        return self._made

    async def idle_requests(self, handles: int, settle: float, seconds: float) -> float:
        """Return the requests a second while so many commands run, are waited for, and idle."""
        started = [self._sandbox.commands.start(["sleep", "3600"]) for _ in range(handles)]
        self._handles = list(await asyncio.gather(*started))
        waiting = [asyncio.create_task(handle.wait()) for handle in self._handles]
        await asyncio.sleep(settle)
        before = self._made
        await asyncio.sleep(seconds)
        rate = (self._made - before) / seconds
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.gather(*(handle.kill(grace=0) for handle in self._handles))
        return rate


if __name__ == "__main__":
    main(Stock())
