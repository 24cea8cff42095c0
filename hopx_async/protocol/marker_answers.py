"""What the program of the markers prints: lines, the last of which says that all is there."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NamedTuple, TypeAlias

import attrs

from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol import lifecycle, records

__all__ = [
    "ANSWER_VERSION",
    "Conflict",
    "CutAnswer",
    "Data",
    "Facts",
    "Failed",
    "Killed",
    "Line",
    "Report",
    "Signaled",
    "Started",
    "Total",
    "Unknown",
    "read_answer",
]

#: What the first line of an answer carries.
ANSWER_VERSION = 1


@attrs.frozen
class Report:
    """What is known of a command.

    Attributes:
        process_id: The command.
        end: Log offset behind the last record.
        segments: Start offsets of its log's segments.
        pid: Its leader, None if it never started.
        started_at: Unix time of its start, None if it never started.
        over_at: Log offset of its terminal record, None while it runs.
        exit: The payload of that record.
        record: That record.
        spec: Its public spec, if everything was asked for.
    """

    process_id: str
    end: int
    segments: tuple[int, ...]
    pid: int | None
    started_at: float | None
    over_at: int | None
    record: bytes | None
    exit: dict[str, Any] | None
    spec: dict[str, Any] | None


class Data(NamedTuple):
    """Log bytes of a command, from *offset* on: the next that is kept at or behind *asked*."""

    process_id: str
    asked: int
    offset: int
    data: bytes


class Unknown(NamedTuple):
    """There is no such command."""

    process_id: str


class Conflict(NamedTuple):
    """The id belongs to a command with another spec."""

    process_id: str


class Started(NamedTuple):
    """A command was started, now or before."""

    process_id: str
    created: bool


class Failed(NamedTuple):
    """A command could not even be tried."""

    process_id: str
    reason: str


class Killed(NamedTuple):
    """A kill is through; these processes are left: pid and name."""

    process_id: str
    survivors: tuple[tuple[int, str], ...]


class Signaled(NamedTuple):
    """A signal was delivered, or nobody was there to get it."""

    process_id: str
    delivered: bool


class Total(NamedTuple):
    """How many commands there are behind those of this page."""

    more: int


class Facts(NamedTuple):
    """What the far side is."""

    nonce: str
    boot_id: str
    user: str
    ended: int


Line: TypeAlias = (
    Report | Data | Unknown | Conflict | Started | Failed | Killed | Signaled | Total | Facts
)


class CutAnswer(RemoteProtocolError):
    """The beginning of an answer, without its end: the far side may keep only so much."""


def read_answer(operation: str, text: str) -> list[Line]:
    """Return what an answer says.

    Raises:
        CutAnswer: If its end is missing.
        RemoteProtocolError: If it is no answer to *operation*.
    """
    lines = text.splitlines()
    if not lines or lines[0] != f"hopx {ANSWER_VERSION} {operation}":
        raise RemoteProtocolError(f"no answer to {operation}: {text[:200]!r}")
    if lines[-1] != "end":
        raise CutAnswer(f"an answer to {operation} without its end, of {len(text)} characters")
    try:
        return [_LINES[kind](fields) for kind, *fields in map(str.split, lines[1:-1])]
    except _NO_ANSWER as error:
        raise RemoteProtocolError(f"no answer to {operation}: {error!r}") from error


def _report(fields: list[str]) -> Report:
    process_id, end, segments, pid, at, over_at, terminal, spec = fields
    record = None if terminal == "-" else _bytes(terminal)
    return Report(
        process_id=_id(process_id),
        end=_count(end),
        segments=tuple(_count(one) for one in segments.split(",")),
        pid=None if pid == "-" else _count(pid),
        started_at=None if at == "-" else float(at),
        over_at=None if over_at == "-" else _count(over_at),
        record=record,
        exit=None if record is None else _json(record[records.HEADER.size :]),
        spec=None if spec == "-" else _json(_bytes(spec)),
    )


def _killed(fields: list[str]) -> Killed:
    process_id, *left = fields
    pairs = zip(left[::2], left[1::2], strict=True)
    names = ((_count(pid), _bytes(name).decode("utf-8", "replace")) for pid, name in pairs)
    return Killed(_id(process_id), tuple(names))


def _flag(text: str) -> bool:
    return {"0": False, "1": True}[text]


def _id(text: str) -> str:
    if lifecycle.problem_with_id(text) is not None:
        raise ValueError(text[:80])
    return text


def _count(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise ValueError(text[:80])
    return int(text)


def _bytes(text: str) -> bytes:
    try:
        return b"" if text == "-" else base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


# A number of JSON may be too large, and an object nested too deep.
_NO_ANSWER = (KeyError, ValueError, IndexError, TypeError, OverflowError, RecursionError)


def _json(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.80} is no object")
    return value


_COUNT = re.compile(r"\d{1,18}", re.ASCII)
_LINES: dict[str, Any] = {
    "c": _report,
    "d": lambda fields: Data(
        _id(fields[0]), _count(fields[1]), _count(fields[2]), _bytes(fields[3])
    ),
    "u": lambda fields: Unknown(_id(fields[0])),
    "x": lambda fields: Conflict(_id(fields[0])),
    "b": lambda fields: Started(_id(fields[0]), _flag(fields[1])),
    "e": lambda fields: Failed(_id(fields[0]), _bytes(fields[1]).decode("utf-8", "replace")),
    "k": _killed,
    "g": lambda fields: Signaled(_id(fields[0]), _flag(fields[1])),
    "n": lambda fields: Total(_count(fields[0])),
    "h": lambda fields: Facts(
        fields[0], _bytes(fields[1]).decode(), _bytes(fields[2]).decode(), _count(fields[3])
    ),
}
