"""The seam of files: what has to be implemented, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from hopx_async.errors import Unsupported
from hopx_async.testing.memory_files import MemoryStore
from hopx_async.transport.base import Transport
from hopx_async.transport.files import Changes, Download, FileStore
from hopx_async.transport.http_files import HttpFiles


@pytest.mark.parametrize("kind", [Changes, Download, FileStore])
def test_the_seam_is_abstract(kind: Any) -> None:
    """A store that lacks a method cannot be made."""
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_ours_stand_behind_it() -> None:
    """Everything that we ship is an implementation of the seam."""
    assert issubclass(MemoryStore, FileStore)
    assert issubclass(HttpFiles, FileStore)


def test_a_transport_without_files_says_so() -> None:
    """Who implements a transport need not have files."""

    class Bare(Transport):
        name = "there"

        async def request(self, method: str, params: dict[str, Any]) -> Any:
            raise NotImplementedError

        async def connect(self) -> Any:
            raise NotImplementedError

        async def aclose(self) -> None:
            raise NotImplementedError

    with pytest.raises(Unsupported, match="there has no files"):
        Bare().files()
