"""The agent's side of its root: lines of JSON, and the descriptors that come with some."""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections.abc import Callable

__all__ = ["RootLink"]

_READ = 65536
_MAX_LINE = 4 * 1024 * 1024
# Room for the descriptors that come with one read.
_CONTROL = socket.CMSG_SPACE(16 * array.array("i").itemsize)


class RootLink:
    """One end: hands over whole lines, in order.

    Args:
        on_line: Called with each line, without its newline.
        on_end: Called once with the reason when the root has gone or broke the agreement.
    """

    def __init__(self, on_line: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._on_end = on_end
        self._sock: socket.socket | None = None
        self._incoming = b""
        self._outgoing = b""
        self._fds: list[int] = []

    def open(self, sock: socket.socket) -> None:
        """Take over the connected *sock*."""
        sock.setblocking(False)
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock, self._read)

    def send(self, data: bytes) -> None:
        """Send one line; nothing once the link has ended."""
        if self._sock is not None:
            self._outgoing += data + b"\n"
            self._write()

    def take_fd(self) -> int | None:
        """Return the descriptor that came with the line being handled, None if none did."""
        return self._fds.pop(0) if self._fds else None

    def close(self) -> None:
        """Close the socket without calling ``on_end``. May be called again."""
        sock, self._sock = self._sock, None
        if sock is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(sock)
            loop.remove_writer(sock)
            sock.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def _read(self) -> None:
        if self._sock is None:
            return
        try:
            # socket.recv_fds would drop the flag.
            data, control, _, _ = self._sock.recvmsg(_READ, _CONTROL, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
            return
        for _, _, packed in control:
            fds = array.array("i")
            fds.frombytes(packed[: len(packed) // fds.itemsize * fds.itemsize])
            self._fds += fds
        if not data:
            self._end("the other side has gone")
            return
        *lines, self._incoming = (self._incoming + data).split(b"\n")
        self._hand_over(lines)

    def _hand_over(self, lines: list[bytes]) -> None:
        try:
            for line in lines:
                if self._sock is not None:
                    self._on_line(line)
        except ValueError as error:
            self._end(f"a line that is none of ours: {error}")
        if len(self._incoming) > _MAX_LINE:
            self._end(f"a line of more than {_MAX_LINE} bytes")

    def _write(self) -> None:
        if self._sock is None:
            return
        try:
            self._outgoing = self._outgoing[self._sock.send(self._outgoing) :]
        except BlockingIOError:
            pass
        except OSError:
            self._outgoing = b""  # it has gone, which reading tells
        loop = asyncio.get_running_loop()
        if self._outgoing:
            # What the agent says is an answer to a ping or rarer, so this stays small.
            loop.add_writer(self._sock, self._write)
        else:
            loop.remove_writer(self._sock)

    def _end(self, reason: str) -> None:
        if self._sock is not None:
            self.close()
            self._on_end(reason)
