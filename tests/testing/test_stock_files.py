"""Files of the emulated stock agent: two directories, and a listing in one piece."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hopx_async import errors
from hopx_async.agent.dialect import disk
from hopx_async.agent.dialect.answers import Refused
from hopx_async.testing.stock_files import StockPlaces
from tests.support.stock import stock_sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation needs Linux")


def test_two_directories_are_allowed(tmp_path: Path) -> None:
    """Workspace and ``/tmp`` are, whatever leads out of them is not."""
    places = StockPlaces(str(tmp_path))
    assert places.inside("/workspace/a") == tmp_path.resolve() / "a"
    assert places.told(tmp_path.resolve() / "a") == "/workspace/a"
    assert places.told(places.inside("/tmp/x/y")) == "/tmp/x/y"
    for path in ("/etc/passwd", "/tmp/../etc/passwd", "/workspace/../../etc", "/tmpx"):
        with pytest.raises(Refused, match="not"):
            places.inside(path)
    for bad in ("", None, "/tmp/\0"):
        with pytest.raises(Refused):
            places.inside(bad)


async def test_a_listing_comes_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no paging, and an empty directory is null: our side reads both."""
    monkeypatch.setattr(disk, "MAX_LISTED", 10)
    async with stock_sandbox(tmp_path) as place:
        assert await place.sandbox.files.list() == []
        for number in range(25):
            (place.workspace / f"{number:03}").touch()
        found = await place.sandbox.files.list()
        assert [entry.name for entry in found] == [f"{number:03}" for number in range(25)]
        assert place.agent.requests["GET /files/list"] == 2


async def test_our_side_makes_the_directories_that_an_upload_needs(tmp_path: Path) -> None:
    """An upload where no directory is fails there with 500, and is whole in the end."""
    async with stock_sandbox(tmp_path) as place:
        await place.sandbox.files.write("a/b/c", b"\xff")
        assert (place.workspace / "a/b/c").read_bytes() == b"\xff"
        assert place.agent.requests["POST /files/upload"] == 2
        assert place.agent.requests["POST /files/mkdir"] == 1


async def test_the_other_directory_is_written_and_read(tmp_path: Path) -> None:
    """Files below ``/tmp`` are exact as well."""
    name = f"/tmp/hopx-stock-{os.urandom(6).hex()}"
    async with stock_sandbox(tmp_path) as place:
        files = place.sandbox.files
        try:
            await files.write(name, b"aGVsbG8=")
            assert await files.read(name) == b"aGVsbG8="
        finally:
            await files.remove(name)
        with pytest.raises(errors.PathNotAllowed):
            await files.read("/etc/passwd")
