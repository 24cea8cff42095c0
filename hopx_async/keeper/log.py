"""The writer of one command's log: whole records, in order, through full disks."""

from __future__ import annotations

import os
import time

from hopx_async.keeper import store as stores
from hopx_async.keeper.tail import tail_of
from hopx_async.protocol import lifecycle, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hopx_async.keeper.store import Store

__all__ = ["DiskFullError", "Log"]

# What the headers and pads of one block of data take at most.
_OVERHEAD = 64
# A segment with less room than this is full.
_LEAST_DATA = 4096
_PAD = bytes([records.PAD])
# Of all logs that have no other segment, which are most.
_ONLY_HEAD = [0]


class DiskFullError(Exception):
    """There is no room to claim an id; nothing of the claim is left."""


class Log:
    """Appends records; ``end`` covers only what is wholly written.

    When there is no room, what could not be written is kept (one read of the command's
    pipes at most), :attr:`stuck` is true, and whoever owns the log reads no more of the
    command's output until :meth:`retry` has succeeded.
    """

    __slots__ = (
        "_errors", "_head_end", "_limit", "_opened", "_outputs", "_pending", "_start",
        "_store", "end", "pin", "process_id", "segments", "spec_end", "state",
    )  # fmt: skip

    def __init__(self, store: Store, process_id: str) -> None:
        self._store = store
        self.process_id = process_id
        #: Where the next record goes, in log bytes.
        self.end = 0
        #: Start offsets of the segments that are there; another list whenever they change.
        self.segments = _ONLY_HEAD
        self.state = lifecycle.EMPTY
        #: The log offset from which on a reader still needs everything, None if nobody does.
        self.pin: int | None = None
        #: Log offset behind the spec, from where on records begin at block boundaries.
        self.spec_end = 0
        self._outputs = self._errors = 0
        self._start = 0
        self._limit = min(store.segment_bytes, records.HEAD_BYTES)
        self._head_end = 0
        self._pending: list[tuple[int, float, bytes]] | None = None
        self._opened = True  # whether the current segment has its Base

    @property
    def stuck(self) -> bool:
        """Whether something waits for room."""
        return bool(self._pending)

    @property
    def output_bytes(self) -> int:
        """Bytes of both streams appended so far."""
        return self._outputs + self._errors

    @property
    def _held(self) -> bool:
        return self.pin is not None and self.end - self.pin >= self._room

    @property
    def _room(self) -> int:
        # The head and the segment that is full stay, and the next one will fill up.
        return self._store.retention_bytes - self._head_end - self._store.segment_bytes

    def _needs(self, end: int) -> bool:
        return self.pin is not None and end > self.pin

    @property
    def kept_bytes(self) -> int:
        """Bytes of its segments that are there."""
        if len(self.segments) == 1:
            return self.end
        return self._head_end + self.end - self.segments[1]

    def shrink(self) -> bool:
        """Free the oldest segment but the head, even the current one; tell whether there was."""
        if len(self.segments) == 2:
            idle = self._pending or not self._opened or self.end - self._start <= records.BLOCK
            if idle or not self._roll():
                return False
        head, *others = self.segments
        if len(others) < 2 or self._needs(others[1]):
            return False
        self._unlink(others)
        self.segments = [head, *others]
        return True

    def claim(self, spec: bytes) -> None:
        """Create the log, and with it the claim on the id, holding *spec*.

        Raises:
            FileExistsError: If the id is claimed.
            DiskFullError: If there is no room.
        """
        now = time.time()
        head = records.encode_base(now, 0, 0, 0) + records.encode(records.SPEC, now, spec)
        try:
            fd = self._store.claim(records.segment_name(self.process_id, 0), head)
        except OSError as error:
            if stores.is_full(error):
                raise DiskFullError(str(error)) from error
            raise
        self._store.keep(self, fd)
        self._store.kept_bytes += len(head)
        self.end = self.spec_end = len(head)
        if self.end + _LEAST_DATA > self._limit:
            # Started has to stand in the head, too, which is never freed.
            self._limit = (self.end // records.BLOCK + 2) * records.BLOCK
        self.state = lifecycle.CLAIMED

    def resume(
        self, segments: list[int], end: int, spec_end: int, counts: list[int], state: str
    ) -> None:
        """Go on with a log that a keeper before this one has written."""
        self.segments, self.end, self.spec_end = segments, end, spec_end
        (self._outputs, self._errors), self.state = counts, state
        self._start = segments[-1]
        size = self._store.segment_bytes
        self._limit = self._start + (size if self._start else min(size, records.HEAD_BYTES))
        self._head_end = segments[1] if len(segments) > 1 else 0

    def append(self, kind: int, payload: bytes) -> bytes:
        """Append a record that is no data, if need be into the reserve's room; return it.

        Raises:
            LifecycleError: If it cannot follow what is there.
        """
        state = lifecycle.advance(self.state, kind)
        now = time.time()
        record = records.encode(kind, now, payload)
        if self._pending or not self._write_record(record):
            self._wait(kind, now, payload)
        self.state = state
        return record

    def offer(self, kind: int, payload: bytes) -> bool:
        """Append a record that may as well be missing; return whether there was room for it.

        It never waits for room, and takes none of the reserve's.

        Raises:
            LifecycleError: If it cannot follow what is there.
        """
        lifecycle.advance(self.state, kind)
        record = records.encode(kind, time.time(), payload)
        return not self._pending and self._make_room(len(record)) and self._place(record)

    def append_data(self, kind: int, data: memoryview) -> None:
        """Append output of one stream; *data* may be reused afterwards.

        Raises:
            LifecycleError: If it cannot follow what is there.
        """
        lifecycle.advance(self.state, kind)
        now = time.time()
        written = 0 if self._pending else self._write_data(kind, now, data)
        if written < len(data):
            self._wait(kind, now, bytes(data[written:]))

    def retry(self) -> bool:
        """Try again to write what waits; return whether nothing waits any more."""
        while self._pending:
            kind, at, payload = self._pending[0]
            if kind not in records.DATA_KINDS:
                if not self._write_record(records.encode(kind, at, payload)):
                    return False
            else:
                written = self._write_data(kind, at, memoryview(payload))
                if written < len(payload):
                    self._pending[0] = (kind, at, payload[written:])
                    return False
            self._pending.pop(0)
        self._store.waiting.discard(self)
        return True

    def give_up(self) -> int:
        """Drop the output that waits for room; return how many bytes that was.

        Records that are no data get a last chance.
        """
        waiting = self._pending or []
        if waiting:
            # Nothing will be written over what a write that was cut has left.
            self._store.cut(self, self.end - self._start)
        self._pending = [entry for entry in waiting if entry[0] not in records.DATA_KINDS]
        self.retry()
        self._pending = None
        self._store.waiting.discard(self)
        return sum(len(data) for kind, _, data in waiting if kind in records.DATA_KINDS)

    def close(self) -> None:
        """Close the descriptor; a later append opens it again."""
        self._store.close(self)

    def tail(self, limit: int = lifecycle.TAIL_BYTES) -> list[tuple[str, bytes]]:
        """Return the last *limit* bytes of both streams in the order they came."""
        return tail_of(self, limit) if self.output_bytes else []

    @property
    def readable_from(self) -> int:
        """The log offset from which on everything is there, records at each block's start."""
        if len(self.segments) > 1 and self._head_end != self.segments[1]:
            # What stood between the head and the next segment has been freed.
            return self.segments[1]
        return self.spec_end

    # Writing.

    def _wait(self, kind: int, at: float, payload: bytes) -> None:
        self._pending = [*(self._pending or ()), (kind, at, payload)]
        self._store.waiting.add(self)

    def _write_record(self, record: bytes) -> bool:
        while True:
            if not self._make_room(len(record)):
                return False
            if self._place(record):
                return True
            if not self._store.release():
                return False

    def _place(self, record: bytes) -> bool:
        pad = records.pad_before(self.end, len(record))
        return self._write([pad, record] if pad else [record], len(pad) + len(record))

    def _write_data(self, kind: int, at: float, data: memoryview) -> int:
        """Write as much as there is room for; return how many bytes that was."""
        written = 0
        while written < len(data) and not self._held:
            if not self._make_room(_LEAST_DATA):
                break
            room = self._limit - self.end
            room -= _OVERHEAD * (room // records.BLOCK + 2)
            piece = data[written : written + room]
            counted = self._outputs if kind == records.STDOUT else self._errors
            buffers, end = records.place_data(self.end, kind, at, counted, piece)
            if not self._write(buffers, end - self.end):
                break
            written += len(piece)
            if kind == records.STDOUT:
                self._outputs += len(piece)
            else:
                self._errors += len(piece)
        return written

    def _write(self, buffers: list[bytes | memoryview] | list[bytes], size: int) -> bool:
        try:
            fd = self._store.fd_of(self)
            if os.pwritev(fd, buffers, self.end - self._start) != size:
                # The rest of a record that was cut is written over by the next attempt.
                self._store.tell("short write")
                return False
        except OSError as error:
            self._store.tell(str(error))
            return False
        self.end += size
        self._store.kept_bytes += size
        return True

    # Segments.

    def _make_room(self, size: int) -> bool:
        """Begin the next segment if the current one has no room for *size* bytes."""
        if self._opened and self.end + size + _OVERHEAD <= self._limit:
            return True
        return self._roll()

    def _roll(self) -> bool:
        boundary = -(-self.end // records.BLOCK) * records.BLOCK
        pads = _PAD * (boundary - self.end)
        if pads and not self._write([pads], len(pads)):
            return False
        if self._opened:
            self._free(boundary)
        if boundary != self._start and not self._create(boundary):
            return False
        base = records.encode_base(time.time(), self.end, self._outputs, self._errors)
        self._opened = self._write([base], len(base))
        return self._opened

    def _create(self, start: int) -> bool:
        name = records.segment_name(self.process_id, start)
        try:
            fd = self._store.create(name)
        except OSError as error:
            self._store.tell(str(error))
            return False
        self._store.close(self)
        self._store.keep(self, fd)
        if len(self.segments) == 1:
            self._head_end = start
        self.segments = [*self.segments, start]
        self._start = start
        self._limit = start + self._store.segment_bytes
        self._opened = False
        return True

    def _free(self, end: int) -> None:
        """Unlink the oldest segments but the head while more than the retention is kept."""
        head, *others = self.segments
        while others[1:] and end - others[0] > self._room and not self._needs(others[1]):
            self._unlink(others)
        self.segments = [head, *others]

    def _unlink(self, others: list[int]) -> None:
        """Free the first of *others*, behind which there is another."""
        start = others.pop(0)
        self._store.unlink(records.segment_name(self.process_id, start))
        self._store.kept_bytes -= others[0] - start

    # Reading back.

    def read_back(self, start: int, stop: int | None = None) -> list[bytes]:
        """Return everything from log offset *start* on, before *stop* if given, in pieces."""
        pieces = []
        stop = self.end if stop is None else stop
        ends = [*self.segments[1:], self.end]
        for begin, end in zip(self.segments, ends, strict=True):
            first, last = max(start, begin), min(stop, end)
            if first < last:
                fd = self._store.open_segment(records.segment_name(self.process_id, begin))
                try:
                    pieces.append(os.pread(fd, last - first, first - begin))
                finally:
                    os.close(fd)
        return pieces
