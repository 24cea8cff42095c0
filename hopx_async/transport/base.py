"""The seam: what a client needs of a far side. Two small abstract classes.

Whoever implements them gets everything above: handles, streams, replay, retries.
`hopx_async.testing.contract` checks an implementation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from hopx_async.errors import RemoteProtocolError, Unsupported
from hopx_async.protocol.feeds import Feed
from hopx_async.transport.files import FileStore

__all__ = ["Channel", "SocketRefused", "Transport"]


class SocketRefused(RemoteProtocolError):
    """What answered is not the agent: sockets are blocked on the way, if it is there at all."""


class Channel(ABC):
    """One connection that carries the frames of a link, in order."""

    @abstractmethod
    async def send(self, frame: str) -> None:
        """Send a text frame, waiting while the far side takes no more.

        Raises:
            ConnectionLost: If the connection is gone.
        """

    @abstractmethod
    async def receive(self) -> str | bytes:
        """Return the next frame.

        Cancelling ``receive`` is safe: no frame is lost.

        Raises:
            ConnectionLost: If the connection is gone and may be made anew.
            RemoteProtocolError: If the far side ended it because the two disagree.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connection, politely and within a bounded time. May be called again."""


class Transport(ABC):
    """A way to one sandbox's agent."""

    #: What errors and logs call the far side; no secrets in it.
    name: str = "agent"
    #: Whether `connect_poll` is there for when sockets are blocked.
    polls: bool = False
    #: What `connect` opens, in the words of ``statistics()``.
    feed: Feed = "socket"

    @abstractmethod
    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Carry out one call without a channel and return its result.

        Raises:
            ApiError: If the far side says no.
            UsageError: If the far side says that the call was wrong.
            TransportError: If nobody answered.
        """

    @abstractmethod
    async def connect(self) -> Channel:
        """Open a channel.

        Cancelling ``connect`` is safe: no connection is left.

        Raises:
            ApiError: If the far side says no, and would say so again.
            SocketRefused: If something else said no.
            TransportError: If nobody answered, or not yet.
        """

    async def connect_poll(self) -> Channel:
        """Open a channel that needs no socket of its own; only where `polls` says so.

        Cancelling ``connect_poll`` is safe: no session is left for long.

        Raises:
            ApiError: If the far side says no, and would say so again.
            TransportError: If nobody answered, or not yet.
        """
        raise Unsupported(f"{self.name} has no long-poll")

    def files(self) -> FileStore:
        """Return the sandbox's files.

        Raises:
            Unsupported: If this far side has none.
        """
        raise Unsupported(f"{self.name} has no files")

    @abstractmethod
    async def aclose(self) -> None:
        """Free what is held between calls. May be called again."""
