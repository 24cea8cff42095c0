"""The root's children: how they are started, and when they are started again."""

from __future__ import annotations

import os
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hopx_async.keeper.channel import Channel

__all__ = [
    "Backoff",
    "Child",
    "Place",
    "agent_env",
    "child_env",
    "describe_status",
    "python_module",
    "socket_pair",
]

# What Python and its libraries need; nothing of it is a secret, and none of it is ours.
_KEPT = frozenset(
    {
        "PATH",
        "LANG",
        "HOME",
        "TMPDIR",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "PYTHONSAFEPATH",
    }
)
_KEPT_PREFIXES = ("LC_", "COVERAGE_")
# glibc's own bounds give the pages of each frame (some 200 KiB) back and fetch new ones for the
# next. Up to so much stays with the agent.
_KEEP_PAGES = {"MALLOC_MMAP_THRESHOLD_": "4194304", "MALLOC_TRIM_THRESHOLD_": "16777216"}


def child_env(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a keeper."""
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }


def agent_env(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of an agent."""
    return {**child_env(environ), **_KEEP_PAGES}


class Child:
    """A Python program of ours in a session of its own, with descriptors by name.

    Args:
        arguments: The command line; ``--NAME-fd N`` is added for each descriptor.
        fds: Descriptors to inherit, by name.
        env: Its environment.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(
        self, arguments: Sequence[str], fds: Mapping[str, int], env: Mapping[str, str]
    ) -> None:
        command = list(arguments)
        for name, fd in fds.items():
            command += [f"--{name}-fd", str(fd)]
            os.set_inheritable(fd, True)
        try:
            self.pid = os.posix_spawn(
                command[0],
                command,
                dict(env),
                # Our stdout is for the announcement alone.
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 2, 1),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=signal.valid_signals(),
            )
        finally:
            for fd in fds.values():
                os.set_inheritable(fd, False)
        self.alive = True

    def go_on(self) -> None:
        """Send SIGCONT: whoever was stopped hears what it is told; harmless to others."""
        if self.alive:
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL; harmless once it is reaped."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)


def python_module(name: str) -> list[str]:
    """Return the command line that runs a module of ours with this very Python."""
    return [sys.executable, "-m", name]


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def describe_status(status: int) -> str:
    """Return how a process ended, for people."""
    code = os.waitstatus_to_exitcode(status)
    return f"exited with {code}" if code >= 0 else f"ended by signal {-code}"


class Backoff:
    """When a program that died is started again: soon, later, and at last not at all.

    Args:
        most: Restarts within *window*; the next death is the last.
        window: Seconds.
        delays: Seconds before the first, second... restart within the window.
    """

    def __init__(
        self,
        most: int = 5,
        window: float = 60.0,
        delays: Sequence[float] = (0.0, 0.1, 0.25, 0.5, 1.0),
    ) -> None:
        self.most = most
        self.window = window
        self._delays = delays
        self._deaths: list[float] = []

    def delay(self, now: float) -> float | None:
        """Count a death at the monotonic time *now*; return when to start again, or None."""
        self._deaths = [death for death in self._deaths if now - death < self.window]
        self._deaths.append(now)
        count = len(self._deaths)
        if count > self.most:
            return None
        return self._delays[min(count, len(self._delays)) - 1]


class Place:
    """One keeper's place: its number, and the process that has it now."""

    def __init__(self, number: int, most_restarts: int) -> None:
        self.number = number
        self.child: Child | None = None
        self.channel: Channel | None = None
        #: Whether it has recovered what the one before it left.
        self.ready = False
        self.stalled = False
        self.sweeping = False
        self.heard = 0.0
        self.pinged = False
        #: What it was told that it may keep.
        self.share: dict[str, int] = {}
        self.backoff = Backoff(most=most_restarts)

    @property
    def empty(self) -> bool:
        """Whether nothing of it is left that somebody has to wait for."""
        return self.child is None and not self.sweeping
