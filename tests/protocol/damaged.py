"""A finished log with a byte of it changed, for whoever reads logs."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

from hopx_async.protocol import records
from hopx_async.testing.memory_log import MemoryLogs

__all__ = ["LAST_TOO_LARGE", "DamagedLog", "damages", "records_of"]

_ID = "cmd_1"


def _whole() -> tuple[bytes, int]:
    """Return a log, and where its last record begins."""
    logs = MemoryLogs()
    logs.create(_ID, {"command": "x" * 40}, 1.0)
    logs.append_json(_ID, records.STARTED, 1.0, {"pid": 42})
    logs.append_data(_ID, records.STDOUT, 1.0, b"out " * 30)
    logs.append_data(_ID, records.STDERR, 1.0, b"err")
    logs.append_data(_ID, records.STDOUT, 1.0, bytes(range(256)) * 300)
    usage = {"cpu_seconds": 1.25, "rss_bytes": 1099999, "read_bytes": 12, "write_bytes": None}
    logs.append_json(_ID, records.USAGE, 2.0, usage)
    logs.append_data(_ID, records.STDOUT, 2.0, b"last")
    end = {"reason": "exited", "exit_code": 3, "ended_at": 2.5, "started_at": 1.0}
    logs.append_json(_ID, records.EXITED, 2.0, {**end, "duration": 1.5, "survivors": 0, "tail": []})
    data = b""
    while len(data) < logs[_ID].end:
        piece = logs.read(_ID, len(data), 1 << 20)
        assert piece is not None
        data += piece[1]
    last = logs.last(_ID)
    assert last is not None
    return data, last[0]


_LOG, _LAST = _whole()


def records_of(log: bytes) -> Iterator[records.Record]:
    """Yield the records of a log that is whole."""
    reader = records.RecordReader()
    reader.feed(log)
    while (record := reader.read()) is not None:
        yield record


# Kinds and sizes, then all that is no output: most of a log is output, where little can go wrong.
_PLACES = [
    [record.offset + byte for record in records_of(_LOG) for byte in (0, 4, 5, 6, 7)],
    [
        place
        for record in records_of(_LOG)
        for place in range(record.offset, min(record.end, record.offset + 200))
    ],
    list(range(len(_LOG))),
]
#: Which byte, and what it is changed by.
damages = st.tuples(st.one_of(*map(st.sampled_from, _PLACES)), st.integers(1, 255))
#: One that lets the last record claim to be larger than what is left.
LAST_TOO_LARGE = (_LAST + 5, 8)


class DamagedLog:
    """A log source that holds one finished log, with one byte changed.

    Attributes:
        process_id: Its command.
    """

    process_id = _ID

    def __init__(self, damage: tuple[int, int]) -> None:
        place, change = damage
        self._log = bytearray(_LOG)
        self._log[place] ^= change

    def change(self, place: int, data: bytes) -> None:
        """Put other bytes at a place."""
        self._log[place : place + len(data)] = data

    def find(self, data: bytes) -> int:
        """Return where *data* begins."""
        return self._log.index(data)

    def swallow(self, end: int) -> None:
        """Let the record that ends at *end* claim all that follows as its own."""
        before = next(record for record in records_of(bytes(self._log)) if record.end == end)
        self.change(before.offset + 4, (len(self._log) - before.offset).to_bytes(4, "little"))

    def end(self, process_id: str) -> int:
        return len(self._log)

    def over(self, process_id: str) -> bool:
        return True

    def read(self, process_id: str, offset: int, limit: int) -> tuple[int, bytes] | None:
        data = bytes(self._log[offset : offset + limit])
        return (offset, data) if data else None

    def last(self, process_id: str) -> tuple[int, bytes]:
        return _LAST, bytes(self._log[_LAST:])
