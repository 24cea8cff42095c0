"""The spec of a command, read back from the head of its log: few ask, and memory is dear."""

from __future__ import annotations

import json

from hopx_async.protocol import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hopx_async.keeper.log import Log

__all__ = ["spec_of"]

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def spec_of(log: Log) -> str:
    """Return the public spec of a command as JSON.

    If somebody has removed or changed the head of its log, only the id is known, and the
    command is empty: it goes on, and so does everybody who wants to hear of it.
    """
    reader = records.RecordReader()
    try:
        for piece in log.read_back(0, log.spec_end):
            reader.feed(piece)
        while (record := reader.read()) is not None:
            if record.kind == records.SPEC:
                spec = json.loads(record.payload)
                if spec["process_id"] == log.process_id and spec["command"]:
                    return _encode(spec)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, records.RecordError):
        pass
    return _encode({"process_id": log.process_id, "command": ""})
