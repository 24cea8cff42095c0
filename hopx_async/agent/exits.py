"""Ends as the agent passes them on: JSON as it came, cut out of the terminal record."""

from __future__ import annotations

import msgspec

from hopx_async.protocol import records

__all__ = ["EXIT_VIEW", "ExitView", "exit_of"]


class ExitView(msgspec.Struct, gc=False, frozen=True):
    """The parts of an exit that the agent itself looks at."""

    reason: str
    exit_code: int | None = None


#: Reads no more of an exit than that.
EXIT_VIEW = msgspec.json.Decoder(ExitView)
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])


def exit_of(record: bytes, end: int) -> bytes:
    """Return the exit in a terminal *record* that ends at log offset *end*, without its tail.

    Raises:
        ValueError: If it is no terminal record.
    """
    payload = _payload_of(record, end)
    try:
        if b'"tail"' not in payload:
            # A command that ended well has none, and its exit is taken as it stands.
            EXIT_VIEW.decode(payload)
            return payload
        parts = _parts.decode(payload)
    except msgspec.DecodeError as error:
        raise records.RecordError(f"no exit in {record[:80]!r}: {error}") from error
    parts.pop("tail", None)
    return msgspec.json.encode(parts)


def _payload_of(record: bytes, end: int) -> bytes:
    """Return the payload of *record*, which ends at log offset *end*.

    Raises:
        RecordError: If it is not one terminal record and nothing else.
    """
    whole = len(record) >= records.HEADER.size
    kind, size, _ = records.HEADER.unpack_from(record) if whole else (records.PAD, 0, 0.0)
    if kind not in records.TERMINAL_KINDS or size != len(record):
        raise records.RecordError(f"{record[:80]!r} is no terminal record")
    if size > records.BLOCK - (end - size) % records.BLOCK:
        raise records.RecordError(
            f"size {size} of {records.KIND_NAMES[kind]} at log offset {end - size}"
        )
    return record[records.HEADER.size :]
