"""What the system says: memory, descriptors, threads, processor time; and a child's last word."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

__all__ = ["stamp", "told_at"]

_numbers = itertools.count()


def stamp(directory: Path) -> str:
    """Return the path of a file that does not exist yet."""
    return str(directory / f"word-{next(_numbers)}")


def told_at(path: str) -> float:
    """Return the monotonic time that `last_word` has stored in a file, and remove it."""
    file = Path(path)
    nanoseconds: int = struct.unpack("q", file.read_bytes())[0]
    file.unlink()
    return nanoseconds / 1e9
