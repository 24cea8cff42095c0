"""A keeper for each test that wants one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.keeper.harness import KeeperProcess, keeper_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[KeeperProcess]:
    """A keeper over a fresh state directory; the test is its root and its agent."""
    with keeper_process(tmp_path) as keeper:
        yield keeper
