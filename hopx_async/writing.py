"""What is sent to one command's stdin: whole, in order, once, whatever is cancelled or lost."""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from hopx_async.client import Way
from hopx_async.errors import BusyError, InvalidArgument, StdinClosed
from hopx_async.protocol import lifecycle

__all__ = ["MAX_OWED_BYTES", "StdinWriter", "as_bytes"]

#: Bytes of sends that were cancelled which wait to be sent before the next.
MAX_OWED_BYTES = 16 * 1024 * 1024


def as_bytes(parameter: str, data: Any) -> bytes:
    """Return what is to be sent; a text becomes UTF-8.

    Raises:
        InvalidArgument: If it is neither bytes nor a text that can be encoded.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    try:
        return data.encode() if isinstance(data, str) else _no_bytes(parameter, data)
    except UnicodeEncodeError:
        # What is typed is not to be shown.
        rule = "it can be encoded as UTF-8"
        raise InvalidArgument(parameter, f"{len(data)} characters", rule) from None


def _no_bytes(parameter: str, data: Any) -> bytes:
    raise InvalidArgument(parameter, type(data).__name__, "bytes or a text")


class StdinWriter:
    """The sending side of one command's stdin.

    What a send was given is owed until the far side has taken it: a send that is cancelled, or
    that nobody answered, is finished by the next one.

    Args:
        client: The way to the far side.
        process_id: The command.
        offset: How many bytes were sent to it before, None if that is to be asked.
    """

    def __init__(self, client: Way, process_id: str, offset: int | None) -> None:
        self._client = client
        self._process_id = process_id
        self._offset = offset
        self._owed: deque[memoryview] = deque()
        self._busy = False
        self._ended = False

    async def send(self, data: bytes) -> None:
        """Send *data* behind what is owed; returns when the command's side has it.

        Raises:
            StdinClosed: If the command takes no more input.
            BusyError: If another task sends, or too much is owed.
        """
        with self._alone():
            if self._ended:
                raise StdinClosed(
                    f"stdin of {self._process_id} was closed here", process_id=self._process_id
                )
            owed = sum(map(len, self._owed))
            if owed and owed + len(data) > MAX_OWED_BYTES:
                raise BusyError(f"{owed} bytes of cancelled sends to {self._process_id} wait")
            if data:
                self._owed.append(memoryview(data))
            await self._deliver(end=False)

    async def close(self) -> None:
        """Send what is owed, and the end of the input; nothing happens if that was done.

        Raises:
            BusyError: If another task sends.
        """
        with self._alone():
            self._ended = True
            try:
                await self._deliver(end=True)
            except StdinClosed:
                self._owed.clear()  # nobody reads it any more: as good as closed

    @contextmanager
    def _alone(self) -> Generator[None]:
        if self._busy:
            raise BusyError(f"another task is sending to {self._process_id}")
        self._busy = True
        try:
            yield
        except StdinClosed:
            self._owed.clear()
            raise
        finally:
            self._busy = False

    async def _deliver(self, *, end: bool) -> None:
        if self._offset is None:
            self._offset = await self._call(None, b"", eof=False)
        while self._owed or end:
            chunk = self._owed[0][: lifecycle.STDIN_BYTES] if self._owed else memoryview(b"")
            last = end and sum(map(len, self._owed)) == len(chunk)
            # Repeated with the same offset, it is not taken twice.
            offset = await self._call(self._offset, chunk, eof=last)
            taken = offset - self._offset
            if taken > len(chunk):
                self._offset = None
                raise BusyError(f"somebody else sends to {self._process_id}, too")
            self._take_off(taken)
            self._offset = offset
            if last and taken == len(chunk):
                return

    def _take_off(self, taken: int) -> None:
        if self._owed:
            rest = self._owed[0][taken:]
            if rest:
                self._owed[0] = rest
            else:
                self._owed.popleft()

    async def _call(self, offset: int | None, data: bytes | memoryview, *, eof: bool) -> int:
        text = b64encode(data).decode("ascii")
        answer = await self._client.call(
            "stdin", process_id=self._process_id, offset=offset, data=text, eof=eof
        )
        return int(answer["offset"])
