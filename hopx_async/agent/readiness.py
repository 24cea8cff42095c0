"""Who listens: the answer to `wait_port`, given when a command's port is open or it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hopx_async.agent.board import Board, Command

__all__ = ["HANG_SECONDS", "answers", "listens", "wait_port"]

#: A call is answered within this time at the latest: then its client asks again.
HANG_SECONDS = 10.0
# Linux tells nobody when a socket begins to listen: it is looked for, less and less often.
_FIRST_LOOK = 0.01
_LAST_LOOK = 0.25
_ANSWER_SECONDS = 5.0
_LISTEN = "0A"


async def wait_port(
    board: Board, command: Command, port: int, path: str | None, hang: float = HANG_SECONDS
) -> dict[str, Any]:
    """Wait until *command* listens on *port*, and answers *path* if one is given.

    Answers at once when the command ends, and after *hang* seconds in any case.
    Cancelling it is safe.
    """
    ended = asyncio.ensure_future(board.ended(command))
    delay = _FIRST_LOOK
    deadline = asyncio.get_running_loop().time() + hang
    try:
        while True:
            over = command.exit is not None
            # In a thread: looking through all processes for an owner may take a while.
            there = await asyncio.to_thread(listens, command.process_id, command.pid, port)
            if there and (path is None or await answers(port, path)):
                return {"ready": True, "ended": over}
            # A server that outlives its leader counts, so the last look comes behind the end.
            if over or asyncio.get_running_loop().time() >= deadline:
                return {"ready": False, "ended": over}
            await asyncio.wait([ended], timeout=delay)
            delay = min(2 * delay, _LAST_LOOK)
    finally:
        ended.cancel()


def listens(process_id: str, pid: int | None, port: int) -> bool:
    """Whether a process of the command listens on *port*, as /proc tells.

    Looking does not disturb the server, as a connection would. A socket whose owner
    cannot be seen (it is in a container, say) counts as the command's.
    """
    inodes = set(_listeners(pid, port))
    if not inodes:
        return False
    owners = list(_owners(inodes))
    return not owners or any(_belongs(owner, process_id, pid) for owner in owners)


async def answers(port: int, path: str) -> bool:
    """Whether a GET of *path* is answered with a status below 400."""
    with contextlib.suppress(OSError, ValueError, IndexError, EOFError, asyncio.LimitOverrunError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await _connected(port)
            try:
                request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n"
                writer.write(f"{request}Accept: */*\r\n\r\n".encode("ascii"))
                status = int((await reader.readuntil(b"\n")).split()[1])
                return 200 <= status < 400
            finally:
                writer.close()
    return False


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return await asyncio.open_connection("::1", port)


def _listeners(pid: int | None, port: int) -> Iterator[str]:
    # The network as the command sees it; once its leader is gone, as the agent does.
    place = Path(f"/proc/{pid}/net")
    if not (place / "tcp").exists():
        place = Path("/proc/net")
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (place / name).read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _owners(inodes: Iterable[str]) -> Iterator[int]:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for name in _names("/proc"):
        if name.isdigit():
            place = f"/proc/{name}/fd"
            if any(_target(f"{place}/{fd}") in wanted for fd in _names(place)):
                yield int(name)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208  # pathlib takes ten times as long
    except OSError:
        return []


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115  # as in _names
    except OSError:
        return ""


def _belongs(pid: int, process_id: str, leader: int | None) -> bool:
    """Whether a process is of the command's tree: by its scope, or by its ancestors."""
    while pid > 1:
        if pid == leader or process_id in _scopes(pid):
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return False
        pid = int(stat[stat.rindex(b")") + 2 :].split()[1])
    return False


def _scopes(pid: int) -> set[str]:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == b"HOPX_SCOPE":
                scopes = value.decode(errors="replace").split(":")
                return {scope.rpartition("/")[2] for scope in scopes}
    return set()
