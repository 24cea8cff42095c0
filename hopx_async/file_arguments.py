"""Arguments of the calls of files, checked at the boundary, before anything is sent."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator
from pathlib import PurePosixPath

from hopx_async.errors import InvalidArgument
from hopx_async.transport.files import PIECE_BYTES

__all__ = [
    "MAX_PATH_BYTES",
    "check_bytes",
    "check_encoding",
    "check_mode",
    "content_of",
    "full_path",
    "pieces_of",
]

#: The longest path that a system takes, in bytes.
MAX_PATH_BYTES = 4096
_WORKSPACE = "/workspace"


def full_path(path: object) -> str:
    """Return *path* as it travels: whole, starting in the workspace if it is relative.

    Raises:
        InvalidArgument: If it is no path.
    """
    if isinstance(path, (str, PurePosixPath)) and str(path) and "\0" not in str(path):
        text = str(PurePosixPath(_WORKSPACE) / str(path))
        try:
            if len(text.encode()) <= MAX_PATH_BYTES:
                return text
        except UnicodeEncodeError:
            pass
    rule = f"a str or PurePosixPath in UTF-8, 1 to {MAX_PATH_BYTES} bytes, without NUL"
    raise InvalidArgument("path", ascii(path)[:200], rule)


def content_of(data: object) -> bytes:
    """Return what is to be written, a text in UTF-8.

    Raises:
        InvalidArgument: If it is neither bytes nor a text.
    """
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError as error:
            rule = f"a text that UTF-8 has: {error.reason}"
            raise InvalidArgument("data", "(not shown)", rule) from None
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise InvalidArgument("data", type(data).__name__, "bytes or a text")


async def pieces_of(content: bytes) -> AsyncIterator[bytes]:
    """Yield *content* piece by piece."""
    # In pieces, so that each of them that is taken counts as progress.
    for begin in range(0, len(content), PIECE_BYTES):
        yield content[begin : begin + PIECE_BYTES]


def check_bytes(parameter: str, value: object) -> None:
    """Raise `InvalidArgument` unless *value* is a number of bytes."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidArgument(parameter, repr(value), "a number of bytes, 0 or more")


def check_mode(mode: object) -> int:
    """Return permissions.

    Raises:
        InvalidArgument: If *mode* is none.
    """
    if not isinstance(mode, int) or isinstance(mode, bool) or not 0 <= mode <= 0o777:
        raise InvalidArgument("mode", repr(mode), "permissions as a number from 0 to 0o777")
    return mode


def check_encoding(encoding: object, errors: object) -> None:
    """Raise `InvalidArgument` unless there are such an encoding and such a way with errors."""
    try:
        codecs.lookup(encoding)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except (LookupError, TypeError, ValueError):
        raise InvalidArgument("encoding", repr(encoding), "the name of an encoding") from None
    try:
        codecs.lookup_error(errors)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except (LookupError, TypeError, ValueError):
        raise InvalidArgument("errors", repr(errors), "as of bytes.decode") from None
