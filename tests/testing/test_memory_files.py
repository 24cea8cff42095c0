"""Files in memory, as tests and scripts use them; what is like the real ones is in the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hopx_async import errors
from hopx_async.testing.memory import MemoryAgent
from hopx_async.testing.memory_files import MemoryFiles, MemoryStore


async def test_what_is_put_is_there() -> None:
    """put makes directories, get gives bytes back, drop takes all below."""
    files = MemoryFiles()
    files.put("/workspace/d/e/f", b"1", mode=0o750)

    (entry,) = files.entries("/workspace/d/e")
    assert files.get("/workspace/d/e/f") == b"1"
    assert (entry.name, entry.permissions) == ("f", "-rwxr-x---")
    files.drop("/workspace/d")
    assert not files.exists("/workspace/d/e/f")
    assert files.entries("/workspace") == []


async def test_what_cannot_be_is_refused() -> None:
    """A file in a file, a directory as a file and the other way round are refused."""
    files = MemoryFiles()
    files.put("/workspace/f", b"")
    files.make("/workspace/d")
    for path in ("/workspace/d", "/workspace/f/g"):
        with pytest.raises(errors.InvalidArgument):
            files.place(path, b"", 0o644)
    with pytest.raises(errors.InvalidArgument):
        files.get("/workspace/d")
    with pytest.raises(errors.ConflictError):
        files.make("/workspace/f/g")
    with pytest.raises(errors.PathNotAllowed):
        files.put("/workspace-2/f", b"")


async def test_an_upload_that_is_short_is_refused() -> None:
    """Fewer bytes than promised make no file."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    agent = MemoryAgent({})
    store = MemoryStore(agent.files, agent.carry_out)
    with pytest.raises(errors.RemoteProtocolError):
        await store.upload("/workspace/a", pieces, 2)
    assert not agent.files.exists("/workspace/a")
