"""Tests of hopx_async.agent.dialect.disk."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from hopx_async.agent.dialect import disk
from hopx_async.agent.dialect.answers import Refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("error", "word", "status"),
    [
        (FileNotFoundError(), "FILE_NOT_FOUND", 404),
        (FileExistsError(), "FILE_ALREADY_EXISTS", 409),
        (PermissionError(), "PERMISSION_DENIED", 403),
        (OSError(errno.ENOSPC, "No space left"), "INTERNAL_ERROR", 507),
        (OSError(errno.ENAMETOOLONG, "Too long"), "INVALID_PATH", 400),
    ],
)
def test_what_the_disk_says_is_told(tmp_path: Path, error: OSError, word: str, status: int) -> None:
    """Each error has HopX's code; a full disk is no fault of the path."""
    with pytest.raises(Refused) as caught, disk.telling(tmp_path):
        raise error

    assert (caught.value.word, caught.value.status) == (word, status)


def test_a_listing_comes_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages follow each other by name, with no entry lost or told twice while others come."""
    monkeypatch.setattr(disk, "MAX_LISTED", 2)
    for name in ("a", "b", "c", "d", ".hopx-unfinished"):
        (tmp_path / name).touch()
    (tmp_path / os.fsdecode(b"e\xff")).touch()

    first, mark = disk.list_directory(tmp_path, "/workspace")
    (tmp_path / "a").unlink()
    (tmp_path / "aa").touch()
    second, mark = disk.list_directory(tmp_path, "/workspace", mark)
    third, end = disk.list_directory(tmp_path, "/workspace", mark)

    assert [one["name"] for one in (*first, *second, *third)] == ["a", "b", "c", "d", "e\ufffd"]
    assert end is None
    with pytest.raises(Refused, match="after"):
        disk.list_directory(tmp_path, "/workspace", "no mark")


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """Neither half a file nor a name of ours stays behind."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr("pathlib.Path.chmod", full)
    with pytest.raises(OSError, match="No space"):
        disk.replace(tmp_path / "a", b"data", 0o644, overwrite=overwrite)

    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    """What is there stays, a dangling link included; modes are as asked for."""
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "a").write_text("kept")
    for name in ("a", "link"):
        with pytest.raises(FileExistsError):
            disk.replace(tmp_path / name, b"lost", 0o644, overwrite=False)
    disk.replace(tmp_path / "b", b"new", 0o640, overwrite=False)

    assert (tmp_path / "a").read_text() == "kept"
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "link"]


def test_watching_is_a_matter_of_the_extra() -> None:
    """It can watch where watchfiles is installed, as for these tests."""
    assert disk.can_watch()
