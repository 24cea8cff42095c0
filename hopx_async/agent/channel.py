"""Lines of JSON between the agent and its root or keeper, over an inherited socket."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

__all__ = ["MAX_LINE", "Channel"]

#: A longer line ends the channel: the other side does not keep the agreement.
MAX_LINE = 32 * 1024 * 1024
# With more than this unsent, `room` waits.
_HIGH_WATER = 1024 * 1024


class Channel(asyncio.Protocol):
    """One end: hands over whole lines, in order.

    Incoming lines are handled as they come; `hold` keeps what was read (one read of
    the socket and one line at most) and leaves the rest to the other side.  What is
    sent waits in memory while the other side does not read: call `room` before.

    Args:
        on_line: Called with each line, without its newline.
        on_end: Called once with the reason when the other side has gone or broke the agreement.
    """

    def __init__(self, on_line: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        self._lines: deque[bytes] = deque()
        self._unsent = bytearray()
        self._held = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False

    async def open(self, sock: socket.socket) -> None:
        """Take over the connected *sock*."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=sock)

    def send(self, data: bytes) -> None:
        """Send one line; nothing once the channel has ended.

        The lines of one turn of the loop are written together at its end.
        """
        if self._transport is not None and not self._ended:
            if not self._unsent:
                asyncio.get_running_loop().call_soon(self._write)
            self._unsent += data
            self._unsent += b"\n"
            if len(self._unsent) >= _HIGH_WATER:
                self._write()

    def _write(self) -> None:
        transport = self._transport
        # One that breaks says so only later, and asyncio complains of each write until then.
        if transport is not None and self._unsent and not transport.is_closing():
            transport.write(bytes(self._unsent))
        self._unsent.clear()

    @property
    def has_room(self) -> bool:
        """Whether `room` returns at once."""
        return self._writable.is_set()

    async def room(self) -> None:
        """Wait until the other side has read enough. Cancelling it is safe."""
        await self._writable.wait()

    def hold(self) -> None:
        """Hand over no more lines until `release`."""
        self._held = True
        if self._transport is not None:
            self._transport.pause_reading()

    def release(self) -> None:
        """Hand over what was held back, and go on."""
        self._held = False
        self._hand_over()
        if self._transport is not None and not self._held and not self._ended:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the socket without calling ``on_end``. May be called again."""
        self._ended = True
        self._write()
        self._lines.clear()
        self._writable.set()
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Cut what came into lines."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = b"".join([*self._begun, whole[0]])
            self._begun.clear()
            self._begun_bytes = 0
        if rest:
            self._begun.append(rest)
            self._begun_bytes += len(rest)
        self._lines.extend(whole)
        if self._begun_bytes > MAX_LINE:
            self._end(f"a line of more than {MAX_LINE} bytes")
        elif not self._held:
            self._hand_over()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, unless it closed the channel itself."""
        self._end("the other side has gone" if exc is None else str(exc))

    def pause_writing(self) -> None:
        """Let `room` wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `room` return."""
        self._writable.set()

    def _hand_over(self) -> None:
        while self._lines and not self._held:
            try:
                self._on_line(self._lines.popleft())
            except ValueError as error:
                self._end(f"a line that is none of ours: {error}")

    def _end(self, reason: str) -> None:
        if not self._ended:
            self.close()
            self._on_end(reason)
