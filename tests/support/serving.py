"""``hopx-async serve`` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Served"]

_END_SECONDS = 60


class Served:
    """A local server on any free port.

    Args:
        arguments: More of its command line.
        env: More of its environment.
    """

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "hopx_async.cli", "serve", "--announce", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=None if env is None else {**os.environ, **env},
        )

    def announced(self) -> tuple[str, str]:
        """Wait until it serves; return its url and its key."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        facts = json.loads(line or "{}")
        assert facts, self.end()
        return facts["url"], facts["api_key"]

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Signal it and wait for its end; return status and what it complained of."""
        self.process.send_signal(number)
        _, complaint = self.process.communicate(timeout=_END_SECONDS)
        return self.process.returncode, complaint
