"""The small C programs of the suite, built when they are first needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["BUILD", "PATTERN", "Checker", "program"]

_HERE = Path(__file__).parent
#: What the suite makes beside its results; ignored by git.
BUILD = _HERE.parents[1] / "build" / "benchmarks"
_FLAGS = ["-O2", "-Wall", "-Wextra"]


def program(name: str) -> str:
    """Return the path of the C program *name*, built from its source if that is newer.

    Raises:
        FileNotFoundError: If there is no C compiler.
        subprocess.CalledProcessError: If it does not compile.
    """
    source, target = _HERE / f"{name}.c", BUILD / name
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc")
        if compiler is None:
            raise FileNotFoundError("no C compiler: cc is not in PATH")
        BUILD.mkdir(parents=True, exist_ok=True)
        # Made aside and renamed: two that build at once do not see each other's halves.
        half = target.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, *_FLAGS, "-o", half, source], check=True)
        half.rename(target)
    return str(target)


#: What `spout` repeats.
PATTERN = bytes((place * 31 + place // 251) & 0xFF for place in range(65521))


class Checker:
    """Compares what came out of `spout` with what went in."""

    def __init__(self) -> None:
        self._twice = PATTERN * 40
        self.count = 0

    def check(self, data: bytes) -> None:
        """Compare the next bytes.

        Raises:
            AssertionError: If they are others.
        """
        place = self.count % len(PATTERN)
        if not self._twice.startswith(data, place):
            raise AssertionError(f"other bytes than were written, from {self.count} on")
        self.count += len(data)
