"""The table of commands that this agent knows, kept small: ten thousand are ordinary."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from sys import intern
from typing import Any

import msgspec

from hopx_async.agent.exits import EXIT_VIEW, exit_of
from hopx_async.agent.tombstones import Tombstones
from hopx_async.agent.waiters import Waiters
from hopx_async.errors import CommandNotFound
from hopx_async.model import refuse
from hopx_async.protocol import lifecycle
from hopx_async.protocol.records import HEAD_BYTES

__all__ = ["PAGE_BYTES", "PAGE_LENGTH", "Board", "Command", "News", "SpecView"]

#: Commands on one page of a listing, at most.
PAGE_LENGTH = 1000
#: Bytes of JSON on one page of a listing, about; a page holds at least one command.
PAGE_BYTES = 512 * 1024
# Terminal records kept at hand, in bytes; the others are read from their files.
_LAST_BYTES = 4 * 1024 * 1024
_ONLY_HEAD = (0,)


class News(msgspec.Struct, gc=False, frozen=True):
    """What the keeper tells of a command: in its snapshot, and whenever something changes.

    Attributes:
        id: The command.
        spec: Its public spec as JSON; empty if told before.
        pid: Its leader, None if it has not started or was told before.
        started_at: Unix time of its start, None like *pid*.
        end: Log offset behind the last record, None if unchanged.
        segments: Start offsets of its segments, None if unchanged.
        last: The terminal record, None while it runs.
        gone: Unix time at which it was forgotten, None while it is kept.
    """

    id: str
    spec: msgspec.Raw = msgspec.Raw(b"")
    pid: int | None = None
    started_at: float | None = None
    end: int | None = None
    segments: list[int] | None = None
    last: bytes | None = None
    gone: float | None = None


class SpecView(msgspec.Struct, gc=False, frozen=True):
    """The parts of a public spec that the agent itself looks at."""

    spec_digest: str = ""
    name: str | None = None
    tags: dict[str, str] = {}
    keeper: int = 0
    overflow: str = "drop"
    usage_interval: float | None = None


_spec_view = msgspec.json.Decoder(SpecView)


class Command:
    """One command. Spec and exit stay JSON: they are passed on as they came.

    Attributes:
        process_id: Its id.
        spec: Its public spec as JSON.
        pid: Its leader, None if it never started.
        started_at: Unix time of its start, None if it never started.
        end: Log offset behind the last record that may be read.
        segments: Start offsets of its log's segments.
        exit: How it ended as JSON without its tail, None while it runs.
        last_size: Size of its terminal record, which ends at *end*; 0 while it runs.
        status: HopX's word for its state.
        keeper: Number of the keeper that holds it, or held it.
    """

    __slots__ = (
        "end", "exit", "keeper", "last_size", "pid", "process_id", "segments", "spec",
        "started_at", "status",
    )  # fmt: skip

    def __init__(self, process_id: str, spec: bytes = b"{}", keeper: int = 0) -> None:
        self.process_id = process_id
        self.keeper = keeper
        self.spec = spec
        self.pid: int | None = None
        self.started_at: float | None = None
        self.end = 0
        self.segments: tuple[int, ...] = _ONLY_HEAD
        self.exit: bytes | None = None
        self.last_size = 0
        self.status = "running"

    def view(self) -> SpecView:
        """Return the parts of the spec that are looked at."""
        return _spec_view.decode(self.spec)

    def info(self) -> dict[str, Any]:
        """Return what `CommandInfo.from_dict` reads."""
        return {
            "spec": msgspec.Raw(self.spec),
            "pid": self.pid,
            "started_at": self.started_at,
            "exit": None if self.exit is None else msgspec.Raw(self.exit),
            "log_end": self.end,
        }

    def kept(self) -> int:
        """Return how many bytes of its log are on the disk, to within a record."""
        if len(self.segments) < 2:
            return self.end
        return self.end - self.segments[1] + min(self.segments[1], HEAD_BYTES)

    def keep_segments(self, segments: Iterable[int]) -> None:
        """Note which segments there are."""
        kept = tuple(segments)
        self.segments = _ONLY_HEAD if kept == _ONLY_HEAD else kept

    def end_with(self, exit_json: bytes, last_size: int) -> None:
        """Note how it ended; *exit_json* is an exit without its tail."""
        view = EXIT_VIEW.decode(exit_json)
        self.status = intern(lifecycle.status_of(view.reason, view.exit_code))
        self.exit = exit_json
        self.last_size = last_size

    def apply(self, news: News) -> None:
        """Take over what the keeper tells; what it does not mention stays.

        Raises:
            ValueError: If its terminal record is none.
        """
        if bytes(news.spec):
            self.spec = bytes(news.spec)
        if news.pid is not None:
            self.pid, self.started_at = news.pid, news.started_at
        if news.end is not None and news.end > self.end:
            self.end = news.end
        if news.segments is not None:
            self.keep_segments(news.segments)
        if news.last is not None and self.exit is None:
            self.end_with(exit_of(news.last, self.end), len(news.last))


class Board:
    """All commands, by id and in the order of their ids.

    Attributes:
        live: How many of them run.
        live_on: How many of them run, by keeper.
        gone: The ids of those that were forgotten.
    """

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}
        self._ids: list[str] = []
        self._last: OrderedDict[str, bytes] = OrderedDict()
        self._last_bytes = 0
        self._waiting = Waiters()
        self._awaited = Waiters()
        self.gone = Tombstones()
        self.live = 0
        self.live_on: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._commands)

    # What becomes known.

    @property
    def log_bytes(self) -> int:
        """How much of all logs is on the disk, to within a record each."""
        return sum(command.kept() for command in self._commands.values())

    def fill(self, commands: Iterable[Command]) -> None:
        """Take over many commands at once; those that are known already stay as they are."""
        for command in commands:
            if self._commands.setdefault(command.process_id, command) is command:
                self._count(command)
        self._ids = sorted(self._commands)

    def put(self, command: Command) -> Command:
        """Add a command unless it is known; return the one that is known now."""
        known = self._commands.setdefault(command.process_id, command)
        if known is command:
            insort(self._ids, command.process_id)
            self._count(command)
            self._awaited.release(command.process_id)
        return known

    def apply(self, news: News, keeper: int = 0) -> Command:
        """Take over what the keeper of that number tells of one command.

        Raises:
            ValueError: If its terminal record is none.
        """
        command = self._commands.get(news.id)
        if command is None:
            command = self.put(Command(news.id, keeper=keeper))
        running = command.exit is None
        command.apply(news)
        if running and command.exit is not None and news.last is not None:
            self._keep_last(news.id, news.last)
            self._ended(command)
        return command

    def forget(self, process_id: str, at: float) -> None:
        """Drop a command that was forgotten at the Unix time *at*; its id is not used again."""
        self.gone.put(process_id, at)
        command = self._commands.pop(process_id, None)
        if command is not None:
            del self._ids[bisect_left(self._ids, process_id)]
            if command.exit is None:
                # A keeper in the place of a dead one may forget before its end could be read.
                command.end_with(_lost(command, at), 0)
                self._ended(command)
        self._last_bytes -= len(self._last.pop(process_id, b""))

    def settle(self, read: Command) -> None:
        """Take over the end that the log of a running command tells."""
        command = self._commands.get(read.process_id)
        if command is not None and command.exit is None and read.exit is not None:
            command.end, command.segments = read.end, read.segments
            command.end_with(read.exit, read.last_size)
            self._ended(command)

    async def ended(self, command: Command) -> None:
        """Wait until *command* has ended. Cancelling it is safe."""
        while command.exit is None:
            await self._waiting.wait(command.process_id)

    async def known(self, process_id: str) -> Command:
        """Wait until a command is known. Cancelling it is safe."""
        while process_id not in self._commands:
            await self._awaited.wait(process_id)
        return self._commands[process_id]

    def _count(self, command: Command) -> None:
        if command.exit is None:
            self.live += 1
            self.live_on[command.keeper] += 1

    def _ended(self, command: Command) -> None:
        self.live -= 1
        self.live_on[command.keeper] -= 1
        self._waiting.release(command.process_id)

    # What is asked.

    def get(self, process_id: str) -> Command | None:
        """Return a command, None if it is not known."""
        return self._commands.get(process_id)

    def running_on(self, keeper: int) -> list[Command]:
        """Return the commands of one keeper that run."""
        commands = self._commands.values()
        return [one for one in commands if one.exit is None and one.keeper == keeper]

    def require(self, process_id: object) -> Command:
        """Return a command.

        Raises:
            InvalidArgument: If the id is none.
            CommandNotFound: If no command has it.
        """
        refuse(lifecycle.problem_with_id(process_id))
        assert isinstance(process_id, str)
        command = self._commands.get(process_id)
        if command is None:
            gone = f"command {process_id!r} has ended, and nothing of it is kept any more"
            raise CommandNotFound(process_id, message=gone if process_id in self.gone else None)
        return command

    def running(self) -> Iterator[Command]:
        """Return the commands that have not ended."""
        return (command for command in self._commands.values() if command.exit is None)

    def last(self, process_id: str) -> bytes | None:
        """Return the terminal record of a command if it is at hand."""
        return self._last.get(process_id)

    def page(
        self,
        *,
        after: str = "",
        status: str | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> tuple[list[Command], str | None]:
        """Return commands in the order of their ids, behind *after*; None filters by nothing.

        Returns:
            The page, and the id behind which the next one begins, None if this is the last.
        """
        found: list[Command] = []
        size = 0
        for command in self._behind(after):
            if status is not None and command.status != status:
                continue
            if (name is not None or tags) and not _matches(command.view(), name, tags or {}):
                continue
            size += len(command.spec) + len(command.exit or b"") + 100
            if found and (len(found) == PAGE_LENGTH or size > PAGE_BYTES):
                return found, found[-1].process_id
            found.append(command)
        return found, None

    def _behind(self, after: str) -> Iterator[Command]:
        for index in range(bisect_right(self._ids, after), len(self._ids)):
            yield self._commands[self._ids[index]]

    def _keep_last(self, process_id: str, record: bytes) -> None:
        self._last[process_id] = record
        self._last_bytes += len(record)
        while self._last_bytes > _LAST_BYTES:
            self._last_bytes -= len(self._last.popitem(last=False)[1])


def _lost(command: Command, at: float) -> bytes:
    """Return the exit of a command whose end nobody can tell any more."""
    begun = command.started_at
    fate = {"exit_code": None, "signal": None, "reason": "lost", "survivors": 0}
    duration = 0.0 if begun is None else max(0.0, at - begun)
    times = {"started_at": begun, "ended_at": at, "duration": duration}
    return msgspec.json.encode({**fate, **times})


def _matches(view: SpecView, name: str | None, tags: Mapping[str, str]) -> bool:
    if name is not None and view.name != name:
        return False
    return all(view.tags.get(key) == value for key, value in tags.items())
