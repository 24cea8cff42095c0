"""Readers of /proc, and the two marks by which a command's processes are known.

A command's tree carries its *scope* in the environment and its *mark* in a resource
limit that Linux has not used since 2.4 (file locks): fork and exec hand it on, and it
survives ``env -i`` and ``setsid``, which the environment and the session do not.
"""

from __future__ import annotations

import os

__all__ = [
    "RLIMIT_LOCKS",
    "SCOPE",
    "Stat",
    "boot_id",
    "children",
    "descendants",
    "mark_of",
    "pids",
    "read_mark",
    "read_scopes",
    "read_stat",
    "scope_of",
    "scope_value",
    "seal_descriptors",
]

_STDERR = 2

SCOPE = "HOPX_SCOPE"
RLIMIT_LOCKS = 10
# A prime, so that what is alike falls apart; below the limits that say "unlimited".
_MARKS = 2**60 - 93
_SCOPE_ENTRY = SCOPE.encode() + b"="


def scope_of(nonce: str, process_id: str) -> str:
    """Return the entry that stands for one command in the scope of its processes."""
    return f"{nonce}/{process_id}"


def scope_value(outer: str, nonce: str, process_id: str) -> str:
    """Return the value of ``HOPX_SCOPE``: the scopes around this sandbox, then the command's."""
    entry = scope_of(nonce, process_id)
    return f"{outer}:{entry}" if outer else entry


def mark_of(scope: str) -> int:
    """Return the mark of the tree whose scope value is *scope*."""
    # No digest: nobody is kept from choosing ids, and OpenSSL is much to load for a keeper.
    return int.from_bytes(b"hopx_async:" + scope.encode(), "big") % _MARKS


class Stat:
    """What ``/proc/PID/stat`` says: name, state, ppid, pgrp, session, start_ticks."""

    __slots__ = ("name", "pgrp", "ppid", "session", "start_ticks", "state", "threads")

    def __init__(self, line: bytes) -> None:
        # The name stands in parentheses and may itself hold spaces and parentheses.
        opening, closing = line.index(b"("), line.rindex(b")")
        rest = line[closing + 2 :].split()
        self.name = line[opening + 1 : closing].decode("utf-8", "replace")
        self.state = rest[0].decode()
        self.ppid = int(rest[1])
        self.pgrp = int(rest[2])
        self.session = int(rest[3])
        self.threads = int(rest[17])
        self.start_ticks = int(rest[19])

    @property
    def dead(self) -> bool:
        """Whether nothing of it runs. The main thread may be a zombie while others run."""
        return self.state in "ZXx" and self.threads <= 1


def read_stat(pid: int) -> Stat | None:
    """Return what is known of *pid*, or None if there is no such process."""
    line = _read(f"/proc/{pid}/stat")
    return Stat(line) if line else None


def read_mark(pid: int) -> int | None:
    """Return the soft limit of file locks of *pid*, None if it is unlimited or not known."""
    for line in (_read(f"/proc/{pid}/limits") or b"").splitlines():
        if line.startswith(b"Max file locks"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else None
    return None


def read_scopes(pid: int) -> list[str]:
    """Return the entries of the scope in the environment of *pid*, outermost first."""
    for entry in (_read(f"/proc/{pid}/environ") or b"").split(b"\0"):
        if entry.startswith(_SCOPE_ENTRY):
            return entry[len(_SCOPE_ENTRY) :].decode("utf-8", "replace").split(":")
    return []


def pids() -> list[int]:
    """Return the ids of all processes."""
    return [int(name) for name in _names("/proc") if name.isdigit()]


def children(pid: int) -> list[int]:
    """Return the children of *pid*, of all its threads; zombies are among them."""
    found: list[int] = []
    try:
        tasks = _names(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        listed = _read(f"/proc/{pid}/task/{task}/children")
        if listed is None and _read(f"/proc/{pid}/task/{task}/stat") is not None:
            # A kernel without CONFIG_PROC_CHILDREN.
            stats = ((other, read_stat(other)) for other in pids())
            return [other for other, stat in stats if stat is not None and stat.ppid == pid]
        found += [int(child) for child in (listed or b"").split()]
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes below *pid*, *pid* not among them."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children(waiting.pop())
        found += below
        waiting += below
    return found


def boot_id() -> str:
    """Return what tells this boot of the machine from every other."""
    return (_read("/proc/sys/kernel/random/boot_id") or b"").decode().strip()


def seal_descriptors() -> None:
    """Hand none of the descriptors on that whoever started this process let it inherit."""
    for name in _names("/proc/self/fd"):
        # The one that the listing itself used is gone.
        if int(name) > _STDERR and os.path.exists(f"/proc/self/fd/{name}"):
            os.set_inheritable(int(name), False)


def _names(directory: str) -> list[str]:
    return os.listdir(directory)  # pathlib would double the time to start


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = piece = os.read(fd, 8192)
        while piece:
            # Most of these files are shorter than one read; environments need not be.
            piece = os.read(fd, 65536)
            data += piece
    except OSError:
        return None
    else:
        return data
    finally:
        os.close(fd)
