"""What HopX's answers say of a failure: two envelopes, three keys, three hints of when to return.

The service, its pages and its agent do not write errors alike: nested below ``error`` or
flat, the text as ``message`` or as ``error``, the code now and then where the text belongs.
All of them are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec

__all__ = ["Told", "read_envelope", "read_json", "told_by", "unix_time"]

_SHOWN = 200
#: Longer is no wait that anybody meant: a time of the clock, or an attack.
_MOST_SECONDS = 24 * 3600.0
_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,63}")


@attrs.frozen(kw_only=True)
class Told:
    """What an answer says of a failure.

    Attributes:
        message: Its text, "" for none.
        code: HopX's word for it, in capitals; "" for none.
        request_id: The far side's id of the request, None for none.
        retry_after: Seconds after which to ask again, the longest of the hints; None for none.
        details: What else it says.
        enveloped: Whether it was an object, as HopX's answers are, not of something on the way.
    """

    message: str = ""
    code: str = ""
    request_id: str | None = None
    retry_after: float | None = None
    details: Mapping[str, Any] = attrs.field(factory=dict)
    enveloped: bool = False


def read_json(body: bytes | str) -> Any:
    """Return what an answer holds; None if it is no JSON, or such as nobody means.

    That is what is nested deeper than can be read, and numbers that no number here can be.
    """
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):  # DecodeError is a ValueError
        return None


def read_envelope(body: bytes, headers: Mapping[str, str] | None = None) -> Told:
    """Return what the body of a refusal says, whatever it is.

    Args:
        body: It.
        headers: Those of the answer; case matters not where the mapping ignores it.
    """
    value = read_json(body)
    enveloped = isinstance(value, dict)
    return told_by(value if enveloped else {}, headers or {}, enveloped=enveloped)


def told_by(
    value: Mapping[str, Any], headers: Mapping[str, str], *, enveloped: bool = True
) -> Told:
    """Return what an object says of a failure."""
    inner = value.get("error")
    told = {**value, **inner} if isinstance(inner, dict) else value
    code, message = _text(told.get("code")), _text(told.get("message"))
    said = _text(told.get("error"))
    if not code and message and _CODE.fullmatch(said):
        code = said  # so does the agent's login: the code where the text belongs
    details = told.get("details")
    known: Mapping[str, Any] = details if isinstance(details, dict) else {}
    request_id = _text(told.get("request_id")) or _text(headers.get("X-Request-ID"))
    hints = [
        _seconds(hint)
        for hint in (
            headers.get("Retry-After"),
            told.get("retry_after"),
            value.get("retry_after"),
            known.get("retry_after_seconds"),
        )
    ]
    return Told(
        message=message or said,
        code=code.upper(),
        request_id=request_id or None,
        retry_after=max((hint for hint in hints if hint is not None), default=None),
        details=known,
        enveloped=enveloped,
    )


def unix_time(value: object) -> float | None:
    """Return the Unix time in an RFC 3339 text, None if it is none; without a zone it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str:
    return value[: _SHOWN * 10] if isinstance(value, str) else ""


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return min(number, _MOST_SECONDS) if 0 <= number < float("inf") else None
