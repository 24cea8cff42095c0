"""Bodies of requests that can be sent again: each is made anew for each time."""

from __future__ import annotations

import io
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

import msgspec

__all__ = ["Body", "JsonBody", "MultipartBody", "RawBody"]

# Plain bytes of more than this make aiohttp warn.
_PLAIN_BYTES = 1024 * 1024


class Body(ABC):
    """What goes with a request.

    Attributes:
        headers: What the request says of it.
    """

    headers: Mapping[str, str]

    @abstractmethod
    def content(self) -> AsyncIterator[bytes] | bytes | io.BytesIO:
        """Return it from the beginning."""


class RawBody(Body):
    """A body that is bytes."""

    def __init__(self, data: bytes, kind: str = "application/json") -> None:
        self._data = data
        self.headers = {"Content-Type": kind}

    def content(self) -> bytes | io.BytesIO:
        """Return it from the beginning."""
        return io.BytesIO(self._data) if len(self._data) > _PLAIN_BYTES else self._data


class JsonBody(Body):
    """A body that is one object."""

    def __init__(self, value: object) -> None:
        self._value = value
        self.headers = {"Content-Type": "application/json"}

    def content(self) -> bytes | io.BytesIO:
        """Return it, anew each time."""
        return RawBody(msgspec.json.encode(self._value)).content()


class MultipartBody(Body):
    """A form with a path and a file, whose bytes are read while they are sent.

    Attributes:
        failure: What reading them raised.
        taken: Called whenever a piece is taken.

    Args:
        path: Where the file is to be.
        pieces: Returns its bytes from the beginning.
        size: How many these are.
    """

    def __init__(self, path: str, pieces: Callable[[], AsyncIterator[bytes]], size: int) -> None:
        edge = secrets.token_hex(16)
        line = f"--{edge}\r\nContent-Disposition: form-data; name="
        first = f'{line}"path"\r\n\r\n{path}\r\n{line}"file"; filename="file"\r\n'
        self._head = f"{first}Content-Type: application/octet-stream\r\n\r\n".encode()
        self._tail = f"\r\n--{edge}--\r\n".encode()
        self._pieces = pieces
        self.taken: Callable[[], None] = lambda: None
        self.failure: Exception | None = None
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={edge}",
            "Content-Length": str(len(self._head) + size + len(self._tail)),
        }

    def content(self) -> AsyncIterator[bytes]:
        """Return all of it from the beginning, as it is read."""
        return self._parts()

    async def _parts(self) -> AsyncGenerator[bytes]:
        yield self._head
        try:
            async for piece in self._pieces():
                self.taken()
                yield piece
        except Exception as error:
            self.failure = error
            raise
        yield self._tail
