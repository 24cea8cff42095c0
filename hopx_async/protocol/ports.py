"""What may be asked about a port: one rule for client and agent."""

from __future__ import annotations

import re

from hopx_async.protocol.lifecycle import Problem

__all__ = ["MAX_PATH_BYTES", "problem_with_path", "problem_with_port"]

#: The path of a URL that is asked for, query included.
MAX_PATH_BYTES = 2048
# What may stand in a request line: nothing that could begin another line or field.
_PATH = re.compile(r"/[!-~]*")


def problem_with_port(port: object) -> Problem | None:
    """Return what is wrong with the number of a port."""
    if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536:
        return None
    return Problem("port", port, "a number from 1 to 65535")


def problem_with_path(path: object) -> Problem | None:
    """Return what is wrong with the *path* of a URL on the far side; None is none."""
    if path is None:
        return None
    if isinstance(path, str) and len(path) <= MAX_PATH_BYTES and _PATH.fullmatch(path):
        return None
    rule = f"a path as in a URL, from / on, percent-encoded, at most {MAX_PATH_BYTES} bytes"
    return Problem("path", path, rule)
