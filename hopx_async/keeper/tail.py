"""The last output in a log, found from its end."""

from __future__ import annotations

from hopx_async.keeper.store import complain
from hopx_async.protocol import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hopx_async.keeper.log import Log

__all__ = ["tail_of"]

# It is not looked for farther back than about this.
_TAIL_BLOCKS = 64
_FARTHER = 8


def tail_of(log: Log, limit: int) -> list[tuple[str, bytes]]:
    """Return the last *limit* bytes of both streams in the order they came.

    Nothing where the disk cannot give them back: an end goes without them.
    """
    try:
        return _tail_of(log, limit)
    except (OSError, records.RecordError) as error:
        complain(f"the last output of {log.process_id} cannot be read: {error}")
        return []


def _tail_of(log: Log, limit: int) -> list[tuple[str, bytes]]:
    first, blocks = log.readable_from, 1
    while True:
        start = max(first, (log.end // records.BLOCK - blocks) * records.BLOCK)
        found = _data_from(log, start)
        size = sum(len(data) for _, data in found)
        if size >= min(limit, log.output_bytes) or start == first or blocks >= _TAIL_BLOCKS:
            return _last(found, limit)
        # Samples of usage may have filled what comes behind the output.
        blocks *= _FARTHER


def _data_from(log: Log, start: int) -> list[tuple[int, bytes]]:
    reader = records.RecordReader(start)
    for piece in log.read_back(start):
        reader.feed(piece)
    found: list[tuple[int, bytes]] = []
    while (record := reader.read()) is not None:
        if record.kind in records.DATA_KINDS:
            found.append((record.kind, record.data))
    return found


def _last(found: list[tuple[int, bytes]], limit: int) -> list[tuple[str, bytes]]:
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
