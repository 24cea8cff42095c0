"""A local server for HopX's official clients, which are used as they come.

They close nothing, so nobody looks here at what a test leaves behind. The server is looked at:
it has to end cleanly, and without a word on stderr.
"""

from __future__ import annotations

import importlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.serving import Served

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Look into these files only where they are asked for: `make test` does without the clients."""
    if "not official" in config.option.markexpr:
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client imports what websockets is about to drop
        importlib.import_module("hopx_ai")
    return None


@dataclass
class Place:
    """Where the local server is.

    Attributes:
        url: Of its control plane.
        key: Opens it.
        state: Its state directory.
    """

    url: str
    key: str
    state: Path

    @property
    def door(self) -> dict[str, str]:
        """What every door of the Python client takes."""
        return {"api_key": self.key, "base_url": self.url}


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Look at nothing: the official clients leave connections open."""


@pytest.fixture
def no_task_left() -> None:
    """Look at nothing, as above."""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Serve for all of these tests."""
    # The clients' websockets would go through a proxy of the environment.
    os.environ["NO_PROXY"] = "127.0.0.1"
    state = tmp_path_factory.mktemp("official") / "state"
    served = Served("--state-dir", str(state), "--max-sandboxes", "16")
    url, key = served.announced()
    yield Place(url, key, state)
    assert served.end() == (0, "")
