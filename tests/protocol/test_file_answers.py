"""Answers of the routes of files: what is believed, and what an error stands for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hopx_async import errors
from hopx_async.protocol.file_answers import (
    FileEvent,
    FileInfo,
    change,
    done,
    existence,
    is_catch_all,
    listing,
    refusal,
)

#: What HopX's agent answers, with 200, to a path that it does not know.
CATCH_ALL = (
    b'{"agent":"HopX VM Agent (Go)","status":"running","version":"3.2.8","vm_id":"x",'
    b'"message":"success","timestamp":"2026-01-01T00:00:00Z"}'
)


def test_a_listing_is_read_in_either_spelling() -> None:
    """Entries are read by HopX's names and by those that its JavaScript client reads."""
    body = (
        b'{"files":[{"name":"a","path":"/workspace/a","size":3,"is_directory":false,'
        b'"modified_time":"2026-01-01T00:00:00.123456789Z","permissions":"-rw-r--r--"},'
        b'{"name":"b","path":"/workspace/b","is_dir":true,"modified":"2026-01-01T00:00:00"}]}'
    )

    entries, following = listing(body)

    assert following is None
    assert entries == [
        FileInfo(
            name="a",
            path="/workspace/a",
            size=3,
            is_directory=False,
            modified_at=1767225600.123456,
            permissions="-rw-r--r--",
        ),
        FileInfo(
            name="b", path="/workspace/b", size=0, is_directory=True, modified_at=1767225600.0
        ),
    ]
    assert listing(b'{"files":null}') == ([], None)
    assert listing(b'{"files":[],"next":"6162"}') == ([], "6162")


@pytest.mark.parametrize(
    "body",
    [
        *(CATCH_ALL, b"", b"[]", b"<html>", b'{"files":7}', b'{"files":[7]}'),
        b'{"files":[{"size":1}]}',
        pytest.param(b'{"files":[' + b"9" * 5000 + b"]}", id="a huge number"),
        pytest.param(b'{"files":' + b"[" * 100_000, id="deep"),
    ],
)
def test_what_is_no_listing_is_not_believed(body: bytes) -> None:
    """An answer of another kind, 200 or not, is a protocol error and no empty directory."""
    with pytest.raises(errors.RemoteProtocolError):
        listing(body)


def test_whether_it_is_there_is_said_or_not_known() -> None:
    """Only true and false are answers."""
    assert existence(b'{"exists":true,"path":"x"}') is True
    assert existence(b'{"exists":false}') is False
    for body in (CATCH_ALL, b'{"exists":"yes"}', b"{}"):
        with pytest.raises(errors.RemoteProtocolError):
            existence(body)


def test_done_is_believed_only_with_the_right_size() -> None:
    """Who stored another number of bytes, said no, or does not know the route has not done it."""
    done(b'{"path":"x","size":4,"success":true}', size=4)
    done(b'{"path":"x","message":"made"}')
    with pytest.raises(errors.RemoteProtocolError, match="4 bytes were sent, 8 were stored"):
        done(b'{"size":8,"success":true}', size=4)
    with pytest.raises(errors.ApiError, match="no room"):
        done(b'{"success":false,"message":"no room"}')
    with pytest.raises(errors.RemoteProtocolError):
        done(CATCH_ALL)


def test_the_catch_all_is_known() -> None:
    """The text of an agent about itself is told from an answer about a file."""
    assert is_catch_all(msgspec.json.decode(CATCH_ALL))
    assert not is_catch_all({"path": "x", "message": "File written"})
    assert not is_catch_all(["agent"])


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (404, {"error": "gone", "code": "FILE_NOT_FOUND"}, errors.FileNotFound, "gone"),
        (404, {"error": "gone", "code": "DIRECTORY_NOT_FOUND"}, errors.FileNotFound, "gone"),
        (404, {"message": "gone"}, errors.FileNotFound, "gone"),
        (404, {"error": "no page", "code": "NOT_FOUND"}, errors.NotFoundError, "no page"),
        (403, {"error": "out", "code": "PATH_NOT_ALLOWED"}, errors.PathNotAllowed, "out"),
        (403, {"message": "out", "code": "FORBIDDEN"}, errors.PathNotAllowed, "out"),
        (403, {"error": "no", "code": "PERMISSION_DENIED"}, errors.PathNotAllowed, "no"),
        (403, {}, errors.PathNotAllowed, "status 403"),
        (400, {"error": "bad", "code": "INVALID_PATH"}, errors.InvalidArgument, "path='p': bad"),
        (401, {"error": "NOT", "message": "expired"}, errors.AuthenticationError, "expired"),
        (409, {"error": "is", "code": "FILE_ALREADY_EXISTS"}, errors.ConflictError, "is"),
        (413, {"error": "big", "code": "INVALID_REQUEST"}, errors.ApiError, "big"),
        (501, {"error": "none"}, errors.Unsupported, "none"),
        (500, {"error": {"message": "deep", "code": "X"}}, errors.AgentFault, "deep"),
        (507, {"error": "full"}, errors.AgentFault, "full"),
    ],
)
def test_a_refusal_becomes_the_error_that_it_is(
    status: int, body: dict[str, Any], kind: type[errors.HopxError], text: str
) -> None:
    """Both envelopes and every code of files have their error, with the path asked for."""
    error = refusal(status, msgspec.json.encode(body), path="p")

    assert type(error) is kind
    assert str(error) == text
    if isinstance(error, (errors.FileNotFound, errors.PathNotAllowed)):
        assert error.path == "p"
    if isinstance(error, errors.ApiError):
        assert error.status == status


def test_a_refusal_tells_its_request_and_how_long_to_wait() -> None:
    """The id of the request is kept; of three hints how long to wait the longest counts."""
    body: dict[str, Any] = {"error": "slowly", "request_id": "req_1", "retry_after": 2}
    body["details"] = {"retry_after_seconds": 5}

    error = refusal(429, msgspec.json.encode(body), retry_after="3")

    assert isinstance(error, errors.RateLimited)
    assert (error.request_id, error.retry_after) == ("req_1", 5.0)
    waits = [refusal(429, b"{}", retry_after=hint) for hint in ("7", "soon", "nan", None)]
    assert [getattr(each, "retry_after", 0) for each in waits] == [7.0, None, None, None]


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway", b"\xff\xfe", b"[1]"])
def test_a_refusal_without_words_shows_what_came(body: bytes) -> None:
    """A text that is no JSON object stands in the message, cut."""
    error = refusal(502, body + b"x" * 1000)

    assert isinstance(error, errors.AgentFault)
    assert "status 502" in str(error)
    assert len(str(error)) < 300


def test_frames_of_a_watch_are_events() -> None:
    """A change has path, kind and time; empty and unknown ones say nothing."""
    told = b'{"type":"change","path":"/workspace/a","event":"renamed","timestamp":"%s"}'

    assert change(b'{"type":"status","status":"Watching /workspace"}', 1.0) == "watching"
    assert change(told % b"2026-01-01T00:00:00Z", 1.0) == FileEvent(
        path="/workspace/a", kind="renamed", at=1767225600.0
    )
    assert change((told % b"").decode(), 1.5) == FileEvent(
        path="/workspace/a", kind="renamed", at=1.5
    )
    assert change("", 1.0) is None
    assert change(b'{"type":"later"}', 1.0) is None
    assert change(b'{"type":"change","path":"/a","event":"painted"}', 1.0) is None


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b'{"type":"error","error":"gone","code":"FILE_NOT_FOUND"}', errors.FileNotFound),
        (b'{"type":"error","error":"none","code":"NOT_IMPLEMENTED"}', errors.Unsupported),
        (b'{"type":"error","error":"many","code":"INVALID_REQUEST"}', errors.ApiError),
        (b'{"type":"complete","success":false}', errors.ApiError),
        (CATCH_ALL, errors.RemoteProtocolError),
        (b"[]", errors.RemoteProtocolError),
        (b"{", errors.RemoteProtocolError),
        pytest.param(b"[" * 100_000, errors.RemoteProtocolError, id="deep"),
    ],
)
def test_frames_that_end_a_watch_are_errors(frame: bytes, kind: type[Exception]) -> None:
    """A refusal has its error, and what is no frame of a watch is a protocol error."""
    with pytest.raises(kind):
        change(frame, 1.0)
