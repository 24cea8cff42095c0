"""What a websocket's parser reads from: chunks as they came, each byte copied once at most.

The library's own reader appends every chunk to one buffer, cuts a frame out of it and
moves the rest: for frames of some 200 KiB that is most of what receiving them costs.
What takes its place there is no promise of the library's: it is tried out once, and where it
does not work any more, the library's own reader stays, and the link is only slower.
"""

from __future__ import annotations

import hashlib
import logging
from base64 import b64encode
from collections import deque
from collections.abc import Generator
from functools import cache
from typing import TYPE_CHECKING, Any

from websockets.client import ClientProtocol
from websockets.protocol import Protocol
from websockets.uri import parse_uri

if TYPE_CHECKING:
    from websockets.streams import StreamReader
else:
    try:
        from websockets.streams import StreamReader
    except ImportError:  # a version that reads in another way
        StreamReader = object

__all__ = ["ByteReader", "fits", "use_byte_reader"]

_log = logging.getLogger("hopx_async")
# RFC 6455, 1.3.
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ANSWER = "HTTP/1.1 101 ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
# Three sizes of frames, one of them in two parts, and an end.
_CONTENTS = [b"a", b"b" * 126, b"c" * 70_000, b"d", b"e"]
_FRAMES = (
    b"\x82\x01a", b"\x82\x7e\x00\x7e" + _CONTENTS[1],
    b"\x82\x7f" + (70_000).to_bytes(8, "big") + _CONTENTS[2],
    b"\x02\x01d", b"\x80\x01e", b"\x88\x02\x03\xe8",
)  # fmt: skip
_REFUSAL = b"HTTP/1.1 401 no\r\nContent-Length: 5\r\n\r\nwhat?"
_CHUNK = 100


class ByteReader(StreamReader):
    """A `StreamReader` that keeps chunks apart while frames are read, and lines as it did.

    It holds what was fed and not read, as that one does: its feeder bounds it.
    """

    def __init__(self) -> None:
        super().__init__()
        # While frames are read, chunks; while lines are, the buffer of the class above.
        self._chunks: deque[bytes | bytearray] | None = None
        self._place = 0  # bytes read of the first chunk
        self._size = 0

    # What else bounds them differs between versions of the library.
    def read_line(self, *bounds: Any, **more: Any) -> Generator[None, None, bytearray]:
        """Read a line, as the handshake has them."""
        self._join()
        return (yield from super().read_line(*bounds, **more))

    def read_to_eof(self, *bounds: Any, **more: Any) -> Generator[None, None, bytearray]:
        """Read the rest, as a refusal has one."""
        self._join()
        return (yield from super().read_to_eof(*bounds, **more))

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        """Read *n* bytes."""
        if self._chunks is None:
            self._split()
        while self._size < n:
            if self.eof:
                raise EOFError(f"stream ends after {self._size} bytes, expected {n} bytes")
            yield
        # Whoever takes them asks for bytes in the end, and has them here already.
        return self._take(n)  # type: ignore[return-value]

    def at_eof(self) -> Generator[None, None, bool]:
        """Tell whether everything was read; waits for something if that is not known."""
        while not self._size:
            if self._chunks is None or self.eof:
                return (yield from super().at_eof())
            yield
        return False

    def feed_data(self, data: bytes | bytearray) -> None:
        """Add a chunk."""
        if self._chunks is None:
            super().feed_data(data)
        elif self.eof:
            raise EOFError("stream ended")
        elif data:
            self._chunks.append(data)
            self._size += len(data)

    def discard(self) -> None:
        """Drop what was not read."""
        super().discard()
        if self._chunks is not None:
            self._chunks.clear()
            self._place = self._size = 0

    def _take(self, n: int) -> bytes:
        chunks = self._chunks
        if not n or not chunks:
            return b""
        self._size -= n
        first = chunks[0]
        begin, end = self._place, self._place + n
        if end <= len(first):
            self._place = end
            if end == len(first):
                chunks.popleft()
                self._place = 0
            return bytes(first[begin:end])
        taken = [memoryview(first)[begin:]]
        n -= len(taken[0])
        chunks.popleft()
        while n >= len(chunks[0]):
            taken.append(memoryview(chunks.popleft()))
            n -= len(taken[-1])
            if not n:
                break
        if n:
            taken.append(memoryview(chunks[0])[:n])
        self._place = n
        return b"".join(taken)

    def _split(self) -> None:
        self._chunks = deque([bytes(self.buffer)] if self.buffer else [])
        self._size = len(self.buffer)
        self._place = 0
        del self.buffer[:]

    def _join(self) -> None:
        if self._chunks is not None:
            self.buffer += self._take(self._size)
            self._chunks = None
            self._size = 0


def use_byte_reader(protocol: Protocol) -> None:
    """Let a protocol that was fed nothing yet read from a `ByteReader`, if one fits."""
    if fits():
        _put(protocol)


@cache
def fits() -> bool:
    """Whether the library's parser works with a `ByteReader`; tried once, on a few frames."""
    error: Exception | None = None
    try:
        good = _tried()
    except Exception as raised:  # noqa: BLE001  # whatever has changed there
        good, error = False, raised
    if not good:
        _log.info("this version of websockets reads in another way, the link is slower: %r", error)
    return good


def _put(protocol: Protocol) -> None:
    protocol.reader = ByteReader()
    # The parser holds on to the reader that it began with.
    protocol.parser.close()
    protocol.parser = protocol.parse()
    next(protocol.parser)


def _tried() -> bool:
    opened, refused = (ClientProtocol(parse_uri("ws://host/")) for _ in range(2))
    _put(opened)
    _put(refused)
    key = opened.connect().headers["Sec-WebSocket-Key"]
    accept = b64encode(hashlib.sha1((key + _ACCEPT).encode(), usedforsecurity=False).digest())
    sent = f"{_ANSWER}Sec-WebSocket-Accept: {accept.decode()}\r\n\r\n".encode()
    sent += b"".join(_FRAMES)
    for at in range(0, len(sent), _CHUNK):
        opened.receive_data(sent[at : at + _CHUNK])
    opened.receive_eof()
    refused.receive_data(_REFUSAL)
    frames: list[Any] = opened.events_received()[1:]
    answers: list[Any] = refused.events_received()
    said = [bytes(frame.data) for frame in frames] + [bytes(one.body) for one in answers]
    return said == [*_CONTENTS, b"\x03\xe8", b"what?"] and opened.close_code == 1000
