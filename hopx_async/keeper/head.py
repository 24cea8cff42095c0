"""The spec of a command, read back from the head of its log: few ask, and memory is dear."""

from __future__ import annotations

from hopx_async.protocol import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hopx_async.keeper.log import Log

__all__ = ["spec_of"]


def spec_of(log: Log) -> str | None:
    """Return the public spec of a command as JSON, None if its log cannot be read any more."""
    reader = records.RecordReader()
    try:
        for piece in log.read_back(0, log.spec_end):
            reader.feed(piece)
        while (record := reader.read()) is not None:
            if record.kind == records.SPEC:
                return record.payload.decode("ascii")
    except (OSError, records.RecordError):
        pass  # somebody has removed or changed it; commands go on
    return None
