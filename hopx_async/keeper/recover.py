"""What a keeper before this one left behind: every log gets its last word."""

from __future__ import annotations

import os

from hopx_async.keeper.channel import compact
from hopx_async.keeper.exits import lost_exit
from hopx_async.keeper.index import Index, end_line, start_line
from hopx_async.keeper.log import Log
from hopx_async.protocol import lifecycle, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hopx_async.keeper.store import Store

__all__ = ["recover"]

_PIECE = 1024 * 1024


def recover(store: Store, index: Index, *, owner: int | None = None) -> list[str]:
    """End every log that has no end with ``Lost``, cutting a torn record off before.

    The index gets what it lacks. Logs whose end an index tells are not opened.

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
    ended = index.ended_ids()
    segments: dict[str, list[int]] = {}
    for name in store.names():
        parsed = records.parse_segment_name(name)
        if parsed is not None and parsed[0] not in ended:
            segments.setdefault(parsed[0], []).append(parsed[1])
    lost = []
    for process_id, starts in segments.items():
        if owner is not None and _owner(store, process_id) != owner:
            continue
        past = _Past(store, process_id, sorted(starts))
        if past.spec is None:
            # The claim was torn, hence nothing was started.
            for start in starts:
                store.unlink(records.segment_name(process_id, start))
            continue
        if past.terminal is None:
            past.lose()
            lost.append(process_id)
        past.tell(index)
    index.flush()
    return lost


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
        if starts[0] == 0:
            self._read(0, head=True)
        while self.spec is not None and len(starts) > 1 and not self._read(starts[-1], head=False):
            # It was created, and then there was no room for its first record.
            store.unlink(records.segment_name(process_id, starts.pop()))
            if len(starts) == 1:
                self._read(0, head=False)

    def lose(self) -> None:
        """Append ``Lost`` behind the last whole record."""
        log = Log(self._store, self._process_id)
        state = lifecycle.CLAIMED if self._pid is None else lifecycle.RUNNING
        log.resume(self._starts, self._end, self._spec_end, self._counts, state)
        outcome = lost_exit(self._started_at, self._seen_at)
        record = log.append(records.LOST, compact(outcome).encode("ascii"))
        log.close()
        self._take(records.Record(records.LOST, 0.0, log.end - len(record), record, 0, len(record)))

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
        try:
            reader = records.RecordReader(start)
            for record in _records(fd, reader):
                self._take(record)
                if head and len(self._starts) > 1 and self._pid is not None:
                    return True
            os.ftruncate(fd, reader.offset - start)
        finally:
            os.close(fd)
        return reader.offset > start

    def _take(self, record: records.Record) -> None:
        kind = record.kind
        self._end, self._seen_at = record.end, record.at or self._seen_at
        if kind == records.BASE:
            self._counts[:] = record.base()[1:]
        elif kind in records.DATA_KINDS:
            self._counts[kind - records.STDOUT] = record.stream_offset + len(record.data)
        elif kind == records.SPEC:
            self.spec, self._spec_end = record.payload, record.end
        elif kind == records.STARTED:
            pid = record.json().get("pid")
            self._pid = pid if isinstance(pid, int) else None
            self._started_at = record.at
        elif kind in records.TERMINAL_KINDS:
            self.terminal = record


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
