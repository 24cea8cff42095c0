"""The link's channel over long-poll: a pure session, and the requests that carry it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from abc import ABC, abstractmethod
from collections import deque

import anyio

from hopx_async.errors import (
    AgentFault,
    ApiError,
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    HopxError,
    NotFoundError,
    RateLimited,
    RemoteProtocolError,
    TransportError,
)
from hopx_async.protocol.backoff import Backoff
from hopx_async.protocol.poll import ClientSession
from hopx_async.transport.base import Channel

__all__ = ["RETRY_SECONDS", "PollChannel", "Poster", "open_poll"]

#: Seconds in which posts of a session are tried again before its channel counts as lost.
RETRY_SECONDS = 10.0
_LEAVE_SECONDS = 1.0


class Poster(ABC):
    """Whoever carries posts of a session to the agent, several at a time."""

    #: What errors call the far side.
    name: str = "agent"

    @abstractmethod
    async def post(self, session: str, body: bytes) -> bytes:
        """Send a post and return its answer. Cancelling it is safe.

        Raises:
            ApiError: If the agent says no.
            TransportError: If nobody answered.
            RemoteProtocolError: If what answers is no agent of ours.
        """

    @abstractmethod
    async def leave(self, session: str) -> None:
        """Say that a session is over. Cancelling it is safe.

        Raises:
            HopxError: If that could not be said.
        """


async def open_poll(poster: Poster) -> PollChannel:
    """Begin a session; its first post is answered at once.

    Cancelling ``open_poll`` is safe: an agent forgets a session without posts.

    Raises:
        ApiError: If the agent says no.
        TransportError: If nobody answered, or not yet.
        RemoteProtocolError: If what answers is no agent of ours.
    """
    session = ClientSession()
    name = secrets.token_urlsafe(16)
    try:
        frames = session.receive(await poster.post(name, session.post()))
    except RateLimited as error:
        raise ConnectError(f"{poster.name} is not ready: {error}") from error
    return PollChannel(poster, name, session, frames)


class PollChannel(Channel):
    """A long-poll session as a channel; made by `open_poll`.

    It holds what one answer brought, and no new post is made before that is received;
    and what was sent and not yet taken, up to the size of a post.
    """

    def __init__(
        self, poster: Poster, name: str, session: ClientSession, frames: list[str | bytes]
    ) -> None:
        self._poster = poster
        self._name = name
        self._session = session
        self._arrived = deque(frames)
        self._backoff = Backoff(give_up_after=RETRY_SECONDS)
        self._broken: Exception | None = None
        self._posts: set[asyncio.Task[None]] = set()
        self._bell = anyio.Event()

    async def send(self, frame: str) -> None:
        """Hand a frame to the next post, waiting while what was sent before fills one.

        Cancelling ``send`` is safe: the frame is then not sent.
        """
        while not self._session.fits(frame):
            await self._change()
        self._check()
        self._session.add(frame)
        self._post()

    async def receive(self) -> str | bytes:
        """Return the next frame."""
        while not self._arrived:
            await self._change()
        return self._arrived.popleft()

    async def aclose(self) -> None:
        """Cancel the posts that hang and tell the agent, within a second."""
        posts = list(self._posts)
        for post in posts:
            post.cancel()
        await asyncio.gather(*posts, return_exceptions=True)
        told, self._broken = self._broken, ConnectionLost(f"{self._poster.name}: closed")
        if told is None:
            with anyio.move_on_after(_LEAVE_SECONDS):
                with contextlib.suppress(HopxError):  # the agent forgets it by itself
                    await self._poster.leave(self._name)

    async def _change(self) -> None:
        self._check()
        self._post()
        await self._bell.wait()

    def _ring(self) -> None:
        # A sender and a receiver may both wait: each hears the one bell.
        bell, self._bell = self._bell, anyio.Event()
        bell.set()

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _post(self) -> None:
        # A post acknowledges what arrived: were it not yet received, it could pile up.
        while self._broken is None and not self._arrived and self._session.wants_post:
            task = asyncio.create_task(self._carry(self._session.post()))
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)

    async def _carry(self, body: bytes) -> None:
        try:
            await self._try(body)
        except HopxError as error:
            self._broken = self._broken or self._fate(error)
        except Exception as error:  # noqa: BLE001  # a bug is raised by the next receive
            self._broken = error
        self._ring()

    async def _try(self, body: bytes) -> None:
        try:
            answer = await self._poster.post(self._name, body)
        except (TransportError, AgentFault) as error:
            delay = self._backoff.failed(anyio.current_time(), random.random())  # noqa: S311
            if delay is None:
                raise ConnectionLost(f"{self._poster.name}: {error}") from error
            await anyio.sleep(delay)
            self._session.lost()
        else:
            self._backoff.succeeded()
            self._arrived += self._session.receive(answer)

    def _fate(self, error: HopxError) -> HopxError:
        if isinstance(error, (NotFoundError, RateLimited)):
            return ConnectionLost(f"{self._poster.name} does not know the session any more")
        if isinstance(error, ApiError) and not isinstance(error, AuthenticationError):
            return RemoteProtocolError(f"{self._poster.name} ended the link: {error}")
        return error
