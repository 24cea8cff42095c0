"""A TCP proxy on loopback whose connections can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

__all__ = ["CuttingProxy", "RefusingProxy"]


class CuttingProxy:
    """Forwards bytes between a port of its own and a target, until `cut`.

    Attributes:
        port: Where it listens.
        target: Where it forwards to; set before the first connection.
        cuts: How many connections were cut.
    """

    def __init__(self) -> None:
        self.port = 0
        self.target: tuple[str, int] = ("127.0.0.1", 0)
        self.cuts = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Abort every connection in both directions."""
        self.cuts += len(self._writers) // 2
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            head = await self._admit(reader, writer)
            there, out = await asyncio.open_connection(*self.target)
            self._writers.add(out)
            try:
                out.write(head)
                await asyncio.gather(_copy(reader, out), _copy(there, writer))
            finally:
                out.transport.abort()
                self._writers.discard(out)
        except OSError:
            pass  # nobody is there: as if the connection had been cut
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Return what was read of a connection to see whether it may pass; OSError: it may not."""
        return b""


class RefusingProxy(CuttingProxy):
    """Lets no websocket through, as proxies do that know only requests and answers.

    Attributes:
        refusals: How many upgrades it refused.
        open: Whether it lets sockets through all the same.
        status: What it answers to an upgrade.
    """

    def __init__(self, status: int = 403) -> None:
        super().__init__()
        self.refusals = 0
        self.open = False
        self.status = status

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("it left before it had asked") from error
        if self.open or b"\r\nupgrade: websocket\r\n" not in head.lower():
            return head
        self.refusals += 1
        words = f"HTTP/1.1 {self.status} No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        writer.write(words.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        raise ConnectionError("no websocket here")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(256 * 1024):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
