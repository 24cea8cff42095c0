"""Going inside: the root binds its socket outside, and goes on as pid 1 of namespaces.

What is taken along are open descriptors: the listening socket, the lifeline, and the state
directory, which has no path inside. So commands do not find the token and the logs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

from hopx_async.keeper import jail
from hopx_async.keeper.options import Options, RootError
from hopx_async.keeper.state import StateDir
from hopx_async.keeper.subreaper import become_unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import NoReturn

__all__ = ["arrive", "enter", "prepare"]

_INSTALL = "install bubblewrap (on Debian and Ubuntu: apt install bubblewrap)"
_PROBE_SECONDS = 30.0
_SAID = 400


def prepare(options: Options) -> list[str] | None:
    """Return the command line of the namespaces, tried out; None where there will be none.

    ``auto`` becomes what can be had, and ``options.isolation_missing`` says why it is less.

    Raises:
        RootError: ``unsupported``, if it was asked for and cannot be had.
    """
    if options.isolation == "none":
        return None
    command, why = _try(options)
    if command is None:
        if options.isolation == "namespace" or not options.internet_access:
            raise RootError("unsupported", f"no isolation can be had here: {why}")
        options.isolation, options.isolation_missing = "none", why
        return None
    options.isolation = "namespace"
    return command


def _try(options: Options) -> tuple[list[str] | None, str]:
    bwrap = jail.find(os.environ.get("PATH"))
    if bwrap is None:
        return None, f"there is no program bwrap; {_INSTALL}"
    given = [options.workspace] if options.workspace else []
    visible = jail.own_places(os.environ, [options.state_dir, *given])
    shower = jail.shower_of(options.state_dir, [*visible, *given])
    if shower is not None:
        rule = f"outside of {shower}, which commands see"
        raise RootError.about("state_dir", options.state_dir, rule)
    hidden = jail.hidden_files("/etc")
    why = ""
    for view in jail.views():
        parts = {"internet_access": options.internet_access, "visible": visible, "hidden": hidden}
        # Any directory does for a trial: the workspace may not be there yet.
        trial = jail.arguments(bwrap, view, workspace="/usr", **parts)  # type: ignore[arg-type]
        why = _trial([*trial, sys.executable, "-c", "import hopx_async.keeper.root"])
        if not why:
            place = options.workspace or f"{options.state_dir}/workspace"
            whole = jail.arguments(bwrap, view, workspace=place, **parts)  # type: ignore[arg-type]
            return whole, ""
    return None, f"bwrap fails: {why}"


def _trial(command: list[str]) -> str:
    """Return what a command that fails has to say; "" if all is well."""
    try:
        done = subprocess.run(
            command,
            env=jail.environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip()
    return said[-_SAID:] or f"it exited with {done.returncode}"


def enter(
    command: list[str], options: Options, state: StateDir, sock: socket.socket, said: bytes
) -> NoReturn:
    """Become bubblewrap's watcher; the root goes on inside, in :func:`arrive`.

    Args:
        command: What :func:`prepare` returned.
        options: What the root was told; they are handed over.
        state: The state directory, held.
        sock: The listening socket.
        said: What the parent said behind its first line.

    Raises:
        RootError: If it could not be executed.
    """
    told, telling = os.pipe()
    fds = {
        "listen": sock.fileno(),
        "lock": state.lock_fd,
        "state": os.open(state.path, os.O_RDONLY | os.O_DIRECTORY),
        # This process becomes the watcher: nothing else tells the root of its end.
        "watcher": os.pidfd_open(os.getpid()),
        "told": told,
    }
    luggage = os.memfd_create("hopx-luggage")
    values = {name: value for name, value in vars(options).items() if name != "luggage_fd"}
    os.write(luggage, json.dumps([values, fds, said.decode("latin-1")]).encode())
    inherited = {*fds.values(), telling, luggage}
    if options.parent_fd is not None:
        inherited.add(options.parent_fd)
    for fd in inherited:
        os.set_inheritable(fd, True)
    inside = [sys.executable, "-m", "hopx_async.agent", "--luggage-fd", str(luggage)]
    command = [*command, "--info-fd", str(telling), *inside]
    try:
        os.execve(command[0], command, jail.environment(os.environ))  # noqa: S606  # our own
    except OSError as error:
        raise RootError("unsupported", f"{command[0]}: {error}") from error


def arrive(luggage: int) -> tuple[Options, StateDir, int, bytes]:
    """Unpack inside: options, the state directory, the listening socket, what the parent said."""
    become_unreadable()
    os.lseek(luggage, 0, os.SEEK_SET)
    with open(luggage, encoding="ascii") as file:
        values, fds, said = json.load(file)
    options = Options()
    vars(options).update(values)
    state = StateDir.carried(fds["state"], fds["lock"])
    options.workspace = jail.WORKSPACE
    options.watcher_fd = fds["watcher"]
    if options.ephemeral is not None:
        # Where the descriptor leads to lies outside, hence so does what is above it.
        options.ephemeral = f"{state.path}/../../{os.path.basename(options.ephemeral)}"
    with contextlib.suppress(ValueError, KeyError), open(fds["told"], encoding="ascii") as file:
        options.outer_pid = int(json.load(file)["child-pid"])
    return options, state, fds["listen"], said.encode("latin-1")
