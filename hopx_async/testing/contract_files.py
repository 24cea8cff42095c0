"""Checks of files: bytes as they are, names as they are, and what cannot be is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hopx_async.errors import ConflictError, FileNotFound, InvalidArgument, PathNotAllowed
from hopx_async.protocol.file_answers import FileEvent
from hopx_async.sandbox import Sandbox
from hopx_async.testing.expecting import raises
from hopx_async.watching import FileWatch

__all__ = [
    "FILE_CHECKS",
    "changes_of_files_are_told",
    "directories_are_listed_whole",
    "files_are_exact",
    "what_cannot_be_with_files_is_told",
]

_NAMES = (
    "plain",
    "a b",
    "&#+%?=;",
    "%41%2e",
    "\u00fc\u4e16\U0001f600",
    "new\nline",
    "-rf",
    "a\\b\"'",
)
_CONTENTS = (b"", b"aGVsbG8gd29ybGQ=", bytes(range(256)), b"\xff\xfe\r\n", "\u00fc\n".encode())


async def files_are_exact(sandbox: Sandbox) -> None:
    """Every byte comes back as it was, under every name, however it was written."""
    files = sandbox.files
    for number, name in enumerate(_NAMES):
        path, data = f"odd/{name}/{name}", _CONTENTS[number % len(_CONTENTS)]
        await files.write(path, data)
        assert await files.exists(path)
        assert await files.read(path) == data
        assert [entry.name for entry in await files.list(f"odd/{name}")] == [name]
    for data in _CONTENTS:
        await files.write("f", data, mode=0o600)
        assert await files.read("/workspace/f") == data
    await files.write("f", "\u00fc")
    assert await files.read_text("f") == "\u00fc"
    assert await files.read_text("f", "latin-1") == "\u00c3\u00bc"
    await files.remove("f")
    assert not await files.exists("f")


async def directories_are_listed_whole(sandbox: Sandbox) -> None:
    """A listing has every entry by name with what it is, and nothing from below."""
    files = sandbox.files
    await files.mkdir("d/e")
    await files.mkdir("d/e")
    for number in range(120):
        await files.write(f"d/{number:03}", b"x" * number)
    found = await files.list("d")
    assert [entry.name for entry in found] == [*(f"{number:03}" for number in range(120)), "e"]
    assert [entry.path for entry in found] == [f"/workspace/d/{entry.name}" for entry in found]
    assert [entry.size for entry in found[:-1]] == list(range(120))
    assert [entry.is_directory for entry in found] == [False] * 120 + [True]
    assert found[0].permissions == "-rw-r--r--"
    assert found[0].modified_at is not None
    await files.remove("d")
    assert [entry.name for entry in await files.list() if entry.name == "d"] == []


async def what_cannot_be_with_files_is_told(sandbox: Sandbox) -> None:
    """What is not there, not allowed, or of the wrong kind has an error of its own."""
    files = sandbox.files
    await files.write("f", b"kept")
    missing = await raises(FileNotFound, files.read("no"))
    assert missing.path == "/workspace/no"
    await raises(FileNotFound, files.list("no"))
    await raises(FileNotFound, files.remove("no"))
    for path in ("../f", "/etc/passwd", "/workspace/../../etc/passwd"):
        outside = await raises(PathNotAllowed, files.read(path))
        assert outside.path.endswith(path)
        await raises(PathNotAllowed, files.write(path, b""))
        await raises(PathNotAllowed, files.exists(path))
    await raises(PathNotAllowed, files.remove("."))
    await raises(InvalidArgument, files.read("."))
    await raises(InvalidArgument, files.list("f"))
    await raises(InvalidArgument, files.write(".", b""))
    await raises(InvalidArgument, files.read("f", max_bytes=3))
    await raises(ConflictError, files.write("f", b"lost", overwrite=False))
    await raises(ConflictError, files.mkdir("f"))
    assert await files.read("f", max_bytes=4) == b"kept"


async def changes_of_files_are_told(sandbox: Sandbox) -> None:
    """A watch tells of what happens below it from when it is entered."""
    files = sandbox.files
    await files.mkdir("w")
    await files.write("w/old", b"")
    async with files.watch("w") as watch:
        await files.write("w/a b&.txt", b"1")
        event = await _told_of(watch, "/workspace/w/a b&.txt")
        assert event.kind in {"created", "modified"}
        await files.remove("w/old")
        while (await _told_of(watch, "/workspace/w/old")).kind != "deleted":
            pass
    await raises(FileNotFound, anext(files.watch("gone")))


async def _told_of(watch: FileWatch, path: str) -> FileEvent:
    while (event := await anext(watch)).path != path:
        pass
    return event


#: Every check, in the order of this file.
FILE_CHECKS: tuple[Callable[[Sandbox], Awaitable[None]], ...] = (
    files_are_exact,
    directories_are_listed_whole,
    what_cannot_be_with_files_is_told,
    changes_of_files_are_told,
)
