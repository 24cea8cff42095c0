"""hopx-ai, HopX's own client, against our ``hopx-async serve`` (the service itself is far away)."""

from __future__ import annotations

import asyncio
import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.places import scratch
from benchmarks.worker import Contender, in_flight, main

__all__ = ["Hopx"]


class Hopx(Contender):
    """``commands.run(..., background=True)``: starts, and does not wait: there is no wait."""

    async def open(self) -> None:
        """Start the server and make a sandbox."""
        self._home = Path(tempfile.mkdtemp(prefix="hopx-bench-", dir=scratch("tmpfs")))
        self._server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hopx_async.cli", "serve", "--announce", "--port", "0"),
            *("--state-dir", str(self._home / "state")),
            stdout=-1,
        )
        if self._server.stdout is None:
            raise AssertionError("stdout was asked for as a pipe")
        said = json.loads(await self._server.stdout.readline())
        # It has no types of its own.
        theirs: Any = importlib.import_module("hopx_ai")
        self._sandbox: Any = await theirs.AsyncSandbox.create(
            "base", base_url=said["url"], api_key=said["api_key"]
        )

    async def close(self) -> None:
        """End the server, and with it the sandbox."""
        if hasattr(self, "_server"):
            self._server.terminate()
            await self._server.wait()
        if hasattr(self, "_home"):
            shutil.rmtree(self._home, ignore_errors=True)

    async def _hello(self, _number: int) -> None:
        await self._sandbox.commands.run("echo hi", background=True)

    async def commands(self, count: int, at_once: int) -> float:
        """Return the seconds that so many starts take."""
        return await in_flight(count, at_once, self._hello)


if __name__ == "__main__":
    main(Hopx())
