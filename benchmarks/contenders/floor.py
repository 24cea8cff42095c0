"""The floor: a small C program that starts, waits, and catches the output in files."""

from __future__ import annotations

import asyncio
import shutil
import tempfile

from benchmarks.native import program
from benchmarks.places import scratch
from benchmarks.worker import Contender, main

__all__ = ["Floor"]


class Floor(Contender):
    """vfork, execve, wait; a file for each command's output."""

    async def open(self, where: str = "tmpfs") -> None:
        """Build the program."""
        self._program = program("floor")
        self._scratch = scratch(where)

    async def commands(self, count: int, at_once: int) -> float:
        """Return the seconds that so many commands take."""
        directory = tempfile.mkdtemp(prefix="hopx-floor-", dir=self._scratch)
        try:
            process = await asyncio.create_subprocess_exec(
                *(self._program, str(count), str(at_once), directory), stdout=-1
            )
            said, _ = await process.communicate()
            return float(said)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(Floor())
