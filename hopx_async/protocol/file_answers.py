"""What an agent's routes of files answer, and what it means: ours, and HopX's own.

HopX's own agent is believed as little as can be: a path that it does not know may be
answered with 200 and a text about itself, lists may be null, and sizes may tell that it
has stored something else than was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import attrs

from hopx_async.errors import (
    AgentFault,
    ApiError,
    AuthenticationError,
    ConflictError,
    FileNotFound,
    HopxError,
    InvalidArgument,
    NotFoundError,
    PathNotAllowed,
    RateLimited,
    RemoteProtocolError,
    Unsupported,
)
from hopx_async.protocol.envelopes import Told, read_envelope, read_json, told_by, unix_time

__all__ = [
    "FileEvent",
    "FileInfo",
    "FileKind",
    "change",
    "done",
    "existence",
    "is_catch_all",
    "listing",
    "refusal",
]

FileKind: TypeAlias = Literal["created", "modified", "deleted", "renamed", "missed"]
_SHOWN = 200
_CATCH_ALL = {"status", "version", "message"}
_NOT_FOUND = {"FILE_NOT_FOUND", "DIRECTORY_NOT_FOUND"}
_NOT_ALLOWED = {"PATH_NOT_ALLOWED", "PERMISSION_DENIED", "FORBIDDEN"}


@attrs.frozen(kw_only=True)
class FileInfo:
    """A file or directory in a listing.

    Attributes:
        name: Its name; what is no UTF-8 in it is shown as U+FFFD.
        path: Its whole path, as all calls take it.
        size: Bytes of a file.
        is_directory: Whether it is a directory, or a link to one.
        modified_at: Unix time of its last change, None where the far side does not tell.
        permissions: As the far side writes them, such as ``"-rw-r--r--"``; "" where it does not.
    """

    name: str
    path: str
    size: int
    is_directory: bool
    modified_at: float | None = None
    permissions: str = ""


@attrs.frozen(kw_only=True)
class FileEvent:
    """Something that happened to a file that is watched.

    Attributes:
        path: The whole path of the file; for ``"missed"`` that which is watched.
        kind: What happened. ``"missed"`` says that the watch was interrupted, and anything
            may have happened meanwhile.
        at: Unix time at which the far side noticed; for ``"missed"`` when this side did.
    """

    path: str
    kind: FileKind
    at: float


def is_catch_all(value: object) -> bool:
    """Whether an answer is that of HopX's agent to a path that it does not know."""
    if not isinstance(value, Mapping) or not isinstance(value.get("agent"), str):
        return False
    return value.get("message") == "success" or value.keys() >= _CATCH_ALL


def listing(body: bytes) -> tuple[list[FileInfo], str | None]:
    """Return the entries of a listing, and where the next page begins, None for no more.

    Raises:
        RemoteProtocolError: If it is no listing.
    """
    value = _object(body, "files")
    files = value["files"]
    following = value.get("next")
    if files is None:
        files = []
    if not isinstance(files, list) or not (following is None or isinstance(following, str)):
        raise RemoteProtocolError(f"no listing: {body[:_SHOWN]!r}")
    return [_entry(one) for one in files], following or None


def existence(body: bytes) -> bool:
    """Return what an answer says about whether something is there.

    Raises:
        RemoteProtocolError: If it does not say.
    """
    exists = _object(body, "exists")["exists"]
    if not isinstance(exists, bool):
        raise RemoteProtocolError(f"neither there nor not there: {body[:_SHOWN]!r}")
    return exists


def done(body: bytes, *, size: int | None = None) -> None:
    """Check that an answer says that it was done.

    Args:
        body: The answer.
        size: How many bytes were to be stored, None for none.

    Raises:
        RemoteProtocolError: If it is no such answer, or another number of bytes was stored.
        ApiError: If it says that it was not done.
    """
    value = _object(body)
    if value.get("success") is False:
        why = told_by(value, {}).message
        raise ApiError(why or "the far side says that it failed, and not why")
    stored = value.get("size")
    if size is not None and isinstance(stored, int) and stored != size:
        raise RemoteProtocolError(f"{size} bytes were sent, {stored} were stored")


def change(text: str | bytes, now: float) -> FileEvent | str | None:
    """Return the event in a frame of a watch, "watching" once it watches, None for neither.

    Args:
        text: The frame; an empty one says nothing.
        now: Unix time, for what comes without.

    Raises:
        HopxError: If it says that the watch is refused, or over.
    """
    if not text:
        return None
    value = read_json(text)
    match value:
        case {"type": "status"}:
            return "watching"
        case {"type": "change", "path": str(path), "event": str(kind)}:
            if kind not in get_args(FileKind):
                return None
            known: Any = kind
            return FileEvent(path=path, kind=known, at=unix_time(value.get("timestamp")) or now)
        case {"type": "error"}:
            raise _error(0, told_by(value, {}), None)
        case {"type": "complete"}:
            raise ApiError("the far side has ended the watch")
        case {"type": str()}:
            return None
        case _:
            raise RemoteProtocolError(f"an unknown frame: {text[:_SHOWN]!r}")


def refusal(
    status: int,
    body: bytes,
    *,
    path: str | None = None,
    retry_after: str | None = None,
    request_id: str | None = None,
) -> HopxError:
    """Return the error that an answer stands for.

    Args:
        status: Its HTTP status, 400 or above.
        body: What came with it.
        path: The path that was asked for.
        retry_after: Its header of this name, in seconds.
        request_id: Its header ``X-Request-ID``, for bodies without one.
    """
    told = read_envelope(body, {"Retry-After": retry_after or "", "X-Request-ID": request_id or ""})
    if not told.enveloped:
        shown = f"status {status}: {body[:_SHOWN].decode(errors='replace')!r}"
        told = attrs.evolve(told, message=shown)
    return _error(status, told, path)


def _error(status: int, told: Told, path: str | None) -> HopxError:
    message = told.message or f"status {status}"
    where = path or ""
    error: ApiError
    if told.code in _NOT_FOUND:
        error = FileNotFound(message, path=where)
    elif told.code in _NOT_ALLOWED or (status == 403 and not told.code):
        error = PathNotAllowed(message, path=where)
    elif told.code == "INVALID_PATH":
        return InvalidArgument("path", ascii(where)[:_SHOWN], message)
    elif told.code == "NOT_IMPLEMENTED" or status == 501:
        return Unsupported(message)
    else:
        error = _by_status(status, told, message, path)
    if told.request_id is not None:
        error.request_id = told.request_id[:_SHOWN]
    return error


def _by_status(status: int, told: Told, message: str, path: str | None) -> ApiError:
    if status == 401:
        return AuthenticationError(message)
    if status == 404 and (path is None or told.code == "NOT_FOUND"):
        return NotFoundError(message)
    if status == 404:
        return FileNotFound(message, path=path or "")
    if status == 409 or told.code == "FILE_ALREADY_EXISTS":
        return ConflictError(message)
    if status == 429:
        return RateLimited(message, retry_after=told.retry_after)
    return (AgentFault if status >= 500 else ApiError)(message, status=status or None)


def _object(body: bytes, *keys: str) -> dict[str, Any]:
    """Return the object in an answer; whatever lacks a key of *keys* is none of ours."""
    value = read_json(body)
    if not isinstance(value, dict) or is_catch_all(value) or not value.keys() >= set(keys):
        shown = body[:_SHOWN].decode(errors="replace")
        raise RemoteProtocolError(f"no answer of a route of files: {shown!r}")
    return value


def _entry(value: Any) -> FileInfo:
    try:
        directory = value.get("is_directory", value.get("is_dir"))
        return FileInfo(
            name=str(value["name"]),
            path=str(value["path"]),
            size=int(value.get("size") or 0),
            is_directory=bool(directory),
            modified_at=unix_time(value.get("modified_time", value.get("modified"))),
            permissions=str(value.get("permissions") or ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RemoteProtocolError(f"no entry of a listing: {value!r:.200}") from error
