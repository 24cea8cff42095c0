"""Files in memory: a tree of them, and the seam to it."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar
from weakref import WeakSet

import anyio
import anyio.lowlevel
import attrs

from hopx_async.errors import (
    ConflictError,
    ConnectionLost,
    FileNotFound,
    InvalidArgument,
    PathNotAllowed,
    RemoteProtocolError,
)
from hopx_async.protocol.file_answers import FileEvent, FileInfo, FileKind
from hopx_async.transport.files import PIECE_BYTES, Changes, Download, FileStore

__all__ = ["MAX_EVENTS", "MemoryFiles", "MemoryStore"]

#: Changes that wait for a reader; one that is behind by more is cut off.
MAX_EVENTS = 1024

T = TypeVar("T")
_WORKSPACE = "/workspace"
_PAGE = 100


@attrs.define
class _Node:
    """A file, or a directory where *data* is None."""

    data: bytes | None
    mode: int
    at: float


class MemoryFiles:
    """The files of a memory agent, for scripts and tests to look at and to change.

    Paths are whole, as in ``"/workspace/a.txt"``. Times are those of the loop.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {_WORKSPACE: _Node(None, 0o755, 0.0)}
        self._watches: set[_MemoryChanges] = set()

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Make a file, and the directories above it."""
        self.make(posixpath.dirname(path))
        self.place(path, data, mode)

    def get(self, path: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            FileNotFound: If there is none.
            InvalidArgument: If it is a directory.
        """
        data = self._node(path).data
        if data is None:
            raise InvalidArgument("path", repr(path), "it is a directory")
        return data

    def exists(self, path: str) -> bool:
        """Return whether something is there."""
        return self._inside(path) in self._nodes

    def place(self, path: str, data: bytes, mode: int) -> None:
        """Make a file in a directory that is there.

        Raises:
            FileNotFound: If the directory is not there.
            InvalidArgument: If there is a directory, or a file in the place of one.
        """
        path = self._inside(path)
        known = self._nodes.get(path)
        if known is not None and known.data is None:
            raise InvalidArgument("path", repr(path), "it is a directory")
        if self._node(posixpath.dirname(path)).data is not None:
            raise InvalidArgument("path", repr(path), "a file stands in the place of a directory")
        self._nodes[path] = _Node(data, mode, anyio.current_time())
        self._tell(path, "modified" if known else "created")

    def make(self, path: str) -> None:
        """Make a directory, and those above it.

        Raises:
            ConflictError: If there is a file.
        """
        path = self._inside(path)
        known = self._nodes.get(path)
        if known is None:
            self.make(posixpath.dirname(path))
            self._nodes[path] = _Node(None, 0o755, anyio.current_time())
            self._tell(path, "created")
        elif known.data is not None:
            raise ConflictError(f"{path!r} exists already, as a file")

    def drop(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it.

        Raises:
            FileNotFound: If nothing is there.
            PathNotAllowed: If it is the workspace.
        """
        path = self._inside(path)
        self._node(path)
        if path == _WORKSPACE:
            raise PathNotAllowed("the workspace itself stays", path=path)
        for each in [one for one in self._nodes if _is_in(one, path)]:
            del self._nodes[each]
            self._tell(each, "deleted")

    def entries(self, path: str) -> list[FileInfo]:
        """Return what is in a directory, by name.

        Raises:
            FileNotFound: If there is none.
            InvalidArgument: If it is a file.
        """
        path = self._inside(path)
        if self._node(path).data is not None:
            raise InvalidArgument("path", repr(path), "it is no directory")
        names = sorted(one for one in self._nodes if posixpath.dirname(one) == path)
        return [_told(one, self._nodes[one]) for one in names]

    def cut(self) -> None:
        """Break off every watch."""
        for changes in list(self._watches):
            changes.cut()

    def watch(self, path: str) -> Changes:
        """Return a watch.

        Raises:
            FileNotFound: If nothing is there.
        """
        path = self._inside(path)
        self._node(path)
        changes = _MemoryChanges(path, self._watches.discard)
        self._watches.add(changes)
        return changes

    def _node(self, path: str) -> _Node:
        path = self._inside(path)
        if path not in self._nodes:
            raise FileNotFound(f"{posixpath.basename(path)!r}: file not found", path=path)
        return self._nodes[path]

    def _inside(self, path: str) -> str:
        found = posixpath.normpath(path)
        if not _is_in(found, _WORKSPACE):
            raise PathNotAllowed(f"{path!r} is not in {_WORKSPACE}", path=path)
        return found

    def _tell(self, path: str, kind: FileKind) -> None:
        event = FileEvent(path=path, kind=kind, at=anyio.current_time())
        for changes in list(self._watches):
            changes.tell(event)


class MemoryStore(FileStore):
    """The way to `MemoryFiles`.

    Args:
        files: The files.
        carry_out: Calls what it is given, with the faults of the way.
    """

    def __init__(
        self,
        files: MemoryFiles,
        carry_out: Callable[[Callable[[], Awaitable[object]]], Awaitable[object]],
    ) -> None:
        self._files = files
        self._carry_out = carry_out
        self._watches: WeakSet[Changes] = WeakSet()

    def cut(self) -> None:
        """Break off the watches that were made this way."""
        for changes in list(self._watches):
            changes.abandon()

    async def aclose(self) -> None:
        """End its watches."""
        self.cut()

    async def download(self, path: str) -> Download:
        """Open a file."""
        return _MemoryDownload(await self._do(lambda: self._files.get(path)))

    async def upload(
        self, path: str, pieces: Callable[[], AsyncIterator[bytes]], size: int
    ) -> None:
        """Make a file."""
        data = b"".join([piece async for piece in pieces()])
        if len(data) != size:
            raise RemoteProtocolError(f"{size} bytes were promised, {len(data)} came")
        await self._do(lambda: self._files.place(path, data, 0o644))

    async def write(self, path: str, data: bytes, *, mode: int, overwrite: bool) -> None:
        """Make a file."""

        def write() -> None:
            if not overwrite and self._files.exists(path):
                raise ConflictError(f"{path!r} exists already")
            self._files.put(path, data, mode=mode)

        await self._do(write)

    async def list(self, path: str, after: str | None) -> tuple[list[FileInfo], str | None]:
        """Return a page of a directory."""
        entries = await self._do(lambda: self._files.entries(path))
        page = [entry for entry in entries if after is None or entry.name > after]
        return page[:_PAGE], page[_PAGE - 1].name if len(page) > _PAGE else None

    async def exists(self, path: str) -> bool:
        """Return whether something is there."""
        return await self._do(lambda: self._files.exists(path))

    async def mkdir(self, path: str) -> None:
        """Make a directory."""
        await self._do(lambda: self._files.make(path))

    async def remove(self, path: str) -> None:
        """Remove a file or a directory."""
        await self._do(lambda: self._files.drop(path))

    async def watch(self, path: str) -> Changes:
        """Watch."""
        changes = await self._do(lambda: self._files.watch(path))
        self._watches.add(changes)
        return changes

    async def _do(self, act: Callable[[], T]) -> T:
        found: list[T] = []

        async def once() -> None:
            await anyio.lowlevel.checkpoint()
            found.append(act())

        await self._carry_out(once)
        return found[0]


class _MemoryDownload(Download):
    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    async def receive(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        piece, self._left = self._left[:PIECE_BYTES], self._left[PIECE_BYTES:]
        return bytes(piece)

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


class _MemoryChanges(Changes):
    def __init__(self, path: str, closed: Callable[[_MemoryChanges], None]) -> None:
        self._path = path
        self._closed = closed
        self._waiting: deque[FileEvent] = deque()
        self._news = anyio.Event()
        self._cut = False

    async def receive(self) -> FileEvent:
        await anyio.lowlevel.checkpoint()
        while not self._waiting:
            if self._cut:
                raise ConnectionLost("the watch was cut off")
            self._news = anyio.Event()
            await self._news.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        self._waiting.clear()
        self.cut()

    def cut(self) -> None:
        """Break it off; what was told is there to be read."""
        self._closed(self)
        self._cut = True
        self._news.set()

    def tell(self, event: FileEvent) -> None:
        """Note a change, if it is of what is watched."""
        if _is_in(event.path, self._path):
            self._waiting.append(event)
            self._news.set()
            if len(self._waiting) >= MAX_EVENTS:
                self.cut()


def _is_in(path: str, above: str) -> bool:
    return path == above or path.startswith(f"{above}/")


def _told(path: str, node: _Node) -> FileInfo:
    directory = node.data is None
    text = "".join(
        letter if node.mode >> shift & 1 else "-"
        for shift, letter in zip(range(8, -1, -1), "rwxrwxrwx", strict=True)
    )
    return FileInfo(
        name=posixpath.basename(path),
        path=path,
        size=len(node.data or b""),
        is_directory=directory,
        modified_at=node.at,
        permissions=("d" if directory else "-") + text,
    )
