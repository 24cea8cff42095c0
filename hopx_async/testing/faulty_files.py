"""Files behind faults: calls that are held, repeated or cut off, and watches that break."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

import anyio

from hopx_async.errors import ConnectionLost
from hopx_async.protocol.file_answers import FileEvent, FileInfo
from hopx_async.transport.files import Changes, Download, FileStore

__all__ = ["Carrier", "FaultyFiles"]

T = TypeVar("T")
Held = TypeVar("Held", Download, Changes)
# For ending what was opened for nobody.
_CLOSE_SECONDS = 3.0


class Carrier(Protocol):
    """What carries out a call, and breaks it: `Faults`."""

    async def carry(self, act: Callable[[], Awaitable[T]], *, repeatable: bool = True) -> T:
        """Carry out one call, with its faults."""
        ...


class FaultyFiles(FileStore):
    """The files of another far side, behind faults."""

    def __init__(self, inner: FileStore, faults: Carrier) -> None:
        self._inner = inner
        self._faults = faults

    async def download(self, path: str) -> Download:
        """Open a file; once, for an open file is held."""
        opened = await self._opened(lambda: self._inner.download(path))
        return _FaultyDownload(opened, self._faults)

    async def upload(
        self, path: str, pieces: Callable[[], AsyncIterator[bytes]], size: int
    ) -> None:
        """Make a file, whole or not at all."""
        await self._faults.carry(lambda: self._inner.upload(path, pieces, size))

    async def write(self, path: str, data: bytes, *, mode: int, overwrite: bool) -> None:
        """Make a file; once if it is not to replace another, which it would take itself for."""
        await self._faults.carry(
            lambda: self._inner.write(path, data, mode=mode, overwrite=overwrite),
            repeatable=overwrite,
        )

    async def list(self, path: str, after: str | None) -> tuple[list[FileInfo], str | None]:
        """Return a page of a directory."""
        return await self._faults.carry(lambda: self._inner.list(path, after))

    async def exists(self, path: str) -> bool:
        """Return whether something is there."""
        return await self._faults.carry(lambda: self._inner.exists(path))

    async def mkdir(self, path: str) -> None:
        """Make a directory."""
        await self._faults.carry(lambda: self._inner.mkdir(path))

    async def remove(self, path: str) -> None:
        """Remove what is there; once, for then it is not there any more."""
        await self._faults.carry(lambda: self._inner.remove(path), repeatable=False)

    async def watch(self, path: str) -> Changes:
        """Watch a file or a directory; once, for a watch is held."""
        changes = await self._opened(lambda: self._inner.watch(path))
        return _FaultyChanges(changes, self._faults)

    async def aclose(self) -> None:
        """End what is still open there."""
        await self._inner.aclose()

    async def _opened(self, act: Callable[[], Awaitable[Held]]) -> Held:
        """Carry out a call that opens something; if its answer is lost, that is closed again."""
        opened: list[Held] = []

        async def opening() -> Held:
            opened.append(await act())
            return opened[0]

        try:
            return await self._faults.carry(opening, repeatable=False)
        except BaseException:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                for one in opened:
                    await one.aclose()
            raise


class _FaultyDownload(Download):
    def __init__(self, inner: Download, faults: Carrier) -> None:
        self._inner = inner
        self._faults = faults

    async def receive(self) -> bytes:
        return await self._faults.carry(self._inner.receive, repeatable=False)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _FaultyChanges(Changes):
    def __init__(self, inner: Changes, faults: Carrier) -> None:
        self._inner = inner
        self._faults = faults
        self._broken = False

    async def receive(self) -> FileEvent:
        if self._broken:
            raise ConnectionLost("the watch was cut on purpose")
        try:
            return await self._faults.carry(self._inner.receive, repeatable=False)
        except ConnectionLost:
            self._broken = True
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    def abandon(self) -> None:
        self._inner.abandon()
