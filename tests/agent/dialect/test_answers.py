"""Tests of hopx_async.agent.dialect.answers, alone and through an agent that serves."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from hopx_async.agent.dialect.answers import Refused, new_request_id, speaks_hopx, stamp, word_of
from hopx_async.agent.guard import status_of
from hopx_async.errors import (
    AgentFault,
    AuthenticationError,
    CommandNotFound,
    ConflictError,
    HopxError,
    InvalidArgument,
    NotFoundError,
    RateLimited,
    SpawnError,
    Unsupported,
)
from tests.agent.harness import serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (Refused("PATH_NOT_ALLOWED", "x", status=403), "PATH_NOT_ALLOWED"),
        (CommandNotFound("x"), "PROCESS_NOT_FOUND"),
        (NotFoundError("x"), "NOT_FOUND"),
        (ConflictError("x"), "CONFLICT"),
        (RateLimited("x"), "RATE_LIMIT_EXCEEDED"),
        (AuthenticationError("x"), "INVALID_TOKEN"),
        (InvalidArgument("a", "b", "c"), "INVALID_REQUEST"),
        (InvalidArgument("Host", "b", "c"), "FORBIDDEN"),
        (Unsupported("x"), "NOT_IMPLEMENTED"),
        (SpawnError("x"), "INVALID_REQUEST"),
        (AgentFault("x"), "INTERNAL_ERROR"),
        (AgentFault("x", status=503), "SERVICE_UNAVAILABLE"),
    ],
)
def test_each_error_has_a_word_of_hopx(error: HopxError, word: str) -> None:
    """Our errors become HopX's codes."""
    assert word_of(error, status_of(error)) == word


def test_times_are_read_by_every_client() -> None:
    """A time is UTC with ``Z`` and six digits of a second."""
    assert stamp(0.5) == "1970-01-01T00:00:00.500000Z"
    assert datetime.fromisoformat(stamp()).tzinfo is not None


@pytest.mark.parametrize("at", [2.0**40, -(2.0**40), 1e300])
def test_a_time_that_no_client_can_read_is_told_as_the_nearest(at: float) -> None:
    """A file's time may be any; what is beyond the years 1 and 9999 is told as their edge."""
    assert datetime.fromisoformat(stamp(at)).year == (1 if at < 0 else 9999)


def test_ids_of_requests_differ() -> None:
    """No two requests have one id."""
    assert len({new_request_id() for _ in range(100)}) == 100


async def test_every_answer_names_its_request(tmp_path: Path) -> None:
    """The header is on every answer, and is what an error says in its body."""
    async with serving(tmp_path / "s") as server:
        for path in ("/health", "/nowhere", "/v1/commands", "/v1/nowhere"):
            async with server.http.get(path) as response:
                assert response.headers["X-Request-ID"].startswith("req_")
        async with server.http.get("/nowhere") as response:
            told = await response.json()
            assert told["request_id"] == response.headers["X-Request-ID"]
            assert (told["path"], told["code"]) == ("/nowhere", "NOT_FOUND")


def test_our_routes_keep_our_errors() -> None:
    """Below ``/v1/`` errors are ours, elsewhere HopX's."""
    assert speaks_hopx("/commands/run")
    assert not speaks_hopx("/v1/commands/x")
