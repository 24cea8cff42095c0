"""Events, and how they are read from the records of a log."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, TypeAlias

import attrs

from hopx_async.errors import RemoteProtocolError
from hopx_async.model import Exit
from hopx_async.protocol import lifecycle, records
from hopx_async.protocol.cursor import START, UNKNOWN, Position, print_cursor
from hopx_async.protocol.event_base import EventBase

__all__ = [
    "Event",
    "EventReader",
    "Exited",
    "Lost",
    "Started",
    "Stderr",
    "Stdout",
    "Truncated",
    "Usage",
    "exit_event",
]


@attrs.frozen(kw_only=True)
class Started(EventBase):
    """The command runs. Comes before all output.

    Attributes:
        pid: The leader's pid on the far side.
    """

    type: ClassVar[str] = "started"
    pid: int


@attrs.frozen(kw_only=True)
class Stdout(EventBase):
    """The command wrote to stdout.

    Attributes:
        data: The bytes, cut anywhere, in the middle of a character too.
    """

    type: ClassVar[str] = "stdout"
    data: bytes


@attrs.frozen(kw_only=True)
class Stderr(EventBase):
    """The command wrote to stderr.

    Attributes:
        data: The bytes, cut anywhere, in the middle of a character too.
    """

    type: ClassVar[str] = "stderr"
    data: bytes


@attrs.frozen(kw_only=True)
class Truncated(EventBase):
    """Output that retention freed before it was read; the stream goes on behind it.

    Attributes:
        stdout_bytes: Bytes of stdout that are missing here, exactly.
        stderr_bytes: Bytes of stderr that are missing here, exactly.
    """

    type: ClassVar[str] = "truncated"
    stdout_bytes: int
    stderr_bytes: int


@attrs.frozen(kw_only=True)
class Usage(EventBase):
    """What all processes of the command use; only if its start asked for that.

    Attributes:
        cpu_seconds: User and system time so far, in seconds; ended children included.
        rss_bytes: Resident memory now, in bytes; what processes share is counted for each.
        read_bytes: Bytes read from storage so far, None where the far side may not know.
        write_bytes: Bytes written to storage so far, None where the far side may not know.
    """

    type: ClassVar[str] = "usage"
    cpu_seconds: float
    rss_bytes: int
    read_bytes: int | None
    write_bytes: int | None


@attrs.frozen(kw_only=True)
class Exited(EventBase):
    """The command has ended. The last event.

    Attributes:
        exit: How it ended.
    """

    type: ClassVar[str] = "exited"
    exit: Exit


@attrs.frozen(kw_only=True)
class Lost(EventBase):
    """How the command ended can no longer be known. The last event.

    Attributes:
        exit: An exit whose reason is ``"lost"``.
    """

    type: ClassVar[str] = "lost"
    exit: Exit


Event: TypeAlias = Started | Stdout | Stderr | Truncated | Usage | Exited | Lost


def exit_event(process_id: str, record: records.Record, position: Position) -> Exited | Lost:
    """Return the event of a terminal *record*.

    Raises:
        RemoteProtocolError: If its payload is no exit.
    """
    try:
        fate = Exit.from_payload(record.json())
    except (ValueError, TypeError, KeyError) as error:
        raise RemoteProtocolError(f"no exit of {process_id} in {record!r}: {error}") from error
    cursor = print_cursor(process_id, position)
    if record.kind == records.LOST:
        return Lost(process_id=process_id, cursor=cursor, at=record.at, exit=fate)
    return Exited(process_id=process_id, cursor=cursor, at=record.at, exit=fate)


class EventReader:
    """Reads events from log bytes: order, exactness and grammar are checked here.

    Attributes:
        position: Behind the last event read, or behind a record without an event.
        state: Where the command stands in the table of `lifecycle`.
        at: Unix time of the last record read, 0.0 before.
    """

    __slots__ = (
        "_caught_up",
        "_jumped",
        "_later",
        "_process_id",
        "_reader",
        "at",
        "position",
        "state",
    )

    def __init__(self, process_id: str, position: Position = START) -> None:
        self._process_id = process_id
        self._reader = records.RecordReader(position.offset)
        self._jumped = False
        # What came behind a gap waits here until everything before the gap is read.
        self._later: deque[tuple[int, bytes | memoryview]] = deque()
        self.position = position
        # Whether a stream's count is where the log is; behind a line it may be ahead of it.
        self._caught_up = [position.offset == 0, position.offset == 0]
        # A cursor is handed out with an event, and no event comes before `Started`.
        self.state = lifecycle.RUNNING if position.offset else lifecycle.EMPTY
        self.at = 0.0

    @property
    def fed(self) -> int:
        """Log offset behind the last byte fed."""
        if self._later:
            offset, data = self._later[-1]
            return offset + len(data)
        return self._reader.fed

    @property
    def pending(self) -> int:
        """Bytes fed and not yet read."""
        pending = self._reader.pending
        return pending + sum(len(data) for _, data in self._later) if self._later else pending

    @property
    def missing(self) -> int:
        """Bytes that the record at the head still lacks, 0 if none is begun."""
        return 0 if self._later else self._reader.missing

    @property
    def ended(self) -> bool:
        """Whether the terminal event has been read."""
        return self.state == lifecycle.ENDED

    def feed(self, offset: int, data: bytes | memoryview) -> int:
        """Add log bytes that begin at *offset*; return how many of them were new.

        What was fed before falls away. An offset beyond is a jump over what
        retention cut; the record there must be a ``Base``.
        """
        fed = self.fed
        if offset < fed:
            data = data[fed - offset :]
            offset = fed
        if data:
            if self._later or offset > fed:
                self._later.append((offset, data))
            else:
                self._reader.feed(data)
        return len(data)

    def rewind(self) -> None:
        """Drop what was fed and not read; go on at `position`."""
        self._later.clear()
        self._reader.jump(self.position.offset)
        self._jumped = False

    def drop(self) -> None:
        """Drop what was fed and not read, for good."""
        self._later.clear()
        self._reader.jump(self._reader.offset)

    def read(self) -> Event | None:
        """Return the next event, or None until more is fed.

        Raises:
            RemoteProtocolError: If the bytes break the grammar of a log.
        """
        while (state := self.state) != lifecycle.ENDED:
            try:
                record = self._reader.read()
                if record is None:
                    if not self._later:
                        return None
                    self._cross_gap()
                    continue
                kind = record.kind
                if kind in records.DATA_KINDS and state == lifecycle.RUNNING and not self._jumped:
                    # What comes most by far, and changes nothing.
                    event: Event | None = self._data(record)
                else:
                    state = lifecycle.advance(state, kind)
                    event = self._event(record)
            except (records.RecordError, lifecycle.LifecycleError) as error:
                raise RemoteProtocolError(f"log of {self._process_id}: {error}") from error
            self.state = state
            self.at = record.at
            if event is not None:
                return event
        return None

    def _cross_gap(self) -> None:
        offset, data = self._later.popleft()
        if offset != self._reader.fed:
            # A record of which only the first part came is gone as well.
            self._reader.jump(offset)
            self._jumped = True
        self._reader.feed(data)

    def _event(self, record: records.Record) -> Event | None:
        if self._jumped and record.kind != records.BASE:
            raise records.RecordError(f"a gap before {record!r} without a Base")
        if record.kind in records.DATA_KINDS:
            return self._data(record)
        if record.kind == records.BASE:
            return self._base(record)
        self.position = self.position._replace(offset=record.end)
        if record.kind == records.STARTED:
            pid = record.json().get("pid")
            if not isinstance(pid, int):
                raise records.RecordError(f"no pid in {record!r}")
            return Started(
                process_id=self._process_id, cursor=self._cursor(), at=record.at, pid=pid
            )
        if record.kind in records.TERMINAL_KINDS:
            return exit_event(self._process_id, record, self.position)
        if record.kind == records.USAGE:
            return self._usage(record)
        return None

    def _usage(self, record: records.Record) -> Usage:
        told: Any = record.json()
        try:
            return Usage(
                process_id=self._process_id,
                cursor=self._cursor(),
                at=record.at,
                cpu_seconds=float(told["cpu_seconds"]),
                rss_bytes=int(told["rss_bytes"]),
                read_bytes=None if told["read_bytes"] is None else int(told["read_bytes"]),
                write_bytes=None if told["write_bytes"] is None else int(told["write_bytes"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise records.RecordError(f"no usage in {record!r}: {error!r}") from error

    def _data(self, record: records.Record) -> Stdout | Stderr | None:
        data = record.data
        index = 1 if record.kind == records.STDOUT else 2
        begin = record.stream_offset
        end = begin + len(data)
        read = begin if self.position[index] == UNKNOWN else self.position[index]
        if begin != read:
            if begin > read or self._caught_up[index - 1]:
                problem = f"{record!r} is byte {begin} of its stream, expected {read}"
                raise records.RecordError(problem)
            # A line cursor may stand ahead of its record: what was read falls away.
            data = data[read - begin :]
        self._caught_up[index - 1] = end >= read
        self._move(record.end, index, read + len(data))
        if not data:
            return None
        return (Stdout if index == 1 else Stderr)(
            process_id=self._process_id, cursor=self._cursor(), at=record.at, data=data
        )

    def _move(self, offset: int, index: int, count: int) -> None:
        _, out, err = self.position
        self.position = Position(offset, count, err) if index == 1 else Position(offset, out, count)

    def _base(self, record: records.Record) -> Truncated | None:
        lost = [0, 0]
        counts = list(record.base()[1:])
        for index, (count, read) in enumerate(zip(counts, self.position[1:], strict=True)):
            if read == UNKNOWN:
                continue
            if count < read and not self._caught_up[index]:
                counts[index] = read
                continue
            lost[index] = count - read
            self._caught_up[index] = True
            if lost[index] < 0 or (lost[index] and not self._jumped):
                raise records.RecordError(f"{record!r} counts {counts}, not {self.position[1:]}")
        self._jumped = False
        self.position = Position(record.end, *counts)
        if not any(lost):
            return None
        return Truncated(
            process_id=self._process_id,
            cursor=self._cursor(),
            at=record.at,
            stdout_bytes=lost[0],
            stderr_bytes=lost[1],
        )

    def _cursor(self) -> str:
        return print_cursor(self._process_id, self.position)
