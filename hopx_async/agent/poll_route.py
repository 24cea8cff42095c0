"""The long-poll route of the link: one `Peer` per session, frames in posts and answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection

from aiohttp import web

from hopx_async.agent.calls import Calls
from hopx_async.agent.errands import Errands
from hopx_async.errors import (
    AgentFault,
    ApiError,
    InvalidArgument,
    NotFoundError,
    RateLimited,
    RemoteProtocolError,
)
from hopx_async.protocol import poll
from hopx_async.protocol.peer import LogSource, Peer, Readers

__all__ = ["IDLE_SECONDS", "MAX_SESSIONS", "Session", "Sessions"]

#: Sessions at a time.
MAX_SESSIONS = 256
#: Seconds without a post after which a session is forgotten.
IDLE_SECONDS = 60.0
_NAME = re.compile(r"[A-Za-z0-9_-]{16,64}")


class Sessions:
    """All long-poll sessions of this agent.

    Args:
        calls: Carries out what they ask.
        logs: What their peers read.
        sandbox_id: Told in the first frame.
        readers: Wants to know how far they have got, None for nobody.
    """

    def __init__(
        self, calls: Calls, logs: LogSource, sandbox_id: str, readers: Readers | None = None
    ) -> None:
        self._readers = readers
        self._calls = calls
        self._logs = logs
        self._sandbox_id = sandbox_id
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def askings(self) -> int:
        """Subscriptions of all sessions."""
        return sum(session.peer.askings for session in self._open.values())

    def news(self, process_ids: Collection[str]) -> None:
        """Tell every session that these logs have grown, ended, or been fetched."""
        for session in self._open.values():
            session.news(process_ids)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one post; it hangs while there is nothing to say.

        Raises:
            ApiError: If it breaks the protocol, its session is unknown, or there are too many.
        """
        name = _name(request)
        try:
            post = poll.read_post(await _read(request))
            session = self._session(name, post)
            answer = await session.answer(post)
        except RemoteProtocolError as error:
            await self._end(name)
            raise ApiError(str(error), status=400) from None
        return web.Response(
            body=answer,
            content_type="application/octet-stream",
            headers={"Cache-Control": "no-store"},
        )

    async def leave(self, request: web.Request) -> web.StreamResponse:
        """Forget a session, if it is known."""
        await self._end(_name(request))
        return web.Response(status=204)

    async def close(self) -> None:
        """End every session, and every post that hangs."""
        for name in list(self._open):
            await self._end(name)

    def _session(self, name: str, post: poll.Post) -> Session:
        session = self._open.get(name)
        if session is None:
            if not post.begins:
                raise NotFoundError("no such session here: begin another one")
            if len(self._open) >= MAX_SESSIONS:
                raise RateLimited(f"{MAX_SESSIONS} sessions are open, more are not taken")
            peer = Peer(self._logs, sandbox=self._sandbox_id, readers=self._readers)
            session = self._open[name] = Session(self._calls, peer, lambda: self._expire(name))
        return session

    def _expire(self, name: str) -> None:
        session = self._open.pop(name, None)
        if session is not None:
            session.end()

    async def _end(self, name: str) -> None:
        session = self._open.pop(name, None)
        if session is not None:
            await session.aclose()


class Session:
    """One session: its peer, its calls, and the post that hangs.

    Args:
        calls: Carries out what it asks.
        peer: Its askings.
        expire: Called when no post has come for `IDLE_SECONDS`.
    """

    def __init__(self, calls: Calls, peer: Peer, expire: Callable[[], None]) -> None:
        self.peer = peer
        self._state = poll.AgentSession(peer)
        self._bell = asyncio.Event()
        self._errands = Errands(calls, peer, self._bell.set)
        self._expire = expire
        self._posts = 0
        self._idle: asyncio.TimerHandle | None = None
        self._ended = False

    def news(self, process_ids: Collection[str]) -> None:
        """Note that these logs have grown, ended, or been fetched."""
        for process_id in process_ids:
            self.peer.news(process_id)
        self._bell.set()

    async def answer(self, post: poll.Post) -> bytes:
        """Take in a post and return its answer; any post before it is answered with nothing.

        Cancelling it is safe: what was taken is known, what was answered is kept.

        Raises:
            RemoteProtocolError: If it breaks the protocol.
            AgentFault: If the session ends meanwhile.
        """
        self._enter()
        try:
            turn = self._state.begin(post)
            self._bell.set()
            async with asyncio.timeout(poll.HANG_SECONDS):
                await self._take(post, turn)
                return await self._next_answer(turn)
        except TimeoutError:
            return self._state.nothing()
        finally:
            self._leave()

    def end(self) -> None:
        """End the post that hangs, and what is under way."""
        self._ended = True
        if self._idle is not None:
            self._idle.cancel()
        self._errands.cancel()
        self.peer.close()
        self._bell.set()

    async def aclose(self) -> None:
        """End it and wait until its calls have ended."""
        self.end()
        await self._errands.aclose()

    async def _take(self, post: poll.Post, turn: int) -> None:
        while self._has_turn(turn) and self._state.holds_news(post):
            if self._errands.has_room:
                self._errands.receive(self._state.next_frame(post))
            elif self._state.answer() is not None:
                return  # what waits to be sent leaves first; the rest is posted again
            else:
                await self._ring()

    async def _next_answer(self, turn: int) -> bytes:
        while self._has_turn(turn):
            answer = self._state.answer()
            self._errands.sent()
            if answer is not None:
                return answer
            await self._ring()
        return self._state.nothing()

    def _has_turn(self, turn: int) -> bool:
        if self._ended:
            raise AgentFault("the session has ended", status=503)
        return self._state.has_turn(turn)

    async def _ring(self) -> None:
        self._bell.clear()
        await self._bell.wait()

    def _enter(self) -> None:
        self._posts += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _leave(self) -> None:
        self._posts -= 1
        if not self._posts and not self._ended:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_SECONDS, self._expire)


def _name(request: web.Request) -> str:
    name = request.match_info["session"]
    if not _NAME.fullmatch(name):
        raise InvalidArgument("session", repr(name)[:120], f"it matches {_NAME.pattern}")
    return name


async def _read(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > poll.MAX_POST_BYTES:
            raise ApiError(f"a post has at most {poll.MAX_POST_BYTES} bytes", status=413)
    return bytes(body)
