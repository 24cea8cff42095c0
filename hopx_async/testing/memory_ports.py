"""The ports of a scripted command: open when its script says so, as an agent would see it."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from hopx_async.model import refuse
from hopx_async.protocol import ports

__all__ = ["MemoryPorts"]


class MemoryPorts:
    """What a scripted command listens on. Nothing listens: it is only said."""

    def __init__(self) -> None:
        self._open: dict[int, Mapping[str, int]] = {}
        self._ended = False
        self._news = anyio.Event()

    def open(self, port: int, paths: Mapping[str, int]) -> None:
        """Listen on *port*, and answer each of *paths* with its status, others with 404."""
        self._open[port] = paths
        news, self._news = self._news, anyio.Event()
        news.set()

    def close(self) -> None:
        """Note that the command has ended; what it listened on goes on."""
        self._ended = True
        self._news.set()

    async def wait(self, port: int, path: str | None) -> dict[str, bool]:
        """Wait until a port is open, and answers, or the command has ended: as ``wait_port``."""
        refuse(ports.problem_with_port(port))
        refuse(ports.problem_with_path(path))
        assert isinstance(port, int)
        assert path is None or isinstance(path, str)
        while True:
            paths = self._open.get(port)
            if paths is not None and (path is None or 200 <= paths.get(path, 404) < 400):
                return {"ready": True, "ended": self._ended}
            if self._ended:
                return {"ready": False, "ended": True}
            await self._news.wait()
