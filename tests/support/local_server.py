"""``hopx-async serve`` as a process of its own, for tests that need agents which run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

__all__ = ["LocalServer", "local_server", "service_here"]


class LocalServer(NamedTuple):
    """A server that serves: where, and what opens it."""

    url: str
    api_key: str


@contextmanager
def local_server(*arguments: str) -> Generator[LocalServer]:
    """Serve until the block is left; all its sandboxes end with it."""
    command = [sys.executable, "-m", "hopx_async.cli", "serve", "--announce", "--port", "0"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            yield LocalServer(said["url"], said["api_key"])
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture
def service_here(monkeypatch: pytest.MonkeyPatch) -> Generator[LocalServer]:
    """Serve, and let the environment name it: for the page about the service."""
    with local_server() as server:
        monkeypatch.setenv("HOPX_API_KEY", server.api_key)
        monkeypatch.setenv("HOPX_BASE_URL", server.url)
        yield server
