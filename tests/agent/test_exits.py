"""Tests of hopx_async.agent.exits."""

from __future__ import annotations

import msgspec
import pytest

from hopx_async.agent.exits import exit_of
from hopx_async.protocol import records

END = 10_000
EXIT = {"exit_code": 9, "signal": None, "reason": "exited"}


@pytest.mark.parametrize("tail", [{}, {"tail": []}, {"tail": [["stdout", "eA=="]]}])
def test_an_exit_is_read_from_its_record(tail: dict[str, object]) -> None:
    """exit_of returns the payload without the tail."""
    record = records.encode_json(records.EXITED, 2.0, {**EXIT, **tail})

    assert msgspec.json.decode(exit_of(record, END)) == EXIT


@pytest.mark.parametrize(
    ("record", "end"),
    [
        (b"", END),
        (b"x" * 5, END),
        (records.encode_json(records.STARTED, 1.0, EXIT), END),
        (records.encode_json(records.EXITED, 1.0, EXIT)[:-1], END),
        (records.encode_json(records.EXITED, 1.0, EXIT) + b"x", END),
        (records.encode_json(records.EXITED, 1.0, EXIT), records.BLOCK + 8),
        (records.encode(records.EXITED, 1.0, b"{"), END),
        (records.encode(records.EXITED, 1.0, b'{"tail"'), END),
        (records.encode_json(records.EXITED, 1.0, {"reason": 7}), END),
    ],
)
def test_anything_else_is_refused(record: bytes, end: int) -> None:
    """What is not one terminal record, whole, within its block and with an exit, raises."""
    with pytest.raises(records.RecordError):
        exit_of(record, end)
