"""Arguments of the calls of files, before anything is sent."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest

from hopx_async import errors
from hopx_async.file_arguments import (
    check_bytes,
    check_encoding,
    check_mode,
    content_of,
    full_path,
    pieces_of,
)


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("a", "/workspace/a"),
        ("./a//b/", "/workspace/a/b"),
        (".", "/workspace"),
        ("/tmp/a", "/tmp/a"),
        ("../a", "/workspace/../a"),
        (PurePosixPath("a b&#"), "/workspace/a b&#"),
        (Path("/workspace/\u00fc\n"), "/workspace/\u00fc\n"),
        ("~/a", "/workspace/~/a"),
    ],
)
def test_a_path_travels_whole(path: Any, whole: str) -> None:
    """A relative path starts in the workspace; what leads out is left for the far side to judge."""
    assert full_path(path) == whole


@pytest.mark.parametrize(
    "path",
    ["", "a\0b", "\ud800", "x" * 5000, b"a", 7, None, PureWindowsPath("C:\\a"), "\u00fc" * 2100],
)
def test_what_is_no_path_is_refused(path: Any) -> None:
    """The error names the parameter and shows no more than a part of it."""
    with pytest.raises(errors.InvalidArgument) as caught:
        full_path(path)

    assert caught.value.parameter == "path"
    assert len(str(caught.value)) < 400


async def test_content_is_bytes() -> None:
    """Texts become UTF-8, everything that has bytes is taken, and comes in pieces."""
    for data in (b"\xc3\xbc", bytearray(b"\xc3\xbc"), memoryview(b"\xc3\xbc"), "\u00fc"):
        assert content_of(data) == b"\xc3\xbc"
    for bad in ("\ud800", 7, None, ["a"]):
        with pytest.raises(errors.InvalidArgument):
            content_of(bad)
    large = bytes(600_000)
    pieces = [piece async for piece in pieces_of(large)]
    assert b"".join(pieces) == large
    assert len(pieces) == 3


def test_numbers_and_names_are_checked() -> None:
    """Modes, bounds and encodings are what they say they are."""
    check_bytes("max_bytes", 0)
    check_mode(0o777)
    check_encoding("utf-8", "surrogateescape")
    many: list[Any] = [-1, 1.5, True, "7", None]
    for bad in many:
        with pytest.raises(errors.InvalidArgument):
            check_bytes("max_bytes", bad)
        with pytest.raises(errors.InvalidArgument):
            check_mode(bad)
    with pytest.raises(errors.InvalidArgument):
        check_mode(0o1000)
    for encoding, how in (("klingon", "strict"), (7, "strict"), ("utf-8", "hope"), ("a\0", "x")):
        with pytest.raises(errors.InvalidArgument):
            check_encoding(encoding, how)
