"""What the system says: memory, descriptors, threads, processor time; and a child's last word."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

__all__ = [
    "descriptors",
    "family",
    "forget_peak",
    "memory_kib",
    "stamp",
    "tcp_bytes",
    "threads",
    "told_at",
]

_numbers = itertools.count()
# In struct tcp_info: tcpi_bytes_acked and tcpi_bytes_received.
_ACKED_AND_RECEIVED, _AT = struct.Struct("QQ"), 120


def stamp(directory: Path) -> str:
    """Return the path of a file that does not exist yet."""
    return str(directory / f"word-{next(_numbers)}")


def told_at(path: str) -> float:
    """Return the monotonic time that `last_word` has stored in a file, and remove it."""
    file = Path(path)
    nanoseconds: int = struct.unpack("q", file.read_bytes())[0]
    file.unlink()
    return nanoseconds / 1e9


# Processes.


def family(pid: int) -> dict[str, list[int]]:
    """Return root, keepers and agent among the descendants of a process; commands are none."""
    found: dict[str, list[int]] = {"root": [], "keepers": [], "agent": []}
    for child in _children(pid):
        told = _command_line(child)
        if "hopx_async.keeper.keeper" in told:
            found["keepers"].append(child)
            continue  # below it are commands
        if "hopx_async.agent.server" in told:
            found["agent"].append(child)
        elif "hopx_async.agent" in told:
            found["root"].append(child)
        for name, pids in family(child).items():
            found[name] += pids
    return found


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").replace("\0", " ")
    return ""


def memory_kib(pid: int, what: str = "RssAnon") -> int:
    """Return a line of a process's status: by default the memory that is its own."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0])
    raise KeyError(what)


def forget_peak(pid: int) -> int:
    """Let the peak of a process's memory begin anew; return what it has now, in KiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return memory_kib(pid, "VmRSS")


def descriptors(pid: int) -> int:
    """Return how many descriptors a process holds."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return memory_kib(pid, "Threads")


def tcp_bytes() -> dict[str, int]:
    """Return the bytes that each open TCP connection of this process has carried, both ways."""
    carried = {}
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            name = str(entry.readlink())
            if not name.startswith("socket:"):
                continue
            connection = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue
        with connection:
            if connection.family == socket.AF_INET and connection.type == socket.SOCK_STREAM:
                told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                carried[name] = sum(_ACKED_AND_RECEIVED.unpack_from(told, _AT))
    return carried
