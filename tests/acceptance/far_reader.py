"""A reader in a process of its own: ``far_reader.py URL PROCESS_ID``, the rest on stdin.

It prints one JSON object: a digest of what it read in each view with the memory that this took,
or the lines behind each of many cursors.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import hopx_async as hopx

__all__ = ["main"]


def peak() -> int:
    """Return this process's peak resident size so far, in bytes."""
    # Not getrusage: that counts the size of the process which started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def digest_of(job: hopx.CommandHandle, view: str) -> dict[str, Any]:
    """Return what stdout is in a view, as a digest; lines that end have a newline again."""
    digest, count, partial, before = hashlib.sha256(), 0, 0, peak()
    if view == "events":
        async for event in job.events():
            if isinstance(event, hopx.Stdout):
                digest.update(event.data)
                count += 1
    elif view == "text":
        async for piece in job.text(stream="stdout"):
            digest.update(piece.text.encode())
            count += 1
    else:
        async for line in job.lines(stream="stdout"):
            digest.update(line.text.encode())
            digest.update(b"" if line.partial else b"\n")
            count += 1
            partial += line.partial
    grown = peak() - before
    return {"digest": digest.hexdigest(), "count": count, "partial": partial, "grown": grown}


async def main(url: str, process_id: str, token: str, view: str, cursors: list[str]) -> None:
    """Read, and say what was read."""
    async with hopx.remote(url, token=token) as sandbox:
        await sandbox.commands.list()
        job = await sandbox.commands.get(process_id)
        if view != "cursors":
            said: Any = await digest_of(job, view)
        else:
            said = [
                [(line.stream, line.text) async for line in job.lines(after=cursor)]
                for cursor in cursors
            ]
    print(json.dumps(said))  # noqa: T201  # its one output


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], **json.load(sys.stdin)))
