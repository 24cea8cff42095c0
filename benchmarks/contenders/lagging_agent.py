"""Our root and its agent, which also writes down how late its event loop is."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.lag import watch_lag
from hopx_async.agent import server
from hopx_async.keeper import root

__all__ = ["PROGRAM", "read_lags"]

#: What `RootProcess` is to run.
PROGRAM = ("benchmarks.contenders.lagging_agent",)
_LAG = struct.Struct("d")
_FILE = "lags"


class _Lagging(server.Agent):
    """An agent that appends what it sees to a file of the state directory."""

    def __init__(self, config: server.Config, tell_root: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(config, tell_root)
        self._file = os.open(Path(config.state_dir, _FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def serve(self, listen: socket.socket) -> None:
        """Serve, and watch from then on."""
        await super().serve(listen)
        self._watching = asyncio.create_task(
            watch_lag(lambda lag: os.write(self._file, _LAG.pack(lag)))
        )

    async def aclose(self) -> None:
        """Watch no more."""
        if hasattr(self, "_watching"):
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await super().aclose()


def read_lags(state_dir: Path, offset: int) -> tuple[list[float], int]:
    """Return the lags in seconds that were written behind *offset*, and where to go on."""
    with (state_dir / _FILE).open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: len(data) // _LAG.size * _LAG.size]
    return [lag for (lag,) in _LAG.iter_unpack(whole)], offset + len(whole)


if __name__ == "__main__":
    if "--listen-fd" in sys.argv:
        setattr(server, "Agent", _Lagging)  # noqa: B010  # mypy minds the other way
        status = server.main()
        os._exit(status)
    sys.exit(root.main(agent_command=[sys.executable, "-m", *PROGRAM]))
