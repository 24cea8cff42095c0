"""The files of a sandbox: ``sandbox.files``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePosixPath
from typing import TypeVar

from hopx_async.client import AgentClient
from hopx_async.errors import (
    AgentFault,
    FileNotFound,
    InvalidArgument,
    RemoteProtocolError,
    Unsupported,
)
from hopx_async.file_arguments import (
    check_bytes,
    check_encoding,
    check_mode,
    content_of,
    full_path,
    pieces_of,
)
from hopx_async.local_files import SourceFile, check_local_path, check_target, keep
from hopx_async.model import Capabilities
from hopx_async.protocol.file_answers import FileInfo
from hopx_async.transport.files import FileStore
from hopx_async.watching import FileWatch

__all__ = ["MAX_BYTES", "MAX_WRITE_BYTES", "Files"]

#: Bytes of a file that `Files.read` holds.
MAX_BYTES = 64 * 1024 * 1024
#: Bytes that `Files.write` sends where a mode or not to overwrite is asked for.
MAX_WRITE_BYTES = 16 * 1024 * 1024
_MODE = 0o644
_MAX_PAGES = 1000
_FAULT = 500

T = TypeVar("T")
_Path = str | PurePosixPath


class Files:
    """The files of one sandbox: ``sandbox.files``.

    A path is a text or a `PurePosixPath`; a relative one starts in the sandbox's workspace,
    which is ``/workspace``. Bytes are exact both ways, whatever they look like. What is
    written appears whole or not at all, together with the directories above it.

    Where nobody answers, calls are tried again, as all calls are; only `remove`, and
    `write` with *overwrite* = False, are not repeated once they may have been carried out,
    and raise the `TransportError`. Cancelling a call is safe; the far side may or may not
    have carried it out.
    """

    def __init__(self, client: AgentClient, capabilities: Capabilities) -> None:
        self._client = client
        self._capabilities = capabilities

    def __repr__(self) -> str:
        return f"<Files of {self._client.sandbox_id}>"

    async def read(self, path: _Path, *, max_bytes: int = MAX_BYTES) -> bytes:
        """Return the bytes of a file.

        Args:
            path: The file.
            max_bytes: What may be held in memory; `download` takes files of any size.

        Raises:
            FileNotFound: If there is none.
            PathNotAllowed: If it leads out of what the sandbox lets be read.
            InvalidArgument: If *path* is no path or no file, or has more than *max_bytes*.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        there = full_path(path)
        check_bytes("max_bytes", max_bytes)
        store = self._store()
        return await self._call(lambda: _read(store, there, max_bytes))

    async def read_text(self, path: _Path, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return a file as text; newlines stay as they are.

        Args:
            path: The file.
            encoding: As of ``bytes.decode``.
            errors: As of ``bytes.decode``.

        Raises:
            UnicodeDecodeError: If it is not in *encoding*.
            FileNotFound: If there is none.
            PathNotAllowed: If it leads out of what the sandbox lets be read.
            InvalidArgument: As for `read`, or if there is no such encoding.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        check_encoding(encoding, errors)
        return (await self.read(path)).decode(encoding, errors)

    async def write(
        self,
        path: _Path,
        data: bytes | bytearray | memoryview | str,
        *,
        mode: int | None = None,
        overwrite: bool = True,
    ) -> None:
        """Make a file; directories above it are made, too.

        Args:
            path: The file.
            data: Its bytes; a text is written in UTF-8.
            mode: Its permissions, such as 0o755; None for 0o644.
            overwrite: Whether a file that is there is replaced.

        Raises:
            ConflictError: If it is there and *overwrite* is false.
            PathNotAllowed: If it leads out of what the sandbox lets be written.
            InvalidArgument: If an argument breaks a rule or *path* is a directory. With *mode*
                or without *overwrite*, if *data* has more than 16 MiB.
            AgentFault: If the disk is full.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        there = full_path(path)
        content = content_of(data)
        if mode is None and overwrite is True:
            await self._upload(there, lambda: pieces_of(content), len(content))
            return
        bits = check_mode(_MODE if mode is None else mode)
        if not isinstance(overwrite, bool):
            raise InvalidArgument("overwrite", repr(overwrite), "True or False")
        if len(content) > MAX_WRITE_BYTES:
            rule = f"with mode or overwrite at most {MAX_WRITE_BYTES} bytes"
            raise InvalidArgument("data", f"({len(content)} bytes)", rule)
        store = self._store()

        async def write() -> None:
            await store.write(there, content, mode=bits, overwrite=overwrite)

        await self._with_parents(store, there, write, repeatable=overwrite)

    async def list(self, path: _Path = ".") -> list[FileInfo]:
        """Return what is in a directory, by name; not what is below that.

        Raises:
            FileNotFound: If there is no such directory.
            PathNotAllowed: If it leads out of what the sandbox lets be read.
            InvalidArgument: If *path* is no path or no directory.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        there, store = full_path(path), self._store()
        found: list[FileInfo] = []
        after: str | None = None
        for _ in range(_MAX_PAGES):
            page, after = await self._call(lambda: store.list(there, after))  # noqa: B023
            found += page
            if after is None:
                return found
        raise RemoteProtocolError(f"a listing of {there!r} that does not end")

    async def exists(self, path: _Path) -> bool:
        """Return whether a file or directory is there.

        Raises:
            PathNotAllowed: If it leads out of what the sandbox lets be read.
            InvalidArgument: If *path* is no path.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        there, store = full_path(path), self._store()
        return await self._call(lambda: store.exists(there))

    async def mkdir(self, path: _Path) -> None:
        """Make a directory, and those above it; one that is there is no error.

        Raises:
            ConflictError: If a file is there.
            PathNotAllowed: If it leads out of what the sandbox lets be written.
            InvalidArgument: If *path* is no path.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        there, store = full_path(path), self._store()
        await self._call(lambda: store.mkdir(there))

    async def remove(self, path: _Path) -> None:
        """Remove a file, or a directory with all that is in it.

        Of a link, the link itself is removed, not where it leads.

        Raises:
            FileNotFound: If nothing is there.
            PathNotAllowed: If it leads out of what the sandbox lets be written, or is the
                workspace itself.
            InvalidArgument: If *path* is no path.
            TransportError: If nobody answered; it may have been removed.
            ClosedError: If the sandbox has been closed.
        """
        there, store = full_path(path), self._store()
        await self._call(lambda: store.remove(there), repeatable=False)

    async def upload(self, local_path: str | os.PathLike[str], path: _Path) -> int:
        """Copy a file of this machine into the sandbox; directories above it are made, too.

        It is sent as it is read, so that a file of any size takes no more memory than a
        small one.

        Args:
            local_path: The file here.
            path: The file there; one that is there is replaced.

        Returns:
            Its size in bytes.

        Raises:
            OSError: If it cannot be read here.
            PathNotAllowed: If *path* leads out of what the sandbox lets be written.
            InvalidArgument: If *local_path* is no regular file, becomes shorter meanwhile, or
                *path* is a directory.
            AgentFault: If the disk there is full.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        there, here = full_path(path), check_local_path(local_path)
        self._store()
        async with SourceFile.opened(here) as source:
            await self._upload(there, source.pieces, source.size)
            return source.size

    async def download(self, path: _Path, local_path: str | os.PathLike[str]) -> int:
        """Copy a file of the sandbox to this machine.

        It is written as it comes, so that a file of any size takes no more memory than a
        small one, beside *local_path* under a name that begins with a dot, and gets its
        name once it is whole. Cancelling it is safe: nothing is left of it.

        Args:
            path: The file there.
            local_path: The file here; one that is there is replaced.

        Returns:
            Its size in bytes.

        Raises:
            OSError: If it cannot be written here.
            FileNotFound: If there is no such file there.
            PathNotAllowed: If *path* leads out of what the sandbox lets be read.
            InvalidArgument: If *path* is no file, or *local_path* can be none.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        there, here = full_path(path), check_local_path(local_path)
        store = self._store()
        await check_target(here)

        async def copy() -> int:
            download = await store.download(there)
            try:
                return await keep(download, here)
            finally:
                await download.aclose()

        return await self._call(copy)

    def watch(self, path: _Path = ".") -> FileWatch:
        """Return a watch of a file, or of a directory with all below it.

        It watches once it is entered with ``async with``, or from its first item on.

        Raises:
            InvalidArgument: If *path* is no path.
            Unsupported: If the far side has no watches.
            ClosedError: If the sandbox has been closed.
        """
        there = full_path(path)
        self._client.check_open()
        if not self._capabilities.watch:
            raise Unsupported(f"{self._capabilities.agent} cannot watch files")
        return FileWatch(self._client, self._store(), there)

    # Inside.

    def _store(self) -> FileStore:
        self._client.check_open()
        if not self._capabilities.files:
            raise Unsupported(f"{self._capabilities.agent} has no files")
        return self._client.files()

    async def _call(self, attempt: Callable[[], Awaitable[T]], *, repeatable: bool = True) -> T:
        return await self._client.persist(attempt, repeatable=repeatable)

    async def _upload(
        self, there: str, pieces: Callable[[], AsyncIterator[bytes]], size: int
    ) -> None:
        store = self._store()
        await self._with_parents(store, there, lambda: store.upload(there, pieces, size))

    async def _with_parents(
        self,
        store: FileStore,
        there: str,
        attempt: Callable[[], Awaitable[None]],
        *,
        repeatable: bool = True,
    ) -> None:
        """Carry out a write; if that fails, again with the directories made that it needs."""
        try:
            await self._call(attempt, repeatable=repeatable)
        except (FileNotFound, AgentFault) as error:
            # HopX's agent may call it a fault of its own, and then nothing was written.
            if isinstance(error, AgentFault) and error.status != _FAULT:
                raise
            parent = str(PurePosixPath(there).parent)
            if await self._call(lambda: store.exists(parent)):
                raise
            await self._call(lambda: store.mkdir(parent))
            await self._call(attempt, repeatable=repeatable)


async def _read(store: FileStore, there: str, max_bytes: int) -> bytes:
    download = await store.download(there)
    try:
        data = bytearray()
        while piece := await download.receive():
            data += piece
            if len(data) > max_bytes:
                rule = f"at least the size of {there!r}; download() takes files of any size"
                raise InvalidArgument("max_bytes", str(max_bytes), rule)
        return bytes(data)
    finally:
        await download.aclose()
