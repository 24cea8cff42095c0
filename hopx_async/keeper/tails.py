"""The end of a log, read back from its segments."""

from __future__ import annotations

import os

from hopx_async.protocol import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hopx_async.keeper.store import Store

__all__ = ["last_of", "read_back"]

# A tail is not looked for farther back than about this.
_TAIL_BLOCKS = 64


def read_back(
    store: Store, process_id: str, segments: list[int], span: tuple[int, int], wanted: int
) -> list[tuple[int, bytes]]:
    """Return the last output of a log, *wanted* bytes or somewhat more, by kind of record.

    Args:
        store: Where the segments are.
        process_id: The command.
        segments: Their start offsets.
        span: Log offset of the first record that may be read, and of the end.
        wanted: Bytes of both streams together; what is hidden far behind is not found.
    """
    first, end = span
    blocks = 1
    while True:
        start = max(first, (end // records.BLOCK - blocks) * records.BLOCK)
        found = _data_in(_read(store, process_id, segments, start, end), start)
        size = sum(len(data) for _, data in found)
        if size >= wanted or start == first or blocks >= _TAIL_BLOCKS:
            return found
        # Samples of usage may have filled what comes behind the output.
        blocks *= 8


def _data_in(pieces: list[bytes], start: int) -> list[tuple[int, bytes]]:
    reader = records.RecordReader(start)
    for piece in pieces:
        reader.feed(piece)
    found: list[tuple[int, bytes]] = []
    while (record := reader.read()) is not None:
        if record.kind in records.DATA_KINDS:
            found.append((record.kind, record.data))
    return found


def _read(store: Store, process_id: str, segments: list[int], start: int, end: int) -> list[bytes]:
    pieces = []
    for begin, stop in zip(segments, [*segments[1:], end], strict=True):
        if stop > start:
            fd = store.open_segment(records.segment_name(process_id, begin))
            try:
                first = max(start, begin)
                pieces.append(os.pread(fd, stop - first, first - begin))
            finally:
                os.close(fd)
    return pieces


def last_of(found: list[tuple[int, bytes]], limit: int) -> list[tuple[str, bytes]]:
    """Return the last *limit* bytes by name of stream, neighbours of one stream as one."""
    tail: list[tuple[str, bytes]] = []
    for kind, data in reversed(found):
        if limit <= 0:
            break
        piece = data[-limit:]
        limit -= len(piece)
        name = "stdout" if kind == records.STDOUT else "stderr"
        if tail and tail[-1][0] == name:
            piece += tail.pop()[1]
        tail.append((name, piece))
    return tail[::-1]
