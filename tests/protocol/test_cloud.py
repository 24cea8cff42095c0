"""What the service says of sandboxes and templates, and of what went wrong."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async import errors
from hopx_async.protocol.cloud import (
    check_id,
    check_timeout,
    exhausted_for,
    is_ours,
    preview_url,
    read_object,
    read_token,
    refusal,
    sandbox_info,
    template_info,
)

ID = "1763385739w4r6dokq"


def test_a_sandbox_as_the_service_tells_it() -> None:
    """Every field has its type; sizes of the disk are read in either unit."""
    value = {
        "id": ID, "object": "sandbox", "status": "running", "public_host": "https://h/",
        "template_id": 73, "template_name": "base", "organization_id": "org-1", "region": "eu2",
        "resources": {"vcpu": 2, "memory_mb": 512, "disk_gb": 10}, "internet_access": True,
        "timeout_seconds": 60, "expires_at": "1970-01-01T00:01:00Z", "created_at": None,
        "auth_token": "eyJ-secret",
    }  # fmt: skip
    info = sandbox_info(value)

    assert (info.sandbox_id, info.status, info.public_host) == (ID, "running", "https://h")
    assert (info.template_id, info.expires_at, info.created_at) == ("73", 60.0, None)
    assert (info.vcpu, info.memory_mb, info.disk_mb) == (2, 512, 10240)
    assert "secret" not in repr(info)


@pytest.mark.parametrize("key", ["id", "sandbox_id", "sandboxId"])
def test_an_id_alone_is_enough(key: str) -> None:
    """Only the id is needed, under any of its names; what is odd elsewhere is as if not there."""
    odd: dict[str, Any] = {
        "resources": [],
        "status": None,
        "public_host": 7.5,
        "direct_url": "http://d",
    }
    info = sandbox_info({key: ID, **odd})

    assert attrs.asdict(info)["sandbox_id"] == ID
    assert (info.status, info.public_host, info.vcpu) == ("unknown", "http://d", None)


@pytest.mark.parametrize("value", [{}, {"id": ""}, {"id": 7}, {"id": "a/../b"}, {"id": "x" * 200}])
def test_a_sandbox_without_an_id_is_none(value: dict[str, Any]) -> None:
    """What cannot be an id never becomes part of a path."""
    with pytest.raises(errors.RemoteProtocolError, match="without an id"):
        sandbox_info(value)


def test_a_template_needs_a_name() -> None:
    """The rest may be missing."""
    assert template_info({"name": "base", "id": 1, "is_active": None}).template_id == "1"
    with pytest.raises(errors.RemoteProtocolError, match="without a name"):
        template_info({"id": 1})


@given(st.dictionaries(st.sampled_from(["id", "status", "resources", "expires_at", "public_host",
    "timeout_seconds", "auth_token", "token_expires_at", "name"]),
    st.none() | st.integers() | st.text() | st.dictionaries(st.text(), st.integers())))  # fmt: skip
def test_nothing_else_than_our_errors(value: dict[str, Any]) -> None:
    """Whatever an answer holds, it is read or refused."""
    for read in (sandbox_info, template_info, read_token):
        try:
            read(value)
        except errors.RemoteProtocolError:
            continue


def test_tokens_are_read_and_never_shown() -> None:
    """A null time is no time; what cannot be a token is refused without being shown."""
    assert read_token({}) is None
    assert read_token({"auth_token": ""}) is None
    assert read_token({"auth_token": "eyJ", "token_expires_at": None}) == ("eyJ", None)
    assert read_token({"auth_token": "eyJ", "token_expires_at": 12}) == ("eyJ", None)
    for token in ("secret\n", "secr\u00e9t", ["secret"]):
        with pytest.raises(errors.RemoteProtocolError) as caught:
            read_token({"auth_token": token})
        assert "secr" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b" \n", b"{}"])
def test_no_body_is_an_empty_object(body: bytes) -> None:
    """A 204 to a delete is as good as an object."""
    assert read_object(body) == {}


@pytest.mark.parametrize("body", [b"[]", b"<html>", b"7", b"{", b"\xff"])
def test_another_body_is_told(body: bytes) -> None:
    """What is no object is no answer of a control plane."""
    with pytest.raises(errors.RemoteProtocolError, match="no answer"):
        read_object(body)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "INVALID_REQUEST", errors.ApiError),
        (401, "AUTHENTICATION_REQUIRED", errors.AuthenticationError),
        (401, "INVALID_TOKEN", errors.AuthenticationError),
        (403, "AUTHENTICATION_ERROR", errors.AuthenticationError),
        (402, "PAYMENT_REQUIRED", errors.ApiError),
        (403, "FORBIDDEN", errors.ApiError),
        (403, "PERMISSION_DENIED", errors.ApiError),
        (404, "RESOURCE_NOT_FOUND", errors.NotFoundError),
        (404, "NOT_FOUND", errors.NotFoundError),
        (410, "SANDBOX_EXPIRED", errors.NotFoundError),
        (408, "EXECUTION_TIMEOUT", errors.ApiError),
        (409, "CONFLICT", errors.ConflictError),
        (429, "RESOURCE_LIMIT_ERROR", errors.ApiError),
        (403, "RESOURCE_LIMIT_ERROR", errors.ApiError),
        (429, "RATE_LIMIT_EXCEEDED", errors.RateLimited),
        (429, "", errors.RateLimited),
        (500, "CODE_EXECUTION_ERROR", errors.AgentFault),
        (500, "internal_server_error", errors.AgentFault),
        (503, "SERVICE_UNAVAILABLE", errors.AgentFault),
    ],
)
def test_every_code_has_its_error(status: int, code: str, kind: type[errors.ApiError]) -> None:
    """In both envelopes each refusal is its class, with status, text and request id."""
    flat = {"error": "no", "code": code, "request_id": "req"}
    nested = {"error": {"message": "no", "code": code, "request_id": "req"}}
    for value in (flat, nested):
        error = refusal(status, msgspec.json.encode(value), {"Retry-After": "3"})
        assert type(error) is kind
        assert (error.status, error.message, error.request_id) == (status, "no", "req")
        assert str(error) == "no (request req)"
        assert getattr(error, "retry_after", 3.0) == 3.0


def test_a_refusal_by_something_else_shows_it() -> None:
    """A gateway's page is shown, shortened."""
    error = refusal(502, b"<html>bad gateway" + b"x" * 1000, {})

    assert str(error).startswith("status 502: '<html>bad gateway")
    assert len(str(error)) < 120


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("https://7777-1763x.eu-1001.vms.hopx.dev", "https://8080-1763x.eu-1001.vms.hopx.dev/"),
        ("https://7777-1763x.eu2.vms.hopx.dev/", "https://8080-1763x.eu2.vms.hopx.dev/"),
        ("http://127.0.0.1:45001", "http://127.0.0.1:8080/"),
        ("http://localhost:45001", "http://localhost:8080/"),
        ("http://[::1]:45001", "http://[::1]:8080/"),
    ],
)
def test_where_a_port_is_reached(host: str, url: str) -> None:
    """The service has a name for each port; on this machine it is the port itself."""
    assert preview_url(host, 8080) == url


@pytest.mark.parametrize("host", ["", "https://1763x.hopx.dev", "http://10.0.0.1:7777"])
def test_where_a_port_is_not_known(host: str) -> None:
    """Other addresses do not tell."""
    with pytest.raises(errors.Unsupported):
        preview_url(host, 80)


@pytest.mark.parametrize("port", [0, -1, 65536, "80", 80.0, True, None])
def test_what_is_no_port_is_refused(port: Any) -> None:
    """A port is a whole number that a port can be."""
    with pytest.raises(errors.InvalidArgument, match="port="):
        preview_url("http://127.0.0.1:1", port)


@pytest.mark.parametrize(
    "value", ["", "a/b", "a b", "..", "-a", "x" * 129, 7, None, "a\n", "\u00e9"]
)
def test_what_is_no_id_is_refused(value: Any) -> None:
    """Ids become parts of paths: only what is safe there is sent."""
    with pytest.raises(errors.InvalidArgument, match="sandbox_id="):
        check_id("sandbox_id", value)


@pytest.mark.parametrize("value", [0, -1, 1.5, "60", True, None, 10**12])
def test_what_is_no_timeout_is_refused(value: Any) -> None:
    """Whole seconds above nought."""
    with pytest.raises(errors.InvalidArgument, match="timeout_seconds="):
        check_timeout(value)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "110"}, 0.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "110"}, 10.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "90"}, 0.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999"}, 0.0),
        ({"X-RateLimit-Remaining": "x", "X-RateLimit-Reset": "110"}, 0.0),
    ],
)
def test_an_exhausted_budget(headers: dict[str, str], seconds: float) -> None:
    """No request left means to wait for the reset, unless another clock says so."""
    assert exhausted_for(headers, 100.0) == seconds


def test_who_is_ours() -> None:
    """Only what says so itself, and speaks a version of the link."""
    assert is_ours({"agent": "hopx_async", "link_version": 1})
    for info in ({}, {"agent": "HopX VM Agent (Go)", "link_version": 1}, {"agent": "hopx_async"}):
        assert not is_ours(info)
