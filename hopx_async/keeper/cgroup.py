"""Cgroups of commands: who belongs to one, how many they may be, whether memory ran out.

To move a process between cgroups takes the kernel some ten milliseconds, in which the keeper
does nothing else, unless the hierarchy is mounted with ``favordynmods``. So a command gets
a cgroup of its own there, and elsewhere only if it asked for a limit that needs one.
"""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["Group", "Places", "find_places", "sweep"]

_CHEAP = "favordynmods"
_WANTED = ("pids", "memory")
# Of version 2, and of version 1.
_OOM_FILES = ("memory.events", "memory.oom_control")


class Places:
    """Where this process may make cgroups.

    Attributes:
        unified: Its directory in the hierarchy of version 2, None if it may make none there.
        pids: Its directory in the hierarchy of version 1 that counts processes, None likewise.
        memory: That in the one of version 1 that counts memory, None likewise.
        cheap: Whether to move a process into a cgroup costs little.
        counts: Whether cgroups made here can limit the number of processes.
    """

    __slots__ = ("cheap", "counts", "memory", "pids", "unified")

    def __init__(
        self, unified: str | None, pids: str | None, memory: str | None = None, *, cheap: bool
    ) -> None:
        self.unified = unified
        self.pids = pids
        self.memory = memory
        self.cheap = cheap and unified is not None
        self.counts = pids is not None or (unified is not None and "pids" in _controllers(unified))

    @property
    def all(self) -> list[str]:
        """All of these directories."""
        return [place for place in (self.unified, self.pids, self.memory) if place is not None]

    def make(self, parent: str, name: str) -> Group:
        """Make a cgroup *name* below one named *parent*, both ours.

        Raises:
            OSError: If it cannot be made.
        """
        directories = []
        for place in self.all:
            base = f"{place}/{parent}"
            os.makedirs(base, exist_ok=True)
            if place == self.unified:
                _hand_down(base)
            os.makedirs(f"{base}/{name}", exist_ok=True)
            directories.append((f"{base}/{name}", place))
        return Group(directories)


class Group:
    """The cgroup of one command, in one hierarchy or several.

    Args:
        directories: Each of its directories, with the one from which this process came.
    """

    __slots__ = ("_directories",)

    def __init__(self, directories: list[tuple[str, str]]) -> None:
        self._directories = directories

    @contextlib.contextmanager
    def entered(self, most: int | None = None) -> Generator[None]:
        """Be in it oneself meanwhile: what is started then is in it from its first moment.

        Args:
            most: How many processes and threads it may hold, None for no limit.

        Raises:
            OSError: If it cannot be entered or cannot count; this process is where it was.
        """
        moved: list[str] = []
        try:
            if most is not None:
                # We count as well, until we leave.
                self._set_pids_max(most + len(os.listdir("/proc/self/task")))
            for directory, home in self._directories:
                _write(f"{directory}/cgroup.procs", b"0")
                moved.append(home)
            yield
            if most is not None:
                self._set_pids_max(most)
        finally:
            for home in moved:
                # What was started must not be taken for failed; kill() sees to the rest.
                with contextlib.suppress(OSError):
                    _write(f"{home}/cgroup.procs", b"0")

    def _set_pids_max(self, most: int) -> None:
        for directory, _ in self._directories:
            if os.path.exists(f"{directory}/pids.max"):
                _write(f"{directory}/pids.max", str(most).encode())
                return
        raise FileNotFoundError("no controller counts processes here")

    def members(self) -> list[int]:
        """Return the processes in it, in the cgroups that they made below it as well."""
        found: set[int] = set()
        for top, _ in self._directories:
            for directory, _below, _files in os.walk(top):
                found.update(map(int, (_read(f"{directory}/cgroup.procs") or "").split()))
        return sorted(found)

    def kill(self) -> bool:
        """Send SIGKILL to all of it at once; return whether the kernel can do that."""
        if os.getpid() in self.members():
            return False
        for directory, _ in self._directories:
            with contextlib.suppress(OSError):
                _write(f"{directory}/cgroup.kill", b"1")
                return True
        return False

    def oom_kills(self) -> int:
        """Return how many of its processes ended because memory ran out, 0 if nobody counts."""
        for directory, _ in self._directories:
            for file in _OOM_FILES:
                for line in (_read(f"{directory}/{file}") or "").splitlines():
                    name, _, number = line.partition(" ")
                    if name == "oom_kill":
                        return int(number)
        return 0

    def remove(self) -> bool:
        """Remove it, unless somebody is in it; return whether it is gone."""
        gone = [_remove(directory) for directory, _ in self._directories]
        return all(gone)


def find_places(own: str = "/proc/self/cgroup", mounts: str = "/proc/self/mountinfo") -> Places:
    """Return where this process may make cgroups.

    Args:
        own: The file that says in which cgroups this process is.
        mounts: The file that says where the hierarchies are mounted.
    """
    unified: str | None = None
    counting: dict[str, str | None] = {"pids": None, "memory": None}
    cheap = False
    mounted = list(_hierarchies(mounts))
    for line in (_read(own) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        for kind, options, root, point in mounted:
            if controllers == "" and kind == "cgroup2":
                unified = unified or _usable(root, point, path)
                cheap = cheap or _CHEAP in options
            elif kind == "cgroup":
                for name in counting.keys() & controllers.split(",") & set(options):
                    counting[name] = counting[name] or _usable(root, point, path)
    return Places(unified, counting["pids"], counting["memory"], cheap=cheap)


def sweep(places: Places, parent: str) -> None:
    """Remove the cgroup *parent* with what is below it, as far as nobody is in it."""
    for place in places.all:
        _remove(f"{place}/{parent}")


def _hierarchies(mounts: str) -> Iterator[tuple[str, list[str], str, str]]:
    for line in (_read(mounts) or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) > 4 and len(rest) > 2 and rest[0] in ("cgroup", "cgroup2"):
            yield rest[0], rest[2].split(","), fields[3], fields[4]


def _usable(root: str, point: str, path: str) -> str | None:
    inside = path[len(root) :] if root != "/" and path.startswith(root) else path
    place = point + (inside if inside.startswith("/") else f"/{inside}").rstrip("/")
    return (
        place if os.access(place, os.W_OK) and os.access(f"{place}/cgroup.procs", os.W_OK) else None
    )


def _controllers(directory: str) -> list[str]:
    # What is handed down to the cgroups below.
    return (_read(f"{directory}/cgroup.subtree_control") or "").split()


def _hand_down(base: str) -> None:
    there = (_read(f"{base}/cgroup.controllers") or "").split()
    for controller in _WANTED:
        if controller in there:
            with contextlib.suppress(OSError):
                _write(f"{base}/cgroup.subtree_control", f"+{controller}".encode())


def _remove(directory: str) -> bool:
    for path, _below, _files in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)
    return not os.path.exists(directory)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
