"""The agent's side of one keeper: requests, the snapshot, and news."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from hopx_async.agent.board import Board, News
from hopx_async.agent.channel import Channel
from hopx_async.errors import AgentFault, CommandNotFound, HopxError, InvalidArgument, SpawnError

__all__ = ["Answer", "KeeperGone", "KeeperLink", "Refusal", "Snapshot", "spawn_error"]

# Requests that may wait for their answers at a time; further ones wait to be sent.
_MAX_PENDING = 2048


class Answer(msgspec.Struct, gc=False, frozen=True):
    """What the keeper has done; each request fills what belongs to it."""

    pid: int | None = None
    started_at: float | None = None
    created: bool = True
    delivered: bool = True
    offset: int = 0
    survivors: list[tuple[int, str]] = []
    means: str = "ancestry"


class _Failure(msgspec.Struct, gc=False, frozen=True):
    code: str
    message: str = ""
    errno: int | None = None
    filename: str | None = None
    parameter: str | None = None
    value: str | None = None
    rule: str | None = None


class _Message(msgspec.Struct, gc=False, frozen=True):
    """One line of the keeper; only what it is about is set."""

    news: list[News] = []
    re: int | None = None
    ok: Answer | None = None
    error: _Failure | None = None
    snapshot: list[News] = []
    ready: bool = False
    index: int | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """What a keeper told first.

    Attributes:
        commands: Those that run.
        index_bytes: How much of the index is valid, None if it is broken.
    """

    commands: list[News]
    index_bytes: int | None


class KeeperGone(AgentFault):
    """The keeper has gone before it answered; another takes its place."""


class Refusal(Exception):
    """The keeper said no.

    Attributes:
        code: Its word for it.
        failure: Everything it said.
    """

    def __init__(self, failure: _Failure) -> None:
        super().__init__(failure.code, failure.message)
        self.code = failure.code
        self.failure = failure

    def error(self, process_id: str) -> HopxError:
        """Return what the client is told."""
        failure = self.failure
        if self.code == "spawn_failed":
            return spawn_error(failure.errno, failure.filename, failure.message)
        if self.code == "invalid_argument":
            rule = failure.rule or failure.message
            return InvalidArgument(failure.parameter or "?", failure.value or "?", rule)
        if self.code == CommandNotFound.code:
            return CommandNotFound(process_id)
        status = {"disk_full": 507, "stopping": 503}.get(self.code, 500)
        return AgentFault(failure.message or self.code, status=status)


def spawn_error(errno: int | None, filename: str | None, message: str = "") -> SpawnError:
    """Return the error of a program that could not be started, the same however often told."""
    if errno is not None:
        message = f"{filename or 'the program'!r} could not be started: {os.strerror(errno)}"
    return SpawnError(message or "it could not be started", errno=errno, filename=filename or "")


class _Told:
    """The place of a future where the answer goes on at once, without a turn of the loop."""

    __slots__ = ("_answered",)

    def __init__(self, answered: Callable[[Answer | None, Exception | None], None]) -> None:
        self._answered = answered

    def done(self) -> bool:
        return False

    def set_result(self, answer: Answer) -> None:
        self._answered(answer, None)

    def set_exception(self, error: Exception) -> None:
        self._answered(None, error)


class KeeperLink:
    """Sends requests to the keeper and takes its news over to the board.

    Lines behind the snapshot are held back until `go_on`, so that the board can be filled.

    Args:
        board: Where news go.
        on_news: Called once per line with the ids that it was about.
        on_end: Called once with the reason when the keeper has gone.
        number: The keeper's.
    """

    def __init__(
        self,
        board: Board,
        on_news: Callable[[Collection[str]], None],
        on_end: Callable[[str], None],
        number: int = 1,
    ) -> None:
        self.number = number
        self._board = board
        self._on_news = on_news
        self._on_end = on_end
        self._channel = Channel(self._take, self._ended)
        self._decoder = msgspec.json.Decoder(_Message)
        self._pending: dict[int, asyncio.Future[Answer] | _Told] = {}
        self._free = asyncio.Semaphore(_MAX_PENDING)
        self._told = 0
        self._gone: str | None = None
        self._last_rid = 0
        self._first: list[News] = []
        self._snapshot: asyncio.Future[Snapshot] | None = None

    @property
    def pending(self) -> int:
        """Requests that wait for their answers."""
        return len(self._pending)

    async def open(self, sock: socket.socket) -> Snapshot:
        """Take over the connected *sock*; return the snapshot when it has come whole.

        Raises:
            KeeperGone: If the keeper goes before.
        """
        self._snapshot = asyncio.get_running_loop().create_future()
        await self._channel.open(sock)
        return await self._snapshot

    def go_on(self) -> None:
        """Take the news that came behind the snapshot."""
        self._channel.release()

    def close(self) -> None:
        """Close the channel; requests that wait for answers fail. May be called again."""
        self._channel.close()
        self._fail("the agent is being stopped")

    # Requests. Cancelling one is safe: what was sent is carried out, its answer dropped.

    async def start(
        self, public: bytes, env: dict[str, str], working_dir: str, mask: Sequence[str] = ()
    ) -> Answer:
        """Start a command; *public* is its public spec as JSON, *mask* what its output hides."""
        more = {"mask": mask} if mask else {}
        spec = msgspec.Raw(public)
        return await self._request(
            op="start", public=spec, env=env, working_dir=working_dir, **more
        )

    def start_now(
        self,
        public: bytes,
        env: dict[str, str],
        working_dir: str,
        answered: Callable[[Answer | None, Exception | None], None],
    ) -> bool:
        """Start a command without a task; false, and nothing was sent, if that has to wait.

        Args:
            public: Its public spec as JSON.
            env: Its environment.
            working_dir: Its directory.
            answered: Called once, with the answer or with a `Refusal` or `KeeperGone`.
        """
        if self._free.locked() or not self._channel.has_room or self._told >= _MAX_PENDING:
            return False
        self._last_rid += 1
        rid = self._last_rid
        spec = msgspec.Raw(public)
        message = {"op": "start", "rid": rid, "public": spec, "env": env}
        self._told += 1

        def settle(answer: Answer | None, error: Exception | None) -> None:
            del self._pending[rid]
            self._told -= 1
            answered(answer, error)

        self._pending[rid] = _Told(settle)
        self._channel.send(msgspec.json.encode({**message, "working_dir": working_dir}))
        return True

    async def signal(self, process_id: str, signal_id: str, name: str, cause: str | None) -> Answer:
        """Send a signal to a command's leader and its group, once per *signal_id*."""
        return await self._request(
            op="signal", id=process_id, signal_id=signal_id, name=name, cause=cause
        )

    async def stdin(self, process_id: str, offset: int | None, data: str, *, eof: bool) -> Answer:
        """Send base64 *data* to a command's stdin; the answer may be long in coming."""
        # It does not take the place of requests that are answered soon.
        message = {"op": "stdin", "id": process_id, "offset": offset, "data": data, "eof": eof}
        return await self._exchange(message)

    async def resize(self, process_id: str, size: list[Any]) -> Answer:
        """Give a command's terminal other rows and columns."""
        return await self._request(op="resize", id=process_id, size=size)

    async def kill(self, process_id: str, grace: float) -> Answer:
        """End everything of a command: TERM, *grace* seconds, KILL, proof."""
        return await self._request(op="kill", id=process_id, grace=grace)

    async def hold(self, process_id: str, offset: int, seconds: float) -> Answer:
        """Let nothing of a command's log be freed from *offset* on for so long; 0 lets go."""
        return await self._request(op="hold", id=process_id, offset=offset, seconds=seconds)

    async def usage(self, process_id: str, figures: Mapping[str, Any]) -> Answer:
        """Have a sample of what a command uses appended to its log, if it runs."""
        return await self._request(op="usage", id=process_id, usage=figures)

    async def _request(self, **message: Any) -> Answer:
        async with self._free:
            return await self._exchange(message)

    async def _exchange(self, message: dict[str, Any]) -> Answer:
        await self._channel.room()
        if self._gone is not None:
            # It went while this waited to be sent, and nobody would answer any more.
            raise KeeperGone(self._gone, status=503)
        self._last_rid += 1
        rid = message["rid"] = self._last_rid
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending[rid] = answer
        try:
            self._channel.send(msgspec.json.encode(message))
            return await answer
        finally:
            del self._pending[rid]

    # What comes.

    def _take(self, line: bytes) -> None:
        message = self._decoder.decode(line)
        if message.news:
            for news in message.news:
                if news.gone is None:
                    self._board.apply(news, self.number)
                else:
                    self._board.forget(news.id, news.gone)
            self._on_news([news.id for news in message.news])
        elif message.re is not None:
            self._settle(message)
        elif message.ready:
            self._introduced(message.index)
        else:
            self._first += message.snapshot

    def _settle(self, message: _Message) -> None:
        answer = self._pending.get(message.re or 0)
        if answer is None or answer.done():
            return
        if message.error is None:
            answer.set_result(message.ok or Answer())
        else:
            answer.set_exception(Refusal(message.error))

    def _introduced(self, index_bytes: int | None) -> None:
        if self._snapshot is not None and not self._snapshot.done():
            self._snapshot.set_result(Snapshot(self._first, index_bytes))
            self._first = []
            self._channel.hold()

    def _ended(self, reason: str) -> None:
        self._fail(f"the keeper has gone: {reason}")
        self._on_end(f"the keeper has gone: {reason}")

    def _fail(self, reason: str) -> None:
        self._gone = self._gone or reason
        if self._snapshot is not None and not self._snapshot.done():
            self._snapshot.set_exception(KeeperGone(reason, status=503))
        for answer in list(self._pending.values()):
            if not answer.done():
                answer.set_exception(KeeperGone(reason, status=503))
