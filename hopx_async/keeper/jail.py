"""The command line of bubblewrap: what a sandbox with isolation sees, and what it does not.

Pure but for looks at the file system; :mod:`hopx_async.keeper.enter` executes it.
"""

from __future__ import annotations

import contextlib
import os
import site
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "WORKSPACE",
    "arguments",
    "environment",
    "find",
    "hidden_files",
    "own_places",
    "shower_of",
    "views",
]

#: Where commands find their workspace.
WORKSPACE = "/workspace"

# Everything else on the host's root is simply not there.
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc", "/opt", "/sys")
_STORES = ("/nix/store", "/gnu/store")
_FRESH = ("/tmp", "/var/tmp", "/run")  # noqa: S108  # mount points inside
_PUBLIC = stat.S_IROTH
# Written by whoever is uid 0, capabilities or not: the settings of the host's kernel.
_KERNEL = ("/proc/sys", "/proc/sysrq-trigger")
_DROPPED = frozenset({"TMPDIR", "HOME"})


def find(path: str | None) -> str | None:
    """Return the program ``bwrap`` on the search path *path*, None if there is none."""
    for place in (path or os.defpath).split(":"):
        program = os.path.join(place or ".", "bwrap")
        if os.access(program, os.X_OK) and os.path.isfile(program):
            return program
    return None


def views() -> list[list[str]]:
    """Return the ways to take a user namespace, the strictest first.

    Older versions of bubblewrap cannot forbid more of them inside, and some kernels
    leave them to root alone, who needs none.
    """
    ways = [["--unshare-user", "--disable-userns"], ["--unshare-user"]]
    return ways if os.geteuid() else [*ways, []]


def arguments(
    bwrap: str,
    view: Sequence[str],
    *,
    workspace: str,
    internet_access: bool,
    visible: Iterable[str],
    hidden: Iterable[str] = (),
) -> list[str]:
    """Return the command line up to the program that is to run inside as pid 1.

    Args:
        bwrap: Its path.
        view: One of :func:`views`.
        workspace: The directory on the host that becomes ``/workspace``.
        internet_access: False for a network that has nothing but its own loopback.
        visible: Directories of the host to show, read-only, where they are.
        hidden: Files and directories to cover.
    """
    command = [bwrap, *view, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"]
    command += [] if internet_access else ["--unshare-net"]
    for place in (*_SYSTEM, *_STORES):
        if os.path.islink(place):
            command += ["--symlink", os.readlink(place), place]
        elif os.path.isdir(place):
            command += ["--ro-bind", place, place]
    command += [*_each("--tmpfs", _FRESH), "--symlink", "../run", "/var/run"]
    for place in (*visible, *_resolver()):
        command += ["--ro-bind", place, place]
    for place in hidden:
        if os.path.isdir(place):
            command += ["--tmpfs", place, "--remount-ro", place]
        else:
            command += ["--ro-bind", "/dev/null", place]
    command += ["--proc", "/proc", "--dev", "/dev"]
    for place in _KERNEL:
        if os.path.exists(place):
            command += ["--ro-bind", place, place]
    command += ["--bind", workspace, WORKSPACE, "--remount-ro", "/", "--chdir", "/"]
    return [*command, "--as-pid-1"]


def own_places(environ: Mapping[str, str], secret: Iterable[str]) -> list[str]:
    """Return what Python and we ourselves need beyond the system's directories, outer first.

    The places that ``PYTHONPATH`` names are among them.

    Args:
        environ: The environment.
        secret: Paths that stay invisible: no place that holds one of them is returned.
    """
    program = sys.executable
    wanted = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    while True:
        wanted.append(os.path.dirname(os.path.dirname(program)))
        if not os.path.islink(program):
            break
        program = os.path.join(os.path.dirname(program), os.readlink(program))
    wanted += [os.path.realpath(place) for place in wanted]
    wanted += [_package(), *site.getsitepackages(), site.getusersitepackages()]
    wanted += [place for place in environ.get("PYTHONPATH", "").split(":") if place]
    kept = {os.path.abspath(place) for place in wanted if os.path.isdir(place)}
    closed = [*map(os.path.realpath, secret), os.path.realpath(os.path.expanduser("~")), *_FRESH]
    return sorted(
        place
        for place in kept
        if not any(_holds(system, place) for system in (*_SYSTEM, *_STORES))
        and not any(_holds(os.path.realpath(place), inside) for inside in closed)
    )


def shower_of(path: str, visible: Iterable[str]) -> str | None:
    """Return the directory inside of which commands would see *path*, None if they do not."""
    real = os.path.realpath(path)
    shown = (*_SYSTEM, *_STORES, *visible)
    return next((place for place in shown if _holds(os.path.realpath(place), real)), None)


def hidden_files(place: str) -> list[str]:
    """Return what lies below *place* and is not for everybody, such as ``/etc/shadow``."""
    return sorted(_private(place))


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the root's environment inside: no place outside is a home or a temporary one."""
    inside = {name: value for name, value in environ.items() if name not in _DROPPED}
    parent = os.path.dirname(_package())
    paths = [path for path in environ.get("PYTHONPATH", "").split(":") if path]
    if parent not in (*paths, *site.getsitepackages(), site.getusersitepackages()):
        # It was found because it lies where its user stands.
        inside["PYTHONPATH"] = ":".join([*paths, parent])
    # A module in the workspace is not to be taken for one of Python's.
    return {**inside, "PYTHONSAFEPATH": "1"}


def _package() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _private(place: str) -> Iterator[str]:
    # What this user cannot even list, the commands cannot either.
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.is_symlink():
                continue
            if not entry.stat(follow_symlinks=False).st_mode & _PUBLIC:
                yield entry.path
            elif entry.is_dir(follow_symlinks=False):
                yield from _private(entry.path)


def _resolver() -> list[str]:
    """Return where names are resolved, if that lies in a place that is fresh inside."""
    real = os.path.realpath("/etc/resolv.conf")
    return [real] if os.path.isfile(real) and any(_holds(place, real) for place in _FRESH) else []


def _holds(place: str, path: str) -> bool:
    return path == place or path.startswith(f"{place.rstrip('/')}/")


def _each(option: str, places: Iterable[str]) -> list[str]:
    return [word for place in places for word in (option, place)]
