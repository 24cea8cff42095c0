"""Where files of a run are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.native import BUILD

__all__ = ["scratch"]

_TMPFS = Path("/dev/shm")  # noqa: S108  # a file system, not a file


def scratch(where: str) -> str:
    """Return a directory on a ``"tmpfs"``, or on the ``"disk"`` that the checkout is on.

    Without a tmpfs that can be written to, the usual directory for temporary files has to do.
    """
    if where == "disk":
        BUILD.mkdir(parents=True, exist_ok=True)
        return str(BUILD)
    return str(_TMPFS) if os.access(_TMPFS, os.W_OK) else tempfile.gettempdir()
