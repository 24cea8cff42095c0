"""The records of a command's log: one format for the file, the wire and the client.

A log is a sequence of bytes addressed by its *log offset*.  It is a chain of
records, each a header of 16 bytes and a payload::

    kind (u8)  three zero bytes  size of the whole record (u32)  unix time (f64)

All numbers are little-endian.  No record but ``SPEC`` straddles a boundary of
:data:`BLOCK` bytes; a run of ``PAD`` bytes fills the rest of a block.  So a
record begins at every block boundary behind the spec, and a reader can start there.

The keeper imports this module, hence it imports next to nothing.
"""

from __future__ import annotations

import json
import re
import struct

__all__ = [
    "BASE",
    "BASE_PAYLOAD",
    "BLOCK",
    "DATA_KINDS",
    "DATA_PREFIX",
    "EXITED",
    "FIRST_KINDS",
    "HEADER",
    "HEAD_BYTES",
    "KEEP_COMMANDS",
    "KEEP_SECONDS",
    "KIND_NAMES",
    "LOST",
    "MAX_SPEC_BYTES",
    "MAX_TOMBSTONES",
    "PAD",
    "RETENTION_BYTES",
    "SANDBOX_RETENTION_BYTES",
    "SEGMENT_BYTES",
    "SPEC",
    "STARTED",
    "STDERR",
    "STDOUT",
    "TERMINAL_KINDS",
    "TOMBSTONE_SECONDS",
    "USAGE",
    "Record",
    "RecordError",
    "RecordReader",
    "encode",
    "encode_base",
    "encode_json",
    "pad_before",
    "parse_segment_name",
    "place_data",
    "segment_name",
]

BLOCK = 64 * 1024
SEGMENT_BYTES = 16 * 1024 * 1024
#: Of the first segment, which is kept as long as the command: it holds spec and start.
HEAD_BYTES = 4 * BLOCK
RETENTION_BYTES = 256 * 1024 * 1024
SANDBOX_RETENTION_BYTES = 4 * 1024 * 1024 * 1024
#: Commands kept after their end, and for how many seconds.
KEEP_COMMANDS = 10_000
KEEP_SECONDS = 86_400.0
#: For how many seconds the id of a forgotten command is refused, and how many such ids.
TOMBSTONE_SECONDS = 86_400.0
MAX_TOMBSTONES = 100_000
# A spec holds at most 128 KiB of text in one argument, and execve takes about
# 2 MiB of arguments and environment in all; as JSON each byte may become six.
MAX_SPEC_BYTES = 16 * 1024 * 1024

BASE, SPEC, STARTED, STDOUT, STDERR, EXITED, LOST, USAGE, PAD = 1, 2, 3, 4, 5, 6, 7, 8, 255
DATA_KINDS = frozenset({STDOUT, STDERR})
TERMINAL_KINDS = frozenset({EXITED, LOST})
FIRST_KINDS = frozenset({BASE, SPEC})
KIND_NAMES = {
    BASE: "Base", SPEC: "Spec", STARTED: "Started", STDOUT: "Stdout", STDERR: "Stderr",
    EXITED: "Exited", LOST: "Lost", USAGE: "Usage", PAD: "Pad",
}  # fmt: skip

HEADER = struct.Struct("<BxxxId")
BASE_PAYLOAD = struct.Struct("<QQQ")
DATA_PREFIX = struct.Struct("<Q")
_DATA_HEADER = struct.Struct("<BxxxIdQ")
_LEAST_SIZES = {
    kind: HEADER.size + (DATA_PREFIX.size if kind in DATA_KINDS else 0) for kind in KIND_NAMES
}
_PADS = bytes([PAD]) * BLOCK
# Less room than this at the end of a block is padded, not filled with a sliver.
_LEAST_ROOM = _DATA_HEADER.size + 1
_SEGMENT_NAME = re.compile(r"(.+)\.([0-9a-f]{16})")


class RecordError(ValueError):
    """Bytes that are no record: a damaged log, or a far side that speaks something else."""


# Writing.


def encode(kind: int, at: float, payload: bytes) -> bytes:
    """Return one record of *kind*, observed at unix time *at*, around *payload*."""
    return HEADER.pack(kind, HEADER.size + len(payload), at) + payload


def encode_json(kind: int, at: float, value: object) -> bytes:
    """Return one record whose payload is *value* as compact JSON."""
    return encode(kind, at, json.dumps(value, separators=(",", ":")).encode())


def encode_base(at: float, offset: int, stdout_bytes: int, stderr_bytes: int) -> bytes:
    """Return the record that opens a segment at log *offset*: what was written before it."""
    return encode(BASE, at, BASE_PAYLOAD.pack(offset, stdout_bytes, stderr_bytes))


def pad_before(offset: int, size: int) -> bytes:
    """Return the pads that a record of *size* bytes needs before it at log *offset*, often none.

    Raises:
        RecordError: If the record is larger than a block (a ``SPEC`` is placed without pads).
    """
    if size > BLOCK:
        raise RecordError(f"a record of {size} bytes, at most {BLOCK}")
    room = BLOCK - offset % BLOCK
    return b"" if size <= room else _PADS[:room]


def place_data(
    offset: int, kind: int, at: float, stream_offset: int, data: bytes | memoryview
) -> tuple[list[bytes | memoryview], int]:
    """Lay *data* of one stream into a log that ends at *offset*.

    Args:
        offset: Where the log ends, in log bytes.
        kind: ``STDOUT`` or ``STDERR``.
        at: Unix time at which the data was observed.
        stream_offset: Bytes of this stream written before.
        data: The bytes; the returned buffers are views of it where it is a view.

    Returns:
        The buffers to write one behind the other, and the log's new end.
    """
    view = memoryview(data)
    buffers: list[bytes | memoryview] = []
    taken = 0
    while taken < len(view):
        room = BLOCK - offset % BLOCK
        if room < _LEAST_ROOM:
            buffers.append(_PADS[:room])
            offset += room
            continue
        size = min(room, _DATA_HEADER.size + len(view) - taken)
        piece = view[taken : taken + size - _DATA_HEADER.size]
        buffers.append(_DATA_HEADER.pack(kind, size, at, stream_offset + taken))
        buffers.append(piece)
        taken += len(piece)
        offset += size
    return buffers, offset


def segment_name(process_id: str, start: int) -> str:
    """Return the file name of the segment of *process_id* that begins at log offset *start*."""
    return f"{process_id}.{start:016x}"


def parse_segment_name(name: str) -> tuple[str, int] | None:
    """Return the id and start offset that *name* stands for, or None if it names no segment."""
    match = _SEGMENT_NAME.fullmatch(name)
    return (match[1], int(match[2], 16)) if match else None


# Reading.


class Record:
    """One record: its kind, time, place in the log, and payload without the header.

    Attributes:
        kind: One of the kinds of this module, never ``PAD``.
        at: Unix time at which it was observed.
        offset: Log offset of its first byte.
        end: Log offset behind its last byte.
    """

    __slots__ = ("_buffer", "_start", "_stop", "at", "end", "kind", "offset")

    def __init__(  # noqa: PLR0917  # made once per record, where keywords cost
        self, kind: int, at: float, offset: int, buffer: bytes | memoryview, start: int, stop: int
    ) -> None:
        self.kind = kind
        self.at = at
        self.offset = offset
        self.end = offset + stop - start
        # The payload is cut out once, when and as it is wanted: output is most of all there is.
        self._buffer = buffer
        self._start = start + HEADER.size
        self._stop = stop

    def __repr__(self) -> str:
        return f"<Record {KIND_NAMES[self.kind]} {self.offset}..{self.end}>"

    @property
    def payload(self) -> bytes:
        """The bytes behind the header."""
        return bytes(self._buffer[self._start : self._stop])

    @property
    def stream_offset(self) -> int:
        """Bytes of its stream before this data record."""
        value: int = DATA_PREFIX.unpack_from(self._buffer, self._start)[0]
        return value

    @property
    def data(self) -> bytes:
        """The output of a data record."""
        return bytes(self._buffer[self._start + DATA_PREFIX.size : self._stop])

    def base(self) -> tuple[int, int, int]:
        """Return log offset, stdout bytes and stderr bytes of a ``BASE`` record.

        Raises:
            RecordError: If the payload has another size, or names another offset than its own.
        """
        if len(self.payload) != BASE_PAYLOAD.size:
            raise RecordError(f"a Base of {len(self.payload)} bytes at log offset {self.offset}")
        offset, out, err = BASE_PAYLOAD.unpack(self.payload)
        if offset != self.offset:
            raise RecordError(f"a Base for log offset {offset} stands at {self.offset}")
        return offset, out, err

    def json(self) -> dict[str, object]:
        """Return the JSON object in the payload.

        Raises:
            RecordError: If the payload is no JSON object.
        """
        try:
            value = json.loads(self.payload)
        except (ValueError, RecursionError) as error:  # of huge numbers, of deep nesting
            raise RecordError(f"no JSON in {self!r}: {error}") from error
        if not isinstance(value, dict):
            raise RecordError(f"no JSON object in {self!r}")
        return value


class RecordReader:
    """Cuts a run of log bytes into records, incrementally.

    Feed it consecutive bytes and call :meth:`read` until it returns None.  It
    keeps what it was fed and not yet read, hence the feeder bounds its memory.
    """

    __slots__ = ("_buffer", "_chunks", "_position", "_waiting", "offset", "pending")

    def __init__(self, offset: int = 0) -> None:
        self.jump(offset)

    @property
    def fed(self) -> int:
        """Log offset behind the last byte fed."""
        return self.offset + self.pending

    @property
    def missing(self) -> int:
        """Bytes that the record at the head still lacks; 0 if none is begun or its size unknown."""
        if not self._ensure(HEADER.size) or self._buffer[self._position] == PAD:
            return 0
        size: int = HEADER.unpack_from(self._buffer, self._position)[1]
        # Nobody has checked the size yet; it must not become a grant without bounds.
        return max(0, min(size, MAX_SPEC_BYTES) - self.pending)

    def feed(self, data: bytes | memoryview) -> None:
        """Add the bytes that follow those fed before."""
        self._chunks.append(data)
        self._waiting += len(data)
        self.pending += len(data)

    def jump(self, offset: int) -> None:
        """Drop what is pending and go on at log *offset*."""
        #: Log offset behind the last record read (pads count as read).
        self.offset = offset
        self._buffer: bytes | memoryview = b""
        self._position = 0
        self._chunks: list[bytes | memoryview] = []
        self._waiting = 0
        #: Bytes fed and not yet read.
        self.pending = 0

    def read(self) -> Record | None:
        """Return the next record, or None until more bytes are fed.

        Raises:
            RecordError: If the bytes are no record. Nothing was taken then.
        """
        here = self.pending - self._waiting
        if here < HEADER.size or self._buffer[self._position] == PAD:
            self._skip_pads()
            if not self._ensure(HEADER.size):
                self._check_kind()
                return None
            here = self.pending - self._waiting
        start = self._position
        kind, size, at = HEADER.unpack_from(self._buffer, start)
        self._check(kind, size)
        if size > here:
            if not self._ensure(size):
                return None
            start = self._position
        record = Record(kind, at, self.offset, self._buffer, start, start + size)
        self._advance(size)
        return record

    def _skip_pads(self) -> None:
        while self._ensure(1) and self._buffer[self._position] == PAD:
            self._advance(min(BLOCK - self.offset % BLOCK, len(self._buffer) - self._position))

    def _advance(self, size: int) -> None:
        self._position += size
        self.offset += size
        self.pending -= size

    def _ensure(self, size: int) -> bool:
        if self.pending < size:
            return False
        if self.pending - self._waiting < size:
            rest = self._buffer[self._position :]
            # A frame that arrives when all before it is read is taken as it is.
            whole = not rest and len(self._chunks) == 1
            self._buffer = self._chunks[0] if whole else b"".join([rest, *self._chunks])
            self._position = 0
            self._chunks.clear()
            self._waiting = 0
        return True

    def _check_kind(self) -> None:
        if self._ensure(1) and self._buffer[self._position] not in KIND_NAMES:
            self._check(self._buffer[self._position], HEADER.size)

    def _check(self, kind: int, size: int) -> None:
        least = _LEAST_SIZES.get(kind)
        if least is None:
            raise RecordError(f"kind {kind} at log offset {self.offset}")
        room = BLOCK - self.offset % BLOCK if kind != SPEC else MAX_SPEC_BYTES
        if not least <= size <= room:
            raise RecordError(f"size {size} of {KIND_NAMES[kind]} at log offset {self.offset}")
