"""Tests of hopx_async.control.answers."""

from __future__ import annotations

import json

from hopx_async.control.answers import Refused, answer, error_answer, rfc3339


def test_an_error_has_both_envelopes() -> None:
    """Clients that look below ``error`` and those that do not read the same."""
    response = error_answer(404, "RESOURCE_NOT_FOUND", "gone", {"a": 1})
    assert isinstance(response.body, bytes)
    told = json.loads(response.body)

    assert response.status == 404
    assert told["error"].pop("details") == {"a": 1}
    assert told.pop("error") == told
    assert told["request_id"] == response.headers["X-Request-ID"]


def test_an_answer_names_its_request() -> None:
    """Whatever succeeds is an object with the id of its request."""
    response = answer({"id": "x"}, 201)
    assert isinstance(response.body, bytes)

    assert json.loads(response.body)["request_id"] == response.headers["X-Request-ID"]


def test_times_end_in_z() -> None:
    """Times are read by the oldest of HopX's clients; no time is null."""
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(None) is None
    assert Refused(400, "X", "y").details == {}
