"""Node.js with HopX's JavaScript client in it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

__all__ = ["INSTALLED", "program"]

_PROGRAMS = Path(__file__).parent / "js"
#: Where `make test-official` has put the client; it is no business of the repository's.
INSTALLED = Path(sys.prefix) / "official" / "node_modules"


def program(name: str, place: Path) -> list[str]:
    """Return the command line of a program of ``js/``, put beside the client in *place*."""
    node = shutil.which("node")
    if node is None or not (INSTALLED / "@hopx-ai" / "sdk").is_dir():
        if "HOPX_WITHOUT_NODE" in os.environ:
            pytest.skip("Node.js is not here, as HOPX_WITHOUT_NODE says")
        pytest.fail("the JavaScript client is not installed: make test-official", pytrace=False)
    if not (place / "node_modules").exists():
        (place / "node_modules").symlink_to(INSTALLED)
    copy = place / name
    copy.write_text((_PROGRAMS / name).read_text(encoding="utf-8"), encoding="utf-8")
    return [node, str(copy)]
