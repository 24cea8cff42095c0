"""Logs in memory, with the layout of real ones: blocks, pads, segments, retention."""

from __future__ import annotations

from typing import Any

from hopx_async.protocol import lifecycle, records

__all__ = ["MemoryLog", "MemoryLogs"]

_DATA_OVERHEAD = records.HEADER.size + records.DATA_PREFIX.size


class MemoryLog:
    """The log of one command.

    Attributes:
        end: Log offset behind the last record.
        over: Whether the last record is a terminal one.
    """

    def __init__(self, *, segment_bytes: int) -> None:
        self._segment_bytes = segment_bytes
        self._segments: dict[int, bytearray] = {}
        self._counts = {records.STDOUT: 0, records.STDERR: 0}
        self._last: tuple[int, bytes] | None = None
        self._state = lifecycle.EMPTY
        self.end = 0
        #: Whether nothing of it is freed.
        self.waits = False
        self._open_segment(0.0)

    @property
    def over(self) -> bool:
        """Whether the last record is a terminal one."""
        return self._state == lifecycle.ENDED

    @property
    def last(self) -> tuple[int, bytes] | None:
        """Offset and bytes of the terminal record, None before the end."""
        return self._last

    @property
    def segments(self) -> list[int]:
        """The offsets at which the kept segments begin."""
        return list(self._segments)

    def append(self, record: bytes, at: float) -> None:
        """Append a whole record that is no data."""
        kind = record[0]
        state = lifecycle.advance(self._state, kind)
        if kind != records.SPEC:
            self._make_room(len(record), at)
        if kind in records.TERMINAL_KINDS:
            self._last = (self.end, record)
        self._write(record)
        self._state = state

    def append_data(self, kind: int, at: float, data: bytes) -> None:
        """Append output of one stream."""
        self._state = lifecycle.advance(self._state, kind)
        view = memoryview(data)
        while view:
            self._make_room(_DATA_OVERHEAD + 1, at)
            # Up to the end of a block at a time, so that a segment can begin there.
            piece = view[: records.BLOCK - self.end % records.BLOCK - _DATA_OVERHEAD]
            buffers, _ = records.place_data(self.end, kind, at, self._counts[kind], piece)
            for buffer in buffers:
                self._write(bytes(buffer))
            self._counts[kind] += len(piece)
            view = view[len(piece) :]

    def roll(self, at: float) -> None:
        """Begin a new segment, at the next boundary of a block. The command has started."""
        self._write(bytes([records.PAD]) * (-self.end % records.BLOCK))
        self._open_segment(at)

    def retain(self, limit: int) -> None:
        """Free whole segments, the oldest first, until at most *limit* bytes are kept.

        The head, which holds the spec, and the one being written are never freed.
        """
        for start in list(self._segments)[1:-1]:
            if sum(map(len, self._segments.values())) <= limit:
                break
            del self._segments[start]

    def read(self, offset: int, limit: int) -> tuple[int, bytes]:
        """Return bytes from *offset* on, or from the next that is kept."""
        for start, content in self._segments.items():
            if offset < start + len(content):
                offset = max(offset, start)
                return offset, bytes(content[offset - start : offset - start + limit])
        return offset, b""

    def _make_room(self, size: int, at: float) -> None:
        self._write(records.pad_before(self.end, size))
        full = self.end - list(self._segments)[-1] >= self._segment_bytes
        # Spec and Started share the head segment, which is never freed.
        if full and self.end % records.BLOCK == 0 and self._state == lifecycle.RUNNING:
            self._open_segment(at)

    def _open_segment(self, at: float) -> None:
        self._segments[self.end] = bytearray()
        counts = self._counts
        base = records.encode_base(at, self.end, counts[records.STDOUT], counts[records.STDERR])
        self._state = lifecycle.advance(self._state, records.BASE)
        self._write(base)

    def _write(self, data: bytes) -> None:
        self._segments[list(self._segments)[-1]] += data
        self.end += len(data)


class MemoryLogs:
    """Logs by command: a `LogSource` for the agent's half of the link.

    Args:
        segment_bytes: When a segment is full, in bytes; a multiple of a block.
        retention_bytes: How much of each log is kept.
    """

    def __init__(
        self,
        *,
        segment_bytes: int = records.SEGMENT_BYTES,
        retention_bytes: int = records.RETENTION_BYTES,
    ) -> None:
        self._segment_bytes = segment_bytes
        self._retention_bytes = retention_bytes
        self._logs: dict[str, MemoryLog] = {}

    def __getitem__(self, process_id: str) -> MemoryLog:
        """Return the log of a command."""
        return self._logs[process_id]

    def create(self, process_id: str, spec: dict[str, Any], at: float) -> MemoryLog:
        """Begin the log of a command with its public spec."""
        log = self._logs[process_id] = MemoryLog(segment_bytes=self._segment_bytes)
        # A script cannot be held back: what its reader needs is kept instead.
        log.waits = spec.get("overflow") == "wait"
        log.append(records.encode_json(records.SPEC, at, spec), at)
        return log

    def append_json(self, process_id: str, kind: int, at: float, value: dict[str, Any]) -> None:
        """Append a record whose payload is JSON."""
        self._logs[process_id].append(records.encode_json(kind, at, value), at)

    def append_data(self, process_id: str, kind: int, at: float, data: bytes) -> None:
        """Append output, and free what retention does not keep."""
        log = self._logs[process_id]
        log.append_data(kind, at, data)
        if not log.waits:
            log.retain(self._retention_bytes)

    def forget(self, process_id: str) -> None:
        """Lose a log."""
        del self._logs[process_id]

    # LogSource.

    def end(self, process_id: str) -> int | None:
        """Return the log offset behind the last record, None for an unknown command."""
        log = self._logs.get(process_id)
        return None if log is None else log.end

    def over(self, process_id: str) -> bool:
        """Return whether the last record is a terminal one."""
        log = self._logs.get(process_id)
        return log is not None and log.over

    def read(self, process_id: str, offset: int, limit: int) -> tuple[int, bytes] | None:
        """Return log bytes from *offset* on, or from the next that is kept."""
        log = self._logs.get(process_id)
        return None if log is None else log.read(offset, limit)

    def last(self, process_id: str) -> tuple[int, bytes] | None:
        """Return offset and bytes of the terminal record."""
        log = self._logs.get(process_id)
        return None if log is None else log.last
