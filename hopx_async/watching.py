"""A watch of files, as an object to iterate."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Generator
from types import TracebackType
from typing import Self

from hopx_async.client import AgentClient
from hopx_async.errors import BusyError, TransportError
from hopx_async.protocol.file_answers import FileEvent
from hopx_async.transport.files import Changes, FileStore

__all__ = ["FileWatch"]


class FileWatch(AsyncIterator[FileEvent]):
    """An async iterator of changes, made by ``sandbox.files.watch()``.

    It watches once ``async with`` has entered it, or from the first item on. Should the
    connection be lost, it is made anew, and a ``FileEvent`` of the kind ``"missed"`` says
    that anything may have happened meanwhile: look for yourself. The same is told to a
    reader that is so slow that the far side gives it up: no more than 32 frames and what
    sockets hold wait for it. If what was watched is gone by then, `FileNotFound` ends it.
    """

    __slots__ = (
        "__weakref__",
        "_busy",
        "_changes",
        "_client",
        "_closed",
        "_path",
        "_seen",
        "_store",
    )

    def __init__(self, client: AgentClient, store: FileStore, path: str) -> None:
        self._client = client
        self._store = store
        self._path = path
        self._changes: Changes | None = None
        self._seen = False
        self._busy = False
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "watching" if self._changes else "not watching"
        return f"<FileWatch {self._path!r} {state}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FileEvent:
        """Return the next change; there is always one to come, until it is closed.

        Cancelling it is safe: no change is lost.

        Raises:
            BusyError: If another task waits in it.
            FileNotFound: If what is to be watched is not there (any more).
            PathNotAllowed: If it leads out of the workspace.
            Unsupported: If the far side cannot watch.
            RemoteProtocolError: If something on the way lets no websocket pass.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        with self._alone():
            while not self._closed:
                if await self._begin():
                    return FileEvent(path=self._path, kind="missed", at=time.time())
                changes = self._changes
                if changes is None:
                    break
                try:
                    return await changes.receive()
                except TransportError:
                    await self._end()
                    self._client.check_open()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the watch. Bounded; may be called again, and while another task waits in it."""
        self._closed = True
        await self._end()

    async def __aenter__(self) -> Self:
        with self._alone():
            await self._begin()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A dropped watch ends by itself; a constructor that raised left nothing.
        changes = getattr(self, "_changes", None)
        if changes is not None:
            self._client.finalize(changes.abandon)

    async def _begin(self) -> bool:
        """Watch, unless it does; return whether something may have been missed before."""
        if self._changes is not None:
            return False
        changes = await self._client.persist(lambda: self._store.watch(self._path))
        if self._closed:
            await changes.aclose()
            return False
        self._changes = changes
        missed, self._seen = self._seen, True
        return missed

    async def _end(self) -> None:
        changes, self._changes = self._changes, None
        if changes is not None:
            await changes.aclose()

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        if self._busy:
            raise BusyError(f"two tasks read one watch of {self._path!r}; ask for two")
        self._client.check_open()
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
