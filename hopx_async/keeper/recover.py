"""What a keeper before this one left behind: every log gets its last word."""

from __future__ import annotations

import os

from hopx_async.keeper.channel import compact
from hopx_async.keeper.exits import lost_exit
from hopx_async.keeper.index import Index, end_line, start_line
from hopx_async.keeper.log import Log
from hopx_async.keeper.store import complain
from hopx_async.protocol import lifecycle, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hopx_async.keeper.store import Store

__all__ = ["recover"]

_PIECE = 1024 * 1024


def recover(store: Store, index: Index, *, owner: int | None = None) -> list[str]:
    """End every log that has no end with ``Lost``, cutting off before what is torn or damaged.

    The index gets what it lacks. Logs whose end an index tells are not opened if they are as
    long as it says: power that fails takes what had not reached the disk. One that cannot be
    read holds up no other.

    Args:
        store: The logs.
        index: This keeper's.
        owner: The keeper whose logs are meant; others may be writing theirs. None for all,
            when there is no other keeper.

    Returns:
        The ids that were lost now; something of them may still run.
    """
    if owner is None:
        index.take_over()
    ended = index.ended()
    segments: dict[str, list[int]] = {}
    for name in store.names():
        parsed = records.parse_segment_name(name)
        if parsed is not None:
            segments.setdefault(parsed[0], []).append(parsed[1])
    lost = []
    for process_id, starts in segments.items():
        starts.sort()
        try:
            if process_id in ended and _reaches(store, process_id, starts, ended[process_id]):
                continue
            if owner is None or _owner(store, process_id) == owner:
                lost += _last_word(store, index, process_id, starts)
        except OSError as error:
            complain(f"the log of {process_id} cannot be read: {error}")
    index.flush()
    return lost


def _reaches(store: Store, process_id: str, starts: list[int], end: int) -> bool:
    """Return whether a log is there up to its *end*."""
    return starts[-1] + store.size_of(records.segment_name(process_id, starts[-1])) >= end


def _last_word(store: Store, index: Index, process_id: str, starts: list[int]) -> list[str]:
    """Give a log its end, and the index both; return the id if it was lost now."""
    past = _Past(store, process_id, starts[:])
    if past.spec is None:
        # The claim was torn, hence nothing was started.
        for start in starts:
            store.unlink(records.segment_name(process_id, start))
        return []
    lost = past.terminal is None
    if lost:
        past.lose()
    past.tell(index)
    return [process_id] if lost else []


def _owner(store: Store, process_id: str) -> int | None:
    """Return the number of the keeper that claimed a log, None if nobody can say."""
    try:
        fd = store.open_segment(records.segment_name(process_id, 0))
    except FileNotFoundError:
        return None
    reader = records.RecordReader(0)
    position = 0
    try:
        while piece := os.pread(fd, records.BLOCK, position):
            position += len(piece)
            reader.feed(piece)
            while (record := reader.read()) is not None:
                if record.kind == records.SPEC:
                    number = record.json().get("keeper")
                    return number if isinstance(number, int) else None
    except records.RecordError:
        pass  # it is not for us to say what is wrong with it
    finally:
        os.close(fd)
    return None


class _Past:
    """What the segments of one command say."""

    def __init__(self, store: Store, process_id: str, starts: list[int]) -> None:
        self._store = store
        self._process_id = process_id
        self.spec: bytes | None = None
        self.terminal: records.Record | None = None
        self._spec_end = 0
        self._pid: int | None = None
        self._started_at: float | None = None
        self._seen_at = 0.0
        self._counts = [0, 0]
        self._end = 0
        self._starts = starts
        self._state = lifecycle.EMPTY
        if starts[0] == 0:
            self._read(0, head=True)
        while self.spec is not None and len(starts) > 1 and not self._read(starts[-1], head=False):
            # It was created, and then there was no room for its first record.
            store.unlink(records.segment_name(process_id, starts.pop()))
            if len(starts) == 1:
                self._counts, self._state = [0, 0], lifecycle.EMPTY
                self._read(0, head=False)

    def lose(self) -> None:
        """Append ``Lost`` behind the last whole record."""
        log = Log(self._store, self._process_id)
        state = lifecycle.CLAIMED if self._pid is None else lifecycle.RUNNING
        log.resume(self._starts, self._end, self._spec_end, self._counts, state)
        outcome = lost_exit(self._started_at, self._seen_at)
        record = log.append(records.LOST, compact(outcome).encode("ascii"))
        log.close()
        self.terminal = records.Record(
            records.LOST, 0.0, log.end - len(record), record, 0, len(record)
        )

    def tell(self, index: Index) -> None:
        """Add the command to the index."""
        if self.spec is None or self.terminal is None:
            raise AssertionError("tell() comes after the spec was read and the end was known")
        outcome = self.terminal.json()
        outcome.pop("tail", None)
        spec = self.spec.decode("ascii")
        index.add(start_line(self._process_id, spec, self._pid, self._started_at))
        size = self.terminal.end - self.terminal.offset
        index.add(end_line(self._process_id, self.terminal.end, size, compact(outcome)))

    def _read(self, start: int, *, head: bool) -> bool:
        """Read a segment, the head only to its ``Started``; cut what is torn. False if empty."""
        fd = self._store.open_segment(records.segment_name(self._process_id, start))
        end = start
        try:
            for record in _records(fd, records.RecordReader(start)):
                try:
                    self._take(record)
                except (records.RecordError, lifecycle.LifecycleError):
                    break  # whatever it is, nobody wrote it so: it is not believed
                end = record.end
                if head and len(self._starts) > 1 and self._pid is not None:
                    return True
            os.ftruncate(fd, end - start)
        finally:
            os.close(fd)
        return end > start

    def _take(self, record: records.Record) -> None:
        """Take the next record.

        Raises:
            RecordError: If it says nothing that can be true there.
            LifecycleError: If it cannot stand there.
        """
        kind = record.kind
        state = lifecycle.advance(self._state, kind)
        if kind == records.BASE:
            self._counts[:] = record.base()[1:]
        elif kind in records.DATA_KINDS:
            if record.stream_offset != self._counts[kind - records.STDOUT]:
                raise records.RecordError(f"{record!r} is not the next of its stream")
            self._counts[kind - records.STDOUT] += len(record.data)
        elif kind == records.SPEC:
            said = record.json().get("process_id")
            if not record.payload.isascii() or said != self._process_id:
                raise records.RecordError(f"no spec in {record!r}")
            self.spec, self._spec_end = record.payload, record.end
        elif kind == records.STARTED:
            pid = record.json().get("pid")
            self._pid = pid if isinstance(pid, int) else None
            self._started_at = record.at
        elif kind in records.TERMINAL_KINDS:
            record.json()
            self.terminal = record
        self._state = state
        self._end, self._seen_at = record.end, record.at or self._seen_at


def _records(fd: int, reader: records.RecordReader) -> list[records.Record]:
    found: list[records.Record] = []
    position = 0
    try:
        while piece := os.pread(fd, _PIECE, position):
            position += len(piece)
            reader.feed(piece)
            while (record := reader.read()) is not None:
                found.append(record)
    except records.RecordError:
        # Behind the last whole record stands half of one, or what a full disk made of it.
        pass
    return found
