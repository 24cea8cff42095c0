"""Answers of the markers' program: whole ones are read, all others are refused."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol import marker_answers as answers
from hopx_async.protocol import records
from hopx_async.protocol.marker_answers import read_answer


def b64(data: bytes) -> str:
    """Return bytes as an answer carries them."""
    return base64.b64encode(data).decode() or "-"


def answer(*lines: str, operation: str = "tick") -> str:
    """Return a whole answer."""
    return "\n".join([f"hopx 1 {operation}", *lines, "end", ""])


EXIT = {"exit_code": 3, "reason": "exited"}
RECORD = records.encode_json(records.EXITED, 5.0, EXIT)
WHOLE = answer(
    f"c a 90 0,65536 12 1.5 70 {b64(RECORD)} {b64(json.dumps({'command': 'x'}).encode())}",
    "c b 40 0 - - - - -",
    f"d a 3 7 {b64(bytes(range(256)))}",
    "u nobody",
    "x taken",
    "b a 1",
    f"e a {b64(b'no room')}",
    f"k a 17 {b64(b'sleep')}",
    "k b",
    "g a 0",
    "n 4",
    f"h nonce {b64(b'boot')} {b64(b'root')} 2",
)


def test_every_kind_of_line_is_read() -> None:
    """All that a program prints arrives as it was meant."""
    report, running, *rest = read_answer("tick", WHOLE)
    assert report == answers.Report(
        process_id="a",
        end=90,
        segments=(0, 65536),
        pid=12,
        started_at=1.5,
        over_at=70,
        record=RECORD,
        exit=EXIT,
        spec={"command": "x"},
    )
    assert isinstance(running, answers.Report)
    assert (running.pid, running.over_at, running.exit, running.spec) == (None, None, None, None)
    assert rest == [
        answers.Data("a", 3, 7, bytes(range(256))),
        answers.Unknown("nobody"),
        answers.Conflict("taken"),
        answers.Started("a", created=True),
        answers.Failed("a", "no room"),
        answers.Killed("a", ((17, "sleep"),)),
        answers.Killed("b", ()),
        answers.Signaled("a", delivered=False),
        answers.Total(4),
        answers.Facts("nonce", "boot", "root", 2),
    ]


@given(st.integers(0, len(WHOLE) - 2))
def test_a_part_of_an_answer_is_none(size: int) -> None:
    """Wherever an answer was cut, it is not believed."""
    with pytest.raises(RemoteProtocolError):
        read_answer("tick", WHOLE[:size])


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"agent":"HopX VM Agent (Go)","message":"success"}',
        answer(operation="start"),
        answer("c a -1 0 - - - - -"),
        answer("c a 1 x - - - - -"),
        answer("c ../a 1 0 - - - - -"),
        answer("c a 1 0 - - - - - -"),
        answer("d a 1 1 ???"),
        answer("b a 2"),
        answer("z a"),
        answer(""),
        answer(f"c a 90 0 1 1 70 {b64(RECORD[:-1])} -"),
        answer(f"c a 1 0 - - - - {b64(b'[]')}"),
        answer("k a 17"),
        pytest.param(
            answer("c a 1 0 - - - - " + b64(b'{"a":' + b"9" * 5000 + b"}")), id="a huge number"
        ),
        pytest.param(answer("c a 1 0 - - - - " + b64(b'{"a":' + b"[" * 100_000)), id="deep"),
    ],
)
def test_what_is_no_answer_is_refused(text: str) -> None:
    """Nothing is made of what a program of ours would not print."""
    with pytest.raises(RemoteProtocolError):
        read_answer("tick", text)


@given(st.text(), st.integers(0, 11), st.integers(0, 9))
def test_garbage_is_refused_or_harmless(garbage: str, line: int, field: int) -> None:
    """Whatever stands in a field, there is an answer or one kind of error."""
    lines = WHOLE.splitlines()
    fields = lines[1 + line].split(" ")
    fields[field % len(fields)] = garbage
    lines[1 + line] = " ".join(fields)
    try:
        found = read_answer("tick", "\n".join(lines))
    except RemoteProtocolError:
        return
    assert all(isinstance(one, tuple | answers.Report) for one in found)


def test_a_missing_end_is_told_apart() -> None:
    """A beginning without its end was cut; what does not even begin is none."""
    whole = answer("n 4", operation="list")
    for cut in (whole[:-5], whole[: whole.index("n 4")], "hopx 1 list"):
        with pytest.raises(answers.CutAnswer):
            read_answer("list", cut)
    for none in ("", "hopx 1 lis", answer("n 4")):
        with pytest.raises(RemoteProtocolError) as caught:
            read_answer("list", none)
        assert not isinstance(caught.value, answers.CutAnswer)
