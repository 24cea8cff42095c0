"""SWE-ReX, its remote runtime against its own server on loopback."""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import socket
import sys
from typing import Any

from benchmarks.worker import Contender, in_flight, main

__all__ = ["SweRex"]

_UP_SECONDS = 30.0


class SweRex(Contender):
    """``execute``, which waits for the end and brings the output."""

    async def open(self) -> None:
        """Start the server and wait until it answers."""
        # It binds a number that it is given.
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        token = secrets.token_hex(8)
        self._server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "swerex.server", "--host", "127.0.0.1"),
            *("--port", str(port), "--auth-token", token),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
        )
        remote: Any = importlib.import_module("swerex.runtime.remote")
        self._words: Any = importlib.import_module("swerex.runtime.abstract")
        self._runtime: Any = remote.RemoteRuntime(
            host="http://127.0.0.1", port=port, auth_token=token, timeout=_UP_SECONDS
        )
        async with asyncio.timeout(_UP_SECONDS):
            while not await self._runtime.is_alive(timeout=1):  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        """End the server."""
        if hasattr(self, "_server"):
            self._server.kill()
            await self._server.wait()

    async def _hello(self, _number: int) -> None:
        command = self._words.Command(command=["sh", "-c", "echo hi"])
        answer = await self._runtime.execute(command)
        if answer.exit_code != 0 or answer.stdout != "hi\n":
            raise AssertionError(answer)

    async def commands(self, count: int, at_once: int) -> float:
        """Return the seconds that so many commands take."""
        return await in_flight(count, at_once, self._hello)


if __name__ == "__main__":
    main(SweRex())
