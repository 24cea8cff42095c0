"""What refusals say, in every way in which they have been seen to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.protocol.envelopes import read_envelope, read_json, told_by, unix_time

FLAT = {"error": "text", "code": "RESOURCE_NOT_FOUND", "request_id": "req"}
NESTED = {"error": {"message": "text", "code": "RESOURCE_NOT_FOUND", "request_id": "req"}}


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"\xff", b"9" * 5000, b'{"a":' + b"9" * 5000 + b"}", b"[" * 100_000, "\ud800"],
    ids=["nothing", "a page", "bytes", "huge", "huge inside", "deep", "no text"],
)
def test_what_is_no_json_is_nothing(body: bytes | str) -> None:
    """Also numbers that Python refuses to read, and what is nested too deep."""
    assert read_json(body) is None
    if isinstance(body, bytes):
        assert not read_envelope(body).enveloped


def test_an_endless_wait_is_no_hint() -> None:
    """A number that is too large for seconds breaks nothing."""
    body = b'{"error":{"message":"no","retry_after":1' + b"0" * 4000 + b"}}"
    assert read_envelope(body).message == "no"
    assert read_envelope(body).retry_after is None


@pytest.mark.parametrize(
    "value",
    [FLAT, NESTED, {**NESTED, "message": "text"}, {**FLAT, "message": "text"}],
)
def test_all_envelopes_say_the_same(value: dict[str, Any]) -> None:
    """Flat, nested or both: text, code and request id are read."""
    told = read_envelope(msgspec.json.encode(value))

    assert (told.message, told.code, told.request_id) == ("text", "RESOURCE_NOT_FOUND", "req")
    assert told.enveloped


def test_a_code_where_the_text_belongs() -> None:
    """The agent's login says its code in ``error`` and its text in ``message``."""
    told = told_by({"error": "NOT_INITIALIZED", "message": "not yet"}, {})

    assert (told.code, told.message) == ("NOT_INITIALIZED", "not yet")


@pytest.mark.parametrize(
    ("value", "headers", "seconds"),
    [
        ({}, {"Retry-After": "3"}, 3.0),
        ({"retry_after": 4}, {}, 4.0),
        ({"error": {"details": {"retry_after_seconds": 5.5}}}, {}, 5.5),
        ({"retry_after": 4, "details": {"retry_after_seconds": 2}}, {"Retry-After": "9"}, 9.0),
        ({"error": {"message": "x"}, "retry_after": 7}, {}, 7.0),
        ({"retry_after": 0}, {}, 0.0),
        ({"retry_after": -1}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry_after": "nan"}, {"Retry-After": "inf"}, None),
        ({"retry_after": True, "details": None}, {}, None),
        ({"retry_after": 1e12}, {}, 86400.0),
    ],
)
def test_the_longest_hint_counts(
    value: dict[str, Any], headers: dict[str, str], seconds: float | None
) -> None:
    """Header, body and details are looked at; what is no number of seconds says nothing."""
    assert told_by(value, headers).retry_after == seconds


def test_the_request_id_may_stand_in_the_header() -> None:
    """A body without one is helped by the header."""
    assert read_envelope(b"<html>", {"X-Request-ID": "req_2"}).request_id == "req_2"
    assert not read_envelope(b"<html>").enveloped


@given(st.binary() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["error", "message", "code", "details", "retry_after", "request_id"]), inner
    ),
).map(msgspec.json.encode))  # fmt: skip
def test_nothing_breaks_it(body: bytes) -> None:
    """Whatever a far side sends becomes texts and numbers, and never an exception."""
    told = read_envelope(body)

    assert isinstance(told.message, str)
    assert isinstance(told.code, str)
    assert told.retry_after is None or 0 <= told.retry_after <= 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01", 1.0),
        ("1970-01-01T00:00:01.123456789Z", 1.123456),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("soon", None),
        (17, None),
        (None, None),
    ],
)
def test_times(text: object, seconds: float | None) -> None:
    """RFC 3339 with or without a zone, with any number of digits; anything else is no time."""
    assert unix_time(text) == seconds
