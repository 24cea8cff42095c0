"""The seam of files: what ``sandbox.files`` needs of a far side.

Paths are whole, as the far side knows them. Whoever implements it gives bytes as they
are; retries, checks and local files are above.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

from hopx_async.protocol.file_answers import FileEvent, FileInfo

__all__ = ["PIECE_BYTES", "Changes", "Download", "FileStore"]

#: Bytes of a file that are held at a time while it is read or sent.
PIECE_BYTES = 256 * 1024


class Download(ABC):
    """The bytes of one file, as they come."""

    @abstractmethod
    async def receive(self) -> bytes:
        """Return the next piece, of `PIECE_BYTES` at most; ``b""`` at the end.

        Raises:
            TransportError: If the rest does not come.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """End it, read or not. May be called again."""


class Changes(ABC):
    """A watch: changes from the moment on at which it was made."""

    @abstractmethod
    async def receive(self) -> FileEvent:
        """Return the next change. Cancelling it is safe: no change is lost.

        Raises:
            ConnectionLost: If it broke off, and may be made anew.
            ApiError: If the far side ended it.
            ProtocolError: If what came is nothing that a watch says.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """End it, within a bounded time. May be called again."""

    @abstractmethod
    def abandon(self) -> None:
        """End it at once, without a word; for finalizers."""


class FileStore(ABC):
    """The files of one sandbox.

    Every call raises `ApiError` where the far side says no (`FileNotFound` and
    `PathNotAllowed` among them), `InvalidArgument` where the path is one that it cannot
    use, `TransportError` where nobody answered, and `RemoteProtocolError` where what
    answered knows no files.
    """

    @abstractmethod
    async def download(self, path: str) -> Download:
        """Open a file. Cancelling it is safe: no connection is left."""

    @abstractmethod
    async def upload(
        self, path: str, pieces: Callable[[], AsyncIterator[bytes]], size: int
    ) -> None:
        """Make a file, whole or not at all; one that is there is replaced.

        Args:
            path: Where; the directory must be there.
            pieces: Returns its bytes from the beginning, each time it is called.
            size: How many bytes these are together.
        """

    @abstractmethod
    async def write(self, path: str, data: bytes, *, mode: int, overwrite: bool) -> None:
        """Make a file of *data* with these permissions.

        Raises:
            ConflictError: If it is there and not to be overwritten.
        """

    @abstractmethod
    async def list(self, path: str, after: str | None) -> tuple[list[FileInfo], str | None]:
        """Return a page of a directory, and what to give as *after* for the next, None at the end.

        Args:
            path: The directory.
            after: None for the first page.
        """

    @abstractmethod
    async def exists(self, path: str) -> bool:
        """Return whether something is there."""

    @abstractmethod
    async def mkdir(self, path: str) -> None:
        """Make a directory, those above it too; one that is there is no error."""

    @abstractmethod
    async def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it; a link, not where it leads."""

    @abstractmethod
    async def watch(self, path: str) -> Changes:
        """Watch a file, or a directory with all below it, from now on.

        Cancelling it is safe: no connection is left.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """End what is still open, such as watches. Bounded; may be called again."""
