"""This side's files, as what is sent is read from them and what comes is written to them.

The disk is only touched in threads.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from hopx_async.errors import InvalidArgument
from hopx_async.transport.files import PIECE_BYTES, Download

__all__ = ["SourceFile", "check_local_path", "check_target", "keep"]

_CLEANUP_SECONDS = 10.0


def check_local_path(path: object) -> Path:
    """Return a path of this side.

    Raises:
        InvalidArgument: If it is none.
    """
    if isinstance(path, (str, os.PathLike)):
        text = os.fspath(path)
        if isinstance(text, str) and text and "\0" not in text:
            return Path(text)
    raise InvalidArgument("local_path", ascii(path)[:200], "a str or a path of this machine")


class SourceFile:
    """A file that is sent.

    Attributes:
        size: Its bytes when it was opened.
    """

    def __init__(self, path: Path, file: anyio.AsyncFile[bytes], size: int) -> None:
        self._path = path
        self._file = file
        self.size = size

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path) -> AsyncGenerator[SourceFile]:
        """Open a file.

        Raises:
            OSError: If it cannot be opened.
            InvalidArgument: If it is a directory, a pipe or the like.
        """
        await anyio.to_thread.run_sync(_check_source, path)
        async with await anyio.open_file(path, "rb") as file:
            status = await anyio.to_thread.run_sync(os.fstat, file.wrapped.fileno())
            yield cls(path, file, status.st_size)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield its bytes from the beginning.

        Raises:
            InvalidArgument: If it has become shorter meanwhile.
        """
        await self._file.seek(0)
        left = self.size
        while left:
            piece = await self._file.read(min(left, PIECE_BYTES))
            if not piece:
                rule = "a file that does not become shorter while it is sent"
                raise InvalidArgument("local_path", repr(str(self._path)), rule)
            left -= len(piece)
            yield piece


async def check_target(path: Path) -> None:
    """Refuse what cannot become a file.

    Raises:
        InvalidArgument: If it is a directory, or in none.
    """
    await anyio.to_thread.run_sync(_check_target, path)


async def keep(download: Download, path: Path) -> int:
    """Write a download to *path*, whole or not at all; return its bytes.

    Cancelling it is safe: nothing is left of it.

    Raises:
        OSError: If it cannot be written.
        TransportError: If the rest does not come.
    """
    # A name has 255 bytes at most, and a character up to four of them.
    unfinished = path.with_name(f".{path.name[:50]}.{secrets.token_hex(8)}.part")
    size = 0
    try:
        async with await anyio.open_file(unfinished, "xb") as file:
            while piece := await download.receive():
                await file.write(piece)
                size += len(piece)
        await anyio.to_thread.run_sync(os.replace, unfinished, path)
    except BaseException:
        with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
            await anyio.to_thread.run_sync(partial(unfinished.unlink, missing_ok=True))
        raise
    return size


def _check_source(path: Path) -> None:
    # Opening a pipe would wait for its writer.
    if not stat.S_ISREG(path.stat().st_mode):
        raise InvalidArgument("local_path", repr(str(path)), "a regular file")


def _check_target(path: Path) -> None:
    if path.is_dir() or not path.name:
        raise InvalidArgument("local_path", repr(str(path)), "the name of a file, no directory")
    if not path.parent.is_dir():
        raise InvalidArgument("local_path", repr(str(path)), "a name in a directory that exists")
