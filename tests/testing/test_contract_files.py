"""The contract of files can fail: each check against files that break it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from hopx_async.errors import ApiError, HopxError
from hopx_async.testing import MemoryAgent, VirtualTimeLoop, memory
from hopx_async.testing import contract_files as checks
from hopx_async.testing.contract_needs import checks_for
from hopx_async.testing.memory_files import MemoryFiles


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def decoding(files: MemoryFiles) -> None:
    """Let what looks like base64 be decoded."""
    get = files.get
    files.get = lambda path: get(path).replace(b"aGVsbG8", b"hello")  # type: ignore[method-assign]


def forgetting(files: MemoryFiles) -> None:
    """Let a listing end early."""
    entries = files.entries
    files.entries = lambda path: entries(path)[:100]  # type: ignore[method-assign]


def permitting(files: MemoryFiles) -> None:
    """Let everything be in the workspace."""
    files._inside = lambda path: path  # type: ignore[method-assign]


def silent(files: MemoryFiles) -> None:
    """Let no change be told, and the watch end."""

    def tell(*_: object) -> None:
        for changes in list(files._watches):
            changes.cut()
        if files._watches or files.exists("/workspace/w/a b&.txt"):
            raise ApiError("nothing more")

    files._tell = tell  # type: ignore[assignment,method-assign]


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (decoding, checks.files_are_exact),
        (forgetting, checks.directories_are_listed_whole),
        (permitting, checks.what_cannot_be_with_files_is_told),
        (silent, checks.changes_of_files_are_told),
    ],
)
async def test_a_flaw_is_found(
    spoil: Callable[[MemoryFiles], None], check: Callable[..., Any]
) -> None:
    """Each check fails where what it checks is broken."""
    agent = MemoryAgent({})
    spoil(agent.files)
    async with memory(agent=agent) as sandbox:
        with pytest.raises((AssertionError, HopxError)):
            await check(sandbox)


async def test_nothing_is_asked_of_a_far_side_without_files() -> None:
    """What a far side does not claim to have is not among its checks."""
    async with memory() as sandbox:
        can = sandbox.capabilities
        assert checks_for(can, checks.FILE_CHECKS) == checks.FILE_CHECKS
        assert (
            checks_for(attrs.evolve(can, watch=False), checks.FILE_CHECKS)
            == (checks.FILE_CHECKS[:-1])
        )
        assert checks_for(attrs.evolve(can, files=False), checks.FILE_CHECKS) == ()
