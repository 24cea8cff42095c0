"""Answers of the control plane: one body for both of HopX's envelopes of errors."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from hopx_async.errors import ApiError

__all__ = ["MAX_BODY_BYTES", "Refused", "answer", "body_of", "error_answer", "rfc3339"]

#: Bytes of a request's body.
MAX_BODY_BYTES = 1024 * 1024
_object = msgspec.json.Decoder(dict[str, Any])


class Refused(ApiError, code="refused"):
    """A no in HopX's words.

    Attributes:
        word: HopX's code for it.
        details: What else a program may want to know.
    """

    def __init__(self, status: int, word: str, message: str, **details: Any) -> None:
        super().__init__(message, status=status)
        self.word = word
        self.details = details


def answer(value: dict[str, Any], status: int = 200) -> web.Response:
    """Return *value* as an answer, with the id of its request in body and header."""
    request_id = f"req_{int(time.time())}_{os.urandom(6).hex()}"
    body = msgspec.json.encode({**value, "request_id": request_id})
    response = web.Response(body=body, status=status, content_type="application/json")
    response.headers["X-Request-ID"] = request_id
    return response


def error_answer(status: int, word: str, message: str, details: dict[str, Any]) -> web.Response:
    """Return an error, nested for some clients and flat for the others."""
    request_id = f"req_{int(time.time())}_{os.urandom(6).hex()}"
    flat = {"message": message, "code": word, "request_id": request_id}
    body = msgspec.json.encode({"error": {**flat, "details": details}, **flat})
    response = web.Response(body=body, status=status, content_type="application/json")
    response.headers["X-Request-ID"] = request_id
    return response


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that *request* carries; an empty one if it carries nothing.

    Raises:
        Refused: If it is none.
    """
    data = await request.read()
    try:
        return _object.decode(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused(400, "INVALID_REQUEST", f"the body is no JSON object: {error}") from None


def rfc3339(at: float | None) -> str | None:
    """Return a Unix time as clients read it, None for None."""
    if at is None:
        return None
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
