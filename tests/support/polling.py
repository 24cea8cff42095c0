"""A memory agent whose sockets are refused: the real long-poll over it, on virtual time."""

from __future__ import annotations

from typing import Any

import anyio

from hopx_async.agent.poll_route import Session
from hopx_async.errors import ConnectionLost, NotFoundError
from hopx_async.protocol import poll
from hopx_async.protocol.peer import Peer
from hopx_async.testing.memory import MemoryAgent, MemoryTransport
from hopx_async.transport.base import Channel, SocketRefused
from hopx_async.transport.poll import Poster, open_poll

__all__ = ["PollingTransport"]


class _Calls:
    """The calls of an agent, as a session wants them."""

    def __init__(self, agent: MemoryAgent) -> None:
        self._agent = agent

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        return await self._agent.answer(method, params)


class PollingTransport(MemoryTransport, Poster):
    """The way to a `MemoryAgent` on which sockets are blocked.

    Attributes:
        blocked: Whether sockets are refused.
        tries: How many sockets were asked for.
        posts: How many posts were made.
        under_way: How many of them are answered not yet.
        losses: So many answers to come are lost after the agent gave them.
    """

    polls = True

    def __init__(self, agent: MemoryAgent) -> None:
        super().__init__(agent)
        self.blocked = True
        self.tries = 0
        self.posts = 0
        self.under_way = 0
        self.losses = 0
        self.sessions: dict[str, Session] = {}
        # It hears of news, and of cuts, as a channel does.
        agent._channels.add(self)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    async def connect(self) -> Channel:
        """Open a channel like a socket's, unless they are blocked."""
        self.tries += 1
        if self.blocked:
            await anyio.lowlevel.checkpoint()
            raise SocketRefused("status 403")
        return await super().connect()

    async def connect_poll(self) -> Channel:
        """Begin a session."""
        return await open_poll(self)

    async def post(self, session: str, body: bytes) -> bytes:
        """Carry a post to the agent."""
        self.posts += 1
        self.under_way += 1
        try:
            await self._agent.passable()
            answer = await self._session(session, poll.read_post(body))
            await self._agent.passable()
        finally:
            self.under_way -= 1
        if self.losses:
            self.losses -= 1
            raise ConnectionLost("the answer was lost on purpose")
        return answer

    async def _session(self, name: str, post: poll.Post) -> bytes:
        if name not in self.sessions:
            if not post.begins:
                raise NotFoundError("no such session")
            logs = self._agent.commands.logs
            calls: Any = _Calls(self._agent)
            peer = Peer(logs, sandbox=self._agent.sandbox_id)
            self.sessions[name] = Session(calls, peer, lambda: self.forget(name))
        return await self.sessions[name].answer(post)

    async def leave(self, session: str) -> None:
        """End a session."""
        await anyio.lowlevel.checkpoint()
        self.forget(session)

    def forget(self, name: str) -> None:
        """Let the agent forget a session, as one that was restarted does."""
        session = self.sessions.pop(name, None)
        if session is not None:
            session.end()

    def news(self, process_id: str) -> None:
        """Tell all sessions."""
        for session in self.sessions.values():
            session.news([process_id])

    @property
    def alone(self) -> bool:
        """Whether no other channel of the agent is open."""
        return list[object](self._agent._channels) == [self]

    def cut(self) -> None:
        """Let the agent forget all sessions."""
        for name in list(self.sessions):
            self.forget(name)

    async def aclose(self) -> None:
        """End every session."""
        for name in list(self.sessions):
            session = self.sessions.pop(name)
            await session.aclose()
