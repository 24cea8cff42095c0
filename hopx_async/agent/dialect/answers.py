"""What an answer looks like in HopX's words: envelopes of errors, times, ids of requests."""

from __future__ import annotations

import os
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from hopx_async.errors import (
    ApiError,
    AuthenticationError,
    CommandNotFound,
    ConflictError,
    HopxError,
    InvalidArgument,
    NotFoundError,
    RateLimited,
    Unsupported,
)
from hopx_async.protocol import wire

__all__ = [
    "Refused",
    "error_body",
    "new_request_id",
    "read_json",
    "request_id",
    "speaks_hopx",
    "stamp",
    "word_of",
]

# A request is answered within one task; the next one of its connection has another id.
_request_id: ContextVar[str] = ContextVar("request_id", default="")
_OURS = ("/v1/", "/health", "/info")
_WORDS = {401: "INVALID_TOKEN", 403: "FORBIDDEN", 405: "METHOD_NOT_ALLOWED"}
_BY_STATUS = {**_WORDS, 501: "NOT_IMPLEMENTED", 503: "SERVICE_UNAVAILABLE"}
_BY_KIND: tuple[tuple[type[HopxError], str], ...] = (
    (CommandNotFound, "PROCESS_NOT_FOUND"),
    (NotFoundError, "NOT_FOUND"),
    (ConflictError, "CONFLICT"),
    (RateLimited, "RATE_LIMIT_EXCEEDED"),
    (AuthenticationError, "INVALID_TOKEN"),
    (Unsupported, "NOT_IMPLEMENTED"),
    (InvalidArgument, "INVALID_REQUEST"),
)
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_json = msgspec.json.Decoder(dict[str, Any])


class Refused(ApiError, code="refused"):
    """A no in HopX's words.

    Attributes:
        word: HopX's code for it, such as ``"PATH_NOT_ALLOWED"``.
    """

    def __init__(self, word: str, message: str, *, status: int = 400) -> None:
        super().__init__(message, status=status)
        self.word = word


def word_of(error: HopxError, status: int) -> str:
    """Return HopX's code for *error*, which is answered with *status*."""
    word = getattr(error, "word", None)
    if isinstance(word, str):
        return word
    for kind, known in _BY_KIND:
        if isinstance(error, kind) and (kind is not InvalidArgument or status == 400):
            return known
    return _BY_STATUS.get(status, "INTERNAL_ERROR" if status >= 500 else "INVALID_REQUEST")


def speaks_hopx(path: str) -> bool:
    """Whether errors of this path are told in HopX's envelope."""
    return not path.startswith(_OURS)


def error_body(error: HopxError, status: int, request: web.Request) -> dict[str, Any]:
    """Return *error* in HopX's envelope: its text under both of the names in use."""
    told = wire.error_to_dict(error)
    message = told.pop("message")
    body: dict[str, Any] = {
        "error": message,
        "message": message,
        "code": word_of(error, status),
        "request_id": request_id(),
        "timestamp": stamp(),
        "path": request.path[:1024],
        "details": told,
    }
    if isinstance(error, RateLimited):
        seconds = 1 if error.retry_after is None else error.retry_after
        body["retry_after"] = seconds
        body["details"]["retry_after_seconds"] = seconds
    return body


def new_request_id() -> str:
    """Return a fresh id, which is that of the request being answered from now on."""
    fresh = f"req_{int(time.time())}_{os.urandom(6).hex()}"
    _request_id.set(fresh)
    return fresh


def request_id() -> str:
    """Return the id of the request being answered."""
    return _request_id.get() or new_request_id()


def stamp(at: float | None = None) -> str:
    """Return a Unix time, None for now, as RFC 3339 in UTC: within the years 1 to 9999."""
    try:
        moment = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        # A file may say that it was changed at any time.
        moment = _LATEST if at is not None and at > 0 else _EARLIEST
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


async def read_json(request: web.Request, limit: int = wire.MAX_CALL_BYTES) -> dict[str, Any]:
    """Return the body of *request*, a JSON object; an empty one for an empty body.

    Raises:
        Refused: If it is none, or larger than *limit* bytes.
    """
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            message = f"a body has at most {limit} bytes here"
            raise Refused("INVALID_REQUEST", message, status=413)
    if not body:
        return {}
    try:
        return _json.decode(bytes(body))
    except (ValueError, RecursionError) as error:
        raise Refused("INVALID_JSON", f"the body is no JSON object: {error}") from None
