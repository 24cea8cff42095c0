"""The keeper's side of its agent: a snapshot first, then news, coalesced while it is slow."""

from __future__ import annotations

from base64 import b64encode

from hopx_async.keeper.channel import HIGH_WATER, Channel, compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from hopx_async.keeper.command import Command
    from hopx_async.keeper.index import Index
    from hopx_async.keeper.loop import Loop

__all__ = ["AgentLink", "encode_terminal"]

_SNAPSHOT_BYTES = 64 * 1024
_MOST_REPLIES = 1000


class AgentLink:
    """One connection of an agent.

    While the agent does not read, news are kept as a set of the commands that changed,
    and no requests are taken; so what waits is bounded by the commands alive.

    Args:
        sock: The connection.
        loop: Where it waits.
        live: The commands alive; those at the start make the snapshot.
        index: Tells of the commands that have ended.
        on_request: Called with each request.
        on_end: Called when the agent has gone.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: Loop,
        live: dict[str, Command],
        index: Index,
        *,
        on_request: Callable[[dict[str, object]], object],
        on_end: Callable[[], object],
    ) -> None:
        self._channel = Channel(sock, loop, on_request, on_end)
        self._live = live
        self._index = index
        self._untold: list[str] | None = list(live)
        self._changed: dict[str, Command] = {}
        self._new: dict[str, str] = {}
        self._failed: list[str] = []
        self._forgotten: list[str] = []
        self._replies: list[str] = []

    @property
    def backlog(self) -> int:
        """Bytes that the agent has not taken yet."""
        return self._channel.backlog

    def changed(self, command: Command, *, spec: str = "") -> None:
        """Tell of *command* at the end of the turn, or when the agent reads again.

        Args:
            command: Whose log has grown, or who has ended.
            spec: Its public spec as JSON, if it is new.
        """
        self._changed[command.process_id] = command
        if spec:
            self._new[command.process_id] = spec

    def failed(self, process_id: str, spec: str, end: int, terminal: bytes) -> None:
        """Tell of a command that could not be started."""
        self._failed.append(
            f'{{"id":"{process_id}","spec":{spec},"pid":null,"started_at":null,'
            f'"segments":[0],"end":{end},"last":"{encode_terminal(terminal)}"}}'
        )

    def forgotten(self, process_id: str, at: float) -> None:
        """Tell that nothing of a command is kept any more, since the Unix time *at*."""
        self._forgotten.append(f'{{"id":"{process_id}","gone":{at!r}}}')

    def reply(self, rid: int, ok: str) -> None:
        """Answer the request *rid* with the JSON *ok*, after the news of this turn."""
        self._replies.append(f'{{"re":{rid},"ok":{ok}}}')

    def refuse(self, rid: object, code: str, message: str, **data: object) -> None:
        """Answer the request *rid* with an error."""
        error = {"code": code, "message": message, **data}
        self._replies.append(f'{{"re":{compact(rid)},"error":{compact(error)}}}')

    def hold(self, held: bool) -> None:
        """Take no more requests, or take them again."""
        waiting = self._channel.backlog > HIGH_WATER or len(self._replies) > _MOST_REPLIES
        self._channel.hold(held or waiting)

    def flush(self) -> None:
        """Send what there is to say, if the agent has read what was said before."""
        while self._untold is not None and not self._channel.backlog:
            self._tell_snapshot(self._untold)
        if self._channel.backlog or self._untold is not None:
            return
        if self._changed or self._failed or self._replies or self._forgotten:
            lines = self._replies
            if self._changed or self._failed or self._forgotten:
                told = map(self._news, self._changed.values())
                news = [*self._failed, *told, *self._forgotten]
                lines = [f'{{"news":[{",".join(news)}]}}', *lines]
            self._changed.clear()
            self._failed.clear()
            self._forgotten.clear()
            self._replies = []
            self._channel.send("\n".join(lines))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _tell_snapshot(self, untold: list[str]) -> None:
        entries: list[str] = []
        size = 0
        while untold and size < _SNAPSHOT_BYTES:
            # One that has ended meanwhile stands in the index by the time of "ready".
            command = self._live.get(untold.pop())
            if command is not None:
                entries.append(_entry(command))
                size += len(entries[-1])
        lines = [f'{{"snapshot":[{",".join(entries)}]}}'] if entries else []
        if not untold:
            self._untold = None
            self._changed = {
                process_id: command
                for process_id, command in self._changed.items()
                if not command.ended
            }
            self._new = {name: self._new[name] for name in self._new if name in self._changed}
            lines.append(f'{{"ready":true,"index":{compact(self._index.valid_bytes)}}}')
        self._channel.send("\n".join(lines))

    def _news(self, command: Command) -> str:
        parts = [f'{{"id":"{command.process_id}"']
        log = command.log
        if command.process_id in self._new:
            parts.append(_identity(command, self._new.pop(command.process_id)))
        if log.segments is not command.told_segments:
            command.told_segments = log.segments
            parts.append(f'"segments":{log.segments}')
        parts.append(f'"end":{log.end}')
        if command.ended:
            parts.append(f'"last":"{encode_terminal(command.terminal)}"')
        return ",".join(parts) + "}"


def encode_terminal(record: bytes) -> str:
    """Return a terminal record as it travels in news."""
    return b64encode(record).decode("ascii")


def _identity(command: Command, spec: str) -> str:
    spawned = command.spawned
    return f'"spec":{spec},"pid":{spawned.pid},"started_at":{spawned.started_at!r}'


def _entry(command: Command) -> str:
    command.told_segments = command.log.segments
    where = f'"end":{command.log.end},"segments":{command.log.segments}'
    return f'{{"id":"{command.process_id}",{_identity(command, command.spec())},{where}}}'
