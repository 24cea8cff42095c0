"""Newline-delimited JSON over a Unix stream socket that never blocks its owner."""

from __future__ import annotations

import array
import json
import os
import select
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hopx_async.keeper.loop import Loop

__all__ = ["HIGH_WATER", "MAX_LINE", "Channel", "compact"]

#: A longer line ends the channel: the other side does not keep the agreement.
#: execve takes about 2 MiB of arguments and environment; JSON makes up to six bytes of one.
MAX_LINE = 16 * 1024 * 1024
#: With more than this unsent, a channel takes no more requests until its peer has read.
HIGH_WATER = 1024 * 1024
# More would be mapped and unmapped anew for each message.
_READ = 64 * 1024
# Room for the descriptors that come with one read.
_CONTROL = socket.CMSG_SPACE(4 * array.array("i").itemsize)

compact = json.JSONEncoder(separators=(",", ":")).encode


class Channel:
    """One end: hands over whole messages, keeps what the peer does not read yet.

    What :meth:`send` is given is kept until it is sent. The owner bounds it by looking at
    :attr:`backlog`, and by not reading requests (:meth:`hold`) while it is high.

    Args:
        sock: A connected Unix stream socket; the channel closes it.
        loop: Where it waits.
        on_message: Called with each message, a JSON object.
        on_end: Called once when the peer has gone or broke the agreement.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: Loop,
        on_message: Callable[[dict[str, object]], object],
        on_end: Callable[[], object],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        self._on_message = on_message
        self._on_end = on_end
        self._incoming: list[bytes] = []
        self._incoming_bytes = 0
        self._outgoing = bytearray()
        self._held = False
        self._fds: list[int] = []
        self._mask = select.EPOLLIN
        self.closed = False
        loop.add(sock.fileno(), self._ready, self._mask)

    @property
    def backlog(self) -> int:
        """Bytes that the peer has not taken yet."""
        return len(self._outgoing)

    def send(self, text: str) -> None:
        """Send one line, or several joined by newlines; nothing once it is closed."""
        if self.closed:
            return
        data = text.encode("ascii") + b"\n"
        if not self._outgoing:
            data = data[self._write(data) :]
        self._outgoing += data
        self._choose_events()

    def send_json(self, message: dict[str, object]) -> None:
        """Send *message* as one line."""
        self.send(compact(message))

    def send_with_fd(self, message: dict[str, object], fd: int) -> None:
        """Send *message* with a copy of the descriptor *fd*.

        Raises:
            OSError: If the peer has gone or has not read for very long.
        """
        self._sock.setblocking(True)
        self._sock.settimeout(5.0)
        try:
            self._sock.sendall(self._outgoing)
            self._outgoing.clear()
            data = compact(message).encode("ascii") + b"\n"
            self._sock.sendall(data[socket.send_fds(self._sock, [data], [fd]) :])
        finally:
            self._sock.setblocking(False)
            self._choose_events()

    def take_fd(self) -> int | None:
        """Return the descriptor that came with the message being handled, None if none did."""
        return self._fds.pop(0) if self._fds else None

    def hold(self, held: bool) -> None:
        """Take no more messages (true), or take them again (false)."""
        if held != self._held and not self.closed:
            self._held = held
            self._choose_events()

    def close(self) -> None:
        """Close the socket without calling ``on_end``. May be called again."""
        if not self.closed:
            self.closed = True
            self._outgoing.clear()
            self._loop.remove(self._sock.fileno())
            self._sock.close()
            for fd in self._fds:
                os.close(fd)
            self._fds.clear()

    def _end(self) -> None:
        if not self.closed:
            self.close()
            self._on_end()

    def _choose_events(self) -> None:
        mask = (0 if self._held else select.EPOLLIN) | (select.EPOLLOUT if self._outgoing else 0)
        if mask != self._mask and not self.closed:
            self._mask = mask
            self._loop.modify(self._sock.fileno(), mask)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            del self._outgoing[: self._write(self._outgoing)]
            self._choose_events()
        if events & select.EPOLLIN:
            self._read()
        elif events & (select.EPOLLHUP | select.EPOLLERR):
            self._end()

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            # The peer has gone; the loop says so as soon as what it sent before is read.
            return len(data)

    def _read(self) -> None:
        try:
            # socket.recv_fds would drop the flag, and commands would inherit what came.
            data, control, _, _ = self._sock.recvmsg(_READ, _CONTROL, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, control = b"", []
        for _, _, packed in control:
            fds = array.array("i")
            fds.frombytes(packed[: len(packed) // fds.itemsize * fds.itemsize])
            self._fds += fds
        if not data:
            self._end()
            return
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = b"".join([*self._incoming, whole[0]])
            self._incoming.clear()
            self._incoming_bytes = 0
        if rest:
            self._incoming.append(rest)
            self._incoming_bytes += len(rest)
        self._hand_over(whole)

    def _hand_over(self, lines: list[bytes]) -> None:
        for line in lines:
            if self.closed:
                return
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                self._end()
                return
            self._on_message(message)
        if self._incoming_bytes > MAX_LINE:
            self._end()
