"""Programs by HopX's route: what is asked for, and what is believed of an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hopx_async import errors
from hopx_async.protocol import lifecycle
from hopx_async.protocol.shell_answers import MAX_RUN_BYTES, Ran, read_run, run_request
from tests.protocol.test_file_answers import CATCH_ALL

FINE = {"stdout": "out", "stderr": "err", "exit_code": 3, "execution_time": 0.1, "success": False}
GO = {"error": 'exec: "perl": executable file not found in $PATH', "code": "COMMAND_FAILED"}


def test_a_request_says_everything_itself() -> None:
    """Directory, time and variables are explicit, for the far side's own defaults differ."""
    body = run_request(["perl", "-e", "1"], {"A": "b"}, seconds=60.2, workdir="/tmp")

    assert body == {
        "command": "perl",
        "args": ["-e", "1"],
        "timeout": 61,
        "workdir": "/tmp",
        "env": {"A": "b"},
    }
    assert run_request(["x"], {}, seconds=0.01, workdir="/")["timeout"] == 1


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (["x", "a" * (lifecycle.MAX_TEXT_BYTES + 1)], {}),
        (["x"], {"NAME": "\u00fc" * (lifecycle.MAX_TEXT_BYTES // 2)}),
        (["x", *(["a" * 100_000] * (MAX_RUN_BYTES // 100_000 + 1))], {}),
    ],
    ids=["argument", "variable", "together"],
)
def test_what_execve_cannot_take_is_refused(argv: list[str], env: dict[str, str]) -> None:
    """It is refused before it is sent, and no value is shown."""
    with pytest.raises(errors.InvalidArgument, match="argv=") as caught:
        run_request(argv, env, seconds=1.0, workdir="/")
    assert "aaa" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_is_believed_with_either_status(status: int) -> None:
    """HopX documents 500 with output and code for a program that failed: it ran."""
    assert read_run(status, json.dumps(FINE).encode()) == Ran("out", "err", 3)
    assert read_run(status, json.dumps({**FINE, "stderr": None}).encode()).stderr == ""


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"status": "running"}, errors.RemoteProtocolError),
        (200, {**FINE, "exit_code": "0"}, errors.RemoteProtocolError),
        (200, {**FINE, "stdout": None}, errors.RemoteProtocolError),
        (302, {}, errors.RemoteProtocolError),
        (400, {"error": "bad", "code": "INVALID_JSON"}, errors.ApiError),
        (401, {"error": "INVALID", "message": "expired"}, errors.AuthenticationError),
        (403, {"error": {"message": "no", "code": "FORBIDDEN"}}, errors.ApiError),
        (404, {"error": "gone", "code": "SANDBOX_NOT_FOUND"}, errors.NotFoundError),
        (408, {"error": "slow", "code": "EXECUTION_TIMEOUT"}, errors.RequestTimeout),
        (500, GO, errors.AgentFault),
        (503, {"error": "NOT_INITIALIZED", "message": "not yet"}, errors.AgentFault),
        (502, None, errors.AgentFault),
    ],
    ids=repr,
)
def test_what_is_no_answer_has_its_error(status: int, body: Any, kind: type[Exception]) -> None:
    """Each envelope is read, and the error says whether the program may have run."""
    text = b"<html>bad gateway</html>" if body is None else json.dumps(body).encode()
    with pytest.raises(kind) as caught:
        read_run(status, text)
    assert not isinstance(caught.value, errors.PathNotAllowed)
    if isinstance(caught.value, errors.ApiError):
        assert caught.value.status == status


def test_the_text_of_go_is_kept() -> None:
    """Whoever looks for a missing program finds it in the message."""
    with pytest.raises(errors.AgentFault, match="executable file not found"):
        read_run(500, json.dumps(GO).encode())


@pytest.mark.parametrize("body", [CATCH_ALL, b'{"agent":"HopX VM Agent (Go)","message":"success"}'])
def test_a_far_side_that_talks_about_itself_has_no_such_route(body: bytes) -> None:
    """The catch-all answer is told from an answer, at once."""
    with pytest.raises(errors.Unsupported, match="/commands/run"):
        read_run(200, body)


@pytest.mark.parametrize(
    ("body", "header", "after"),
    [
        ({"error": "slow", "retry_after": 3}, "2", 3.0),
        ({"error": {"message": "slow", "details": {"retry_after_seconds": 5}}}, "2", 5.0),
        ({"error": "slow"}, "2", 2.0),
        ({"error": "slow"}, None, None),
    ],
    ids=repr,
)
def test_the_longest_hint_counts(body: Any, header: str | None, after: float | None) -> None:
    """How long to wait may stand in three places."""
    text = json.dumps(body).encode()
    with pytest.raises(errors.RateLimited, match="slow") as caught:
        read_run(429, text, retry_after=header)
    assert caught.value.retry_after == after


def test_a_request_has_an_id() -> None:
    """It stands in the body, else in the header."""
    with pytest.raises(errors.AgentFault) as caught:
        read_run(500, b'{"error":"x"}', request_id="req_1")
    assert caught.value.request_id == "req_1"
    with pytest.raises(errors.AgentFault) as caught:
        read_run(500, b'{"error":"x","request_id":"req_2"}', request_id="req_1")
    assert caught.value.request_id == "req_2"


@pytest.mark.parametrize(
    "body",
    [b'{"stdout":"","stderr":"","exit_code":' + b"9" * 5000 + b"}", b"[" * 100_000],
    ids=["a huge number", "deep"],
)
def test_json_that_cannot_be_read_is_no_answer(body: bytes) -> None:
    """What a far side sends never ends in an error of Python's own."""
    with pytest.raises(errors.RemoteProtocolError):
        read_run(200, body)
