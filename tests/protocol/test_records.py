"""Tests of the records of a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.protocol import records
from hopx_async.protocol.records import BLOCK, HEADER, Record, RecordError, RecordReader


def read_all(data: bytes, *, step: int = 1 << 20, offset: int = 0) -> list[Record]:
    """Return the records of *data*, fed in pieces of *step* bytes."""
    reader = RecordReader(offset)
    found = []
    for place in range(0, len(data), step):
        reader.feed(data[place : place + step])
        while (record := reader.read()) is not None:
            found.append(record)
    assert reader.pending == 0
    return found


def test_encode_puts_kind_size_and_time_before_the_payload() -> None:
    """A record is a header of 16 bytes and its payload."""
    data = records.encode(records.USAGE, 1.5, b"abc")

    assert data == bytes([8, 0, 0, 0, 19, 0, 0, 0]) + b"\0\0\0\0\0\0\xf8?" + b"abc"


def test_a_record_comes_back() -> None:
    """RecordReader returns what encode was given, with its place."""
    data = records.encode_json(records.STARTED, 2.0, {"pid": 7})
    (record,) = read_all(data)

    assert (record.kind, record.at, record.offset, record.end) == (3, 2.0, 0, len(data))
    assert record.json() == {"pid": 7}
    assert repr(record) == f"<Record Started 0..{len(data)}>"


def test_a_base_comes_back() -> None:
    """Base tells its offset and what was written before it."""
    (record,) = read_all(records.encode_base(1.0, BLOCK, 5, 6), offset=BLOCK)

    assert record.base() == (BLOCK, 5, 6)


def test_a_base_at_another_place_is_refused() -> None:
    """Base must stand where it says."""
    (record,) = read_all(records.encode_base(1.0, BLOCK, 5, 6))

    with pytest.raises(RecordError, match="stands at 0"):
        record.base()


def test_a_base_of_another_size_is_refused() -> None:
    """Base has three numbers."""
    (record,) = read_all(records.encode(records.BASE, 1.0, b"123"))

    with pytest.raises(RecordError, match="Base of 3 bytes"):
        record.base()


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"{",
        b"\xff",
        pytest.param(b'{"pid":' + b"9" * 5000 + b"}", id="a huge number"),
        pytest.param(b'{"pid":' + b"[" * 60_000, id="deep"),
    ],
)
def test_json_that_is_no_object_is_refused(payload: bytes) -> None:
    """Json raises for anything but a JSON object."""
    (record,) = read_all(records.encode(records.EXITED, 1.0, payload))

    with pytest.raises(RecordError, match="no JSON"):
        record.json()


@given(
    offset=st.integers(0, 3 * BLOCK),
    sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=4),
    step=st.sampled_from([1 << 20, 70_000, 997]),
)
def test_data_comes_back_and_straddles_no_block(offset: int, sizes: list[int], step: int) -> None:
    """What place_data lays down is read again, whole, in order, and within blocks."""
    log = bytearray()
    end, written = offset, bytearray()
    for number, size in enumerate(sizes):
        data = bytes([number]) * size
        buffers, new = records.place_data(end, records.STDOUT, 1.0, len(written), data)
        for buffer in buffers:
            log += buffer
        written += data
        assert new == offset + len(log)
        end = new
    found = read_all(bytes(log), step=step, offset=offset)

    read = bytearray()
    for record in found:
        assert record.offset // BLOCK == (record.end - 1) // BLOCK
        assert record.stream_offset == len(read)
        read += record.data
    assert read == written


def test_a_small_rest_of_a_block_is_padded() -> None:
    """A rest that holds no byte of output becomes pads."""
    buffers, end = records.place_data(BLOCK - 24, records.STDERR, 1.0, 0, b"x")

    assert bytes(buffers[0]) == b"\xff" * 24
    assert end == BLOCK + 25


@pytest.mark.parametrize(
    ("offset", "size", "pads"), [(0, 16, 0), (BLOCK - 16, 16, 0), (BLOCK - 16, 17, 16)]
)
def test_pad_before_fills_a_block_that_is_too_short(offset: int, size: int, pads: int) -> None:
    """Pads come before a record that would straddle a block, and only then."""
    assert records.pad_before(offset, size) == b"\xff" * pads


def test_pad_before_refuses_what_fits_no_block() -> None:
    """A record larger than a block cannot be padded into one."""
    with pytest.raises(RecordError, match="at most 65536"):
        records.pad_before(0, BLOCK + 1)


def test_a_spec_may_straddle_blocks() -> None:
    """Spec alone may be larger than a block."""
    (record,) = read_all(records.encode_json(records.SPEC, 1.0, {"a": "x" * BLOCK}), step=10_000)

    assert record.end > BLOCK


def test_segment_names_come_back() -> None:
    """parse_segment_name reads what segment_name printed."""
    name = records.segment_name("cmd_1", BLOCK)

    assert name == "cmd_1.0000000000010000"
    assert records.parse_segment_name(name) == ("cmd_1", BLOCK)
    assert records.parse_segment_name("index") is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\0", "kind 0 at log offset 0"),
        (b"\x09" * 16, "kind 9"),
        (HEADER.pack(records.USAGE, 15, 1.0), "size 15 of Usage"),
        (HEADER.pack(records.STDOUT, 23, 1.0), "size 23 of Stdout"),
        (HEADER.pack(records.EXITED, BLOCK + 1, 1.0), "size 65537 of Exited"),
        (HEADER.pack(records.SPEC, records.MAX_SPEC_BYTES + 1, 1.0), "of Spec"),
    ],
)
def test_bytes_that_are_no_record_are_refused(data: bytes, problem: str) -> None:
    """RecordReader raises at the first header that cannot be, and takes nothing."""
    reader = RecordReader()
    reader.feed(data)

    with pytest.raises(RecordError, match=problem):
        reader.read()
    assert reader.pending == len(data)


def test_missing_tells_what_the_head_lacks() -> None:
    """Missing is the rest of the record at the head, once its size is known."""
    data = records.encode(records.USAGE, 1.0, b"x" * 84)
    reader = RecordReader()

    assert reader.missing == 0
    reader.feed(data[:10])
    assert reader.missing == 0
    reader.feed(data[10:40])
    assert reader.missing == 60
    reader.feed(data[40:])
    assert reader.missing == 0


def test_missing_makes_nothing_of_pads() -> None:
    """Missing does not take pads for a header, nor believe any size."""
    reader = RecordReader(BLOCK - 100)
    reader.feed(b"\xff" * 40)

    assert reader.missing == 0
    reader.jump(0)
    reader.feed(HEADER.pack(records.USAGE, 0xFFFFFFFF, 1.0))
    assert reader.missing == records.MAX_SPEC_BYTES - 16


def test_pads_are_skipped_as_they_come() -> None:
    """Pads that come in pieces are skipped up to the block's end, and no further."""
    data = b"\xff" * 100 + records.encode(records.USAGE, 1.0, b"")
    (record,) = read_all(data, step=7, offset=BLOCK - 100)

    assert record.offset == BLOCK


def test_jump_drops_what_is_pending() -> None:
    """Jump goes on elsewhere, with nothing."""
    reader = RecordReader()
    reader.feed(b"\x01\x02")
    reader.jump(BLOCK)

    assert (reader.offset, reader.pending, reader.fed) == (BLOCK, 0, BLOCK)
