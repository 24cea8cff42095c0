"""What the routes of files do on the disk. Everything here blocks: it runs in threads."""

from __future__ import annotations

import bisect
import errno
import importlib.util
import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from hopx_async.agent.dialect.answers import Refused, stamp

__all__ = [
    "MAX_LISTED",
    "MAX_READ_BYTES",
    "MODE",
    "UNFINISHED",
    "can_watch",
    "check_file",
    "list_directory",
    "put",
    "read_file",
    "replace",
    "telling",
    "write_all",
]

#: Bytes of a file that is read as text; larger ones are downloaded.
MAX_READ_BYTES = 16 * 1024 * 1024
#: Entries on one page of a listing.
MAX_LISTED = 10_000
#: How the names of files begin that are being written.
UNFINISHED = ".hopx-"
#: The permissions of a file whose writer does not say.
MODE = 0o644
_FULL = {errno.ENOSPC, errno.EDQUOT}


def can_watch() -> bool:
    """Return whether there is watchfiles, by which the system tells of changes."""
    return importlib.util.find_spec("watchfiles") is not None


class telling:  # noqa: N801  # a context manager reads like a function
    """Turns what the disk says into HopX's words."""

    def __init__(self, place: Path) -> None:
        self._name = place.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            message = f"{self._name!r}: file not found"
            raise Refused("FILE_NOT_FOUND", message, status=404) from None
        if isinstance(error, FileExistsError):
            message = f"{self._name!r} exists already"
            raise Refused("FILE_ALREADY_EXISTS", message, status=409) from None
        if isinstance(error, PermissionError):
            message = f"{self._name!r}: permission denied"
            raise Refused("PERMISSION_DENIED", message, status=403) from None
        if isinstance(error, OSError) and error.errno in _FULL:
            raise Refused("INTERNAL_ERROR", f"no room: {error.strerror}", status=507) from None
        if isinstance(error, OSError):
            message = f"{self._name[:200]!r}: {error.strerror}"
            raise Refused("INVALID_PATH", message) from None


def check_file(place: Path) -> int:
    """Return the size of a file; refuse what is none."""
    with telling(place):
        status = place.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Refused("INVALID_PATH", f"{place.name!r} is no file")
    return status.st_size


def read_file(place: Path) -> bytes:
    """Return a file that is small enough for it."""
    size = check_file(place)
    if size > MAX_READ_BYTES:
        message = f"{size} bytes are more than {MAX_READ_BYTES}: use /files/download"
        raise Refused("INVALID_REQUEST", message, status=413)
    with telling(place), place.open("rb") as file:
        return file.read(MAX_READ_BYTES)


def list_directory(
    place: Path, told: str, after: str | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of a directory by name, and the mark at which the next one begins.

    Args:
        place: The directory.
        told: What clients call it.
        after: The mark of this page, None for the first.
    """
    with telling(place):
        if place.exists() and not place.is_dir():
            raise Refused("INVALID_PATH", f"{place.name!r} is no directory")
        if not place.exists():
            message = f"{place.name!r}: directory not found"
            raise Refused("DIRECTORY_NOT_FOUND", message, status=404)
        names = sorted(os.fsencode(each) for each in os.listdir(place))  # noqa: PTH208  # names
    names = names[0 if after is None else bisect.bisect(names, _marked(after)) :]
    # What is being written is not there yet.
    names = [name for name in names if not name.startswith(UNFINISHED.encode())]
    page, more = names[:MAX_LISTED], len(names) > MAX_LISTED
    found = []
    for name in map(os.fsdecode, page):
        with suppress(OSError):  # it is gone meanwhile
            found.append(_entry(place / name, f"{told}/{name}"))
    return found, page[-1].hex() if more else None


def _marked(after: str) -> bytes:
    try:
        return bytes.fromhex(after)
    except ValueError:
        raise Refused("INVALID_REQUEST", "after: what a page named as next") from None


def _entry(place: Path, told: str) -> dict[str, Any]:
    status = place.lstat()
    directory = place.is_dir()
    # A name that is no text is shown as one: JSON has no other.
    shown = {"name": place.name, "path": told}
    shown = {
        k: v.encode(errors="surrogateescape").decode(errors="replace") for k, v in shown.items()
    }
    return {
        **shown,
        "size": status.st_size,
        **dict.fromkeys(("is_directory", "is_dir"), directory),
        **dict.fromkeys(("modified_time", "modified"), stamp(status.st_mtime)),
        "permissions": stat.filemode(status.st_mode),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
    }


def replace(place: Path, data: bytes, mode: int, *, overwrite: bool) -> None:
    """Make a file of *data*: whole or not at all."""
    if place.is_dir():
        raise Refused("INVALID_PATH", f"{place.name!r} is a directory")
    fd, name = mkstemp(prefix=UNFINISHED, dir=place.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        Path(name).chmod(mode)
        if overwrite:
            Path(name).replace(place)
        else:
            place.hardlink_to(name)
    finally:
        Path(name).unlink(missing_ok=True)


def put(kept: Path, place: Path) -> None:
    """Give an upload its name."""
    with telling(place):
        if place.is_dir():
            raise Refused("INVALID_PATH", f"{place.name!r} is a directory")
        kept.chmod(MODE)
        kept.replace(place)


def write_all(fd: int, data: bytes) -> None:
    """Write all of *data*."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
