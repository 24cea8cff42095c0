"""This side's files: read to be sent, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from hopx_async import errors
from hopx_async.local_files import SourceFile, check_local_path, check_target, keep
from hopx_async.transport.files import Download


class Pieces(Download):
    """A download of these pieces; of an error where one stands, for ever at its end if asked."""

    def __init__(self, *pieces: bytes | Exception, hang: bool = False) -> None:
        self.pieces = list(pieces)
        self.hang = hang
        self.hanging = anyio.Event()

    async def receive(self) -> bytes:
        """Return the next one."""
        if not self.pieces:
            if self.hang:
                self.hanging.set()
                await anyio.sleep_forever()
            return b""
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        """Do nothing."""


async def test_a_source_is_read_from_the_beginning_each_time(tmp_path: Path) -> None:
    """Its pieces are the file as it was long when it was opened, whatever is added."""
    path = tmp_path / "a"
    path.write_bytes(bytes(600_000))
    async with SourceFile.opened(path) as source:
        with path.open("ab") as file:
            file.write(b"more")
        for _ in range(2):
            pieces = [piece async for piece in source.pieces()]
            assert b"".join(pieces) == bytes(600_000)
            assert max(map(len, pieces)) < 300_000


async def test_a_source_that_shrinks_is_refused(tmp_path: Path) -> None:
    """A file that becomes shorter while it is sent is not padded."""
    path = tmp_path / "a"
    path.write_bytes(bytes(600_000))
    async with SourceFile.opened(path) as source:
        os.truncate(path, 10)
        with pytest.raises(errors.InvalidArgument, match="shorter"):
            _ = [piece async for piece in source.pieces()]


async def test_what_cannot_be_a_source_is_told(tmp_path: Path) -> None:
    """Directories and pipes are refused, without waiting; what is not there says so itself."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(errors.InvalidArgument, match="a regular file"):
            async with SourceFile.opened(path):
                pass
    with pytest.raises(FileNotFoundError):
        async with SourceFile.opened(tmp_path / "no"):
            pass


async def test_a_download_gets_its_name_once_it_is_whole(tmp_path: Path) -> None:
    """What was there before is replaced, and nothing else is left."""
    path = tmp_path / "a"
    path.write_bytes(b"before")

    assert await keep(Pieces(b"12", b"3"), path) == 3
    assert path.read_bytes() == b"123"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["a" * 255, "漢" * 85, "🍵" * 63], ids=["1", "3", "4"])
async def test_a_download_takes_a_name_as_long_as_there_is(tmp_path: Path, name: str) -> None:
    """A name of 255 bytes has room, whatever its characters take."""
    assert await keep(Pieces(b"1"), tmp_path / name) == 1
    assert [each.name for each in tmp_path.iterdir()] == [name]


async def test_a_download_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Broken off or cancelled, the file is as it was before."""
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with pytest.raises(errors.ConnectionLost):
        await keep(Pieces(b"12", errors.ConnectionLost("cut")), path)
    hanging = Pieces(b"12", hang=True)
    async with anyio.create_task_group() as group:
        group.start_soon(keep, hanging, path)
        await hanging.hanging.wait()
        assert len(list(tmp_path.iterdir())) == 2
        group.cancel_scope.cancel()

    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


async def test_what_cannot_be_a_target_is_told(tmp_path: Path) -> None:
    """Directories, and names in none, are refused before anything is asked for."""
    await check_target(tmp_path / "new")
    for path in (tmp_path, tmp_path / "no" / "a", Path("/")):
        with pytest.raises(errors.InvalidArgument) as caught:
            await check_target(path)
        assert caught.value.parameter == "local_path"


def test_local_paths_are_texts_or_paths() -> None:
    """What is no path of this machine is refused."""
    assert check_local_path("a") == check_local_path(Path("a")) == Path("a")
    many: list[Any] = ["", "a\0", b"a", 7, None]
    for bad in many:
        with pytest.raises(errors.InvalidArgument):
            check_local_path(bad)
