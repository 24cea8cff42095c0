"""A TCP proxy on loopback that does on demand what networks do by chance."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from hopx_async.errors import InvalidArgument, MisuseError

__all__ = ["PIECE_BYTES", "FaultProxy"]

#: The most bytes that are forwarded at once.
PIECE_BYTES = 64 * 1024


class FaultProxy:
    """Forwards connections to an agent, and breaks them when told to::

        async with FaultProxy(agent_url) as proxy:
            async with hopx.remote(proxy.url, token=token) as sandbox:
                proxy.cut()

    An agent refuses a ``Host`` that it does not know, so it is started with
    ``--allow-host`` and what `host` says.

    A fault acts on what is there and on what comes, until `heal`. Less than half a
    MiB of each direction of a connection is held; then the sender waits.

    Attributes:
        target: The URL that is forwarded to, None while nobody is there; may be changed.
        connections: How many connections came.
        cuts: How many were ended by `cut` or `refuse`.
    """

    def __init__(self, target: str | None = None) -> None:
        self.target = target
        self.connections = 0
        self.cuts = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._delay = 0.0
        self._corrupted = 0
        self._refusing = False
        self._passable = asyncio.Event()
        self._passable.set()

    @property
    def host(self) -> str:
        """Where it listens, as ``HOST:PORT``.

        Raises:
            MisuseError: Outside of the ``async with`` block.
        """
        if self._server is None:
            raise MisuseError("a FaultProxy listens within its async with block")
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        """Where it listens, for ``hopx_async.remote``.

        Raises:
            MisuseError: Outside of the ``async with`` block.
        """
        return f"http://{self.host}"

    # Faults.

    def cut(self) -> None:
        """Abort every connection; what was under way is lost. New ones are welcome."""
        self.cuts += len(self._open)
        self._abort()

    def refuse(self) -> None:
        """Cut, and abort each new connection at once, until `heal`."""
        self._refusing = True
        self.cut()

    def delay(self, seconds: float) -> None:
        """Hold each piece of up to 64 KiB for so long before it goes on, until `heal`.

        Args:
            seconds: Seconds, in each direction; also a bound on the throughput.

        Raises:
            InvalidArgument: If *seconds* is negative or not finite.
        """
        if not 0 <= seconds < float("inf"):
            raise InvalidArgument("seconds", repr(seconds), "a finite number, not below 0")
        self._delay = seconds

    def blackhole(self) -> None:
        """Accept connections and forward nothing, without a word, until `heal`.

        What was sent meanwhile goes on then, as after a partition of a network.
        """
        self._passable.clear()

    def corrupt(self, pieces: int = 1) -> None:
        """Turn over every bit of the first byte of the next *pieces* from the agent.

        A piece is what one read of the socket gives; where frames begin is not looked at.
        A byte of output may be hit, which nobody notices: TCP's checksums are all there is.

        Raises:
            InvalidArgument: If *pieces* is negative.
        """
        if pieces < 0:
            raise InvalidArgument("pieces", repr(pieces), "a number, not below 0")
        self._corrupted = pieces

    def heal(self) -> None:
        """End every fault; what was cut stays cut."""
        self._refusing = False
        self._delay = 0.0
        self._corrupted = 0
        self._passable.set()

    # Life.

    async def __aenter__(self) -> Self:
        """Begin to listen, on a port of loopback that was free."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE_BYTES)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening, and abort what is open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            while self._open:
                tasks = list(self._open)
                self._abort()
                await asyncio.wait(tasks)
            await server.wait_closed()

    def _abort(self) -> None:
        for task, writers in list(self._open.items()):
            for writer in writers:
                writer.transport.abort()
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusing or self._server is None:
            self.cuts += 1
            writer.transport.abort()
            return
        writers = [writer]
        task = asyncio.create_task(self._forward(reader, writers))
        self._open[task] = writers
        try:
            # The task may be cancelled by a cut; this one, made by the server, may not.
            await asyncio.wait([task])
        finally:
            del self._open[task]
            for each in writers:
                each.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]
    ) -> None:
        with contextlib.suppress(OSError):  # nobody is there, or one side broke off
            await self._passable.wait()
            host, port = _address(self.target)
            back, out = await asyncio.open_connection(host, port, limit=PIECE_BYTES)
            writers.append(out)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, out))
                group.create_task(self._copy(back, writers[0], corruptible=True))

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        corruptible: bool = False,
    ) -> None:
        try:
            while piece := await reader.read(PIECE_BYTES):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._passable.wait()
                if corruptible and self._corrupted:
                    self._corrupted -= 1
                    piece = bytes([piece[0] ^ 0xFF]) + piece[1:]
                writer.write(piece)
                await writer.drain()
            await self._passable.wait()
            writer.write_eof()
        except OSError:
            # The other side is to see it as well: whoever reads from it ends, too.
            writer.transport.abort()


def _address(target: str | None) -> tuple[str, int]:
    parts = urlsplit(target or "")
    if not parts.hostname or not parts.port:
        raise ConnectionRefusedError(f"no target: {target!r}")
    return parts.hostname, parts.port
