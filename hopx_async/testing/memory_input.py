"""What is typed into scripted commands: stdin with its backpressure, and terminal sizes."""

from __future__ import annotations

import base64
from typing import Any

import anyio
import anyio.lowlevel

from hopx_async.errors import InvalidArgument, StdinClosed, Unsupported
from hopx_async.protocol import lifecycle

__all__ = ["Interactive", "MemoryInput"]

_END_OF_TRANSMISSION = b"\x04"


class MemoryInput:
    """The stdin and the terminal of one scripted command.

    Attributes:
        size: Rows and columns of the terminal, None without one.

    Args:
        spec: The full spec of the command.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self._process_id: str = spec["process_id"]
        self.size: tuple[int, int] | None = None
        if spec.get("pty"):
            self.size = (spec["pty"][0], spec["pty"][1])
        self._over = False
        self._open = bool(spec.get("stdin") or spec.get("pty"))
        self._closed = not self._open
        self._offset = 0
        self._data = b""
        self._changed = anyio.Event()

    async def read(self, size: int) -> bytes:
        """Return at least one and at most *size* bytes, or ``b""`` at the end of the input."""
        await anyio.lowlevel.checkpoint()
        while not self._data and not self._closed:
            await self._changed.wait()
        data, self._data = self._data[:size], self._data[size:]
        self._ring()
        return data

    async def read_line(self) -> bytes:
        """Return the next line with its newline; less at the end of the input.

        A line longer than what is held comes in pieces.
        """
        await anyio.lowlevel.checkpoint()
        while b"\n" not in self._data and not self._closed and not self._full:
            await self._changed.wait()
        line, newline, self._data = self._data.partition(b"\n")
        self._ring()
        return line + newline

    async def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Carry out a call ``stdin`` or ``resize``."""
        if method == "stdin":
            data = base64.b64decode(params["data"])
            return {"offset": await self.take(params["offset"], data, eof=params["eof"])}
        if method != "resize":
            raise ValueError(f"no such call: {method}")
        if self.size is None:
            raise Unsupported(f"{self._process_id} has no terminal: it was not started with pty")
        if not self._over:
            self.size = (params["rows"], params["cols"])
        return {"delivered": not self._over}

    async def take(self, offset: int | None, data: bytes, *, eof: bool) -> int:
        """Take what is sent, once, and wait until the script has read what does not fit.

        Raises:
            StdinClosed: If nothing more can be sent.
        """
        if not self._open:
            raise self._refusal("has no stdin: it was not started with stdin=True")
        if offset is None:
            return self._offset
        if offset > self._offset:
            raise InvalidArgument("offset", str(offset), f"not behind {self._offset}")
        while self._full and not self._closed and len(data) > self._offset - offset:
            await self._changed.wait()
        new = data[self._offset - offset :]
        if new and self._closed:
            raise self._refusal("takes no more input")
        self._data += new
        self._offset += len(new)
        if eof and not self._closed:
            self._data += _END_OF_TRANSMISSION if self.size else b""
            self._closed = True
        self._ring()
        return self._offset

    def close(self) -> None:
        """End it with its command."""
        self._over = self._closed = True
        self._ring()

    @property
    def _full(self) -> bool:
        return len(self._data) >= lifecycle.STDIN_BYTES

    def _refusal(self, problem: str) -> StdinClosed:
        return StdinClosed(f"{self._process_id} {problem}", process_id=self._process_id)

    def _ring(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class Interactive:
    """What a script may be sent.

    Attributes:
        input: What was sent to it; `read_stdin` and `read_line` read it.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        if spec.get("limits"):
            raise Unsupported("a script in memory has nothing that could be limited")
        self.input = MemoryInput(spec)
        self._awaited: dict[str, anyio.Event] = {}

    @property
    def terminal_size(self) -> tuple[int, int] | None:
        """Rows and columns of its terminal by now, None without one."""
        return self.input.size

    async def read_stdin(self, size: int = lifecycle.STDIN_BYTES) -> bytes:
        """Wait for what is sent: 1 to *size* bytes, ``b""`` at the end or without stdin."""
        return await self.input.read(size)

    async def read_line(self) -> bytes:
        """Wait for a line that is sent, with its newline; less at the end of the input."""
        return await self.input.read_line()

    async def signalled(self, name: str) -> None:
        """Wait for a signal such as ``"SIGUSR1"``; from then on it does not end the script."""
        await self._awaited.setdefault(name, anyio.Event()).wait()

    def caught(self, name: str) -> bool:
        """Take a signal, if the script waits or waited for it; return whether it did."""
        if name in self._awaited:
            self._awaited[name].set()
        return name in self._awaited
