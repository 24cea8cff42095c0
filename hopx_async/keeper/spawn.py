"""Starting a program as ``subprocess`` would, with less work in between."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from functools import partial

from hopx_async.keeper import proc
from hopx_async.keeper.limits import launch_limited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Actions = Sequence[tuple[object, ...]]
    # Executes the program at a path, with arguments and environment; returns its pid.
    Launch = Callable[[str, list[str], dict[str, str]], int]

__all__ = ["SpawnFailedError", "Spawned", "Spawner", "arguments_of"]

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_NANOSECONDS_PER_TICK = 10**9 // _TICKS_PER_SECOND
_SHELL = "/bin/sh"
# Like execve's callers in libc and subprocess: these say "look on", others are remembered.
_NOT_HERE = frozenset({errno.ENOENT, errno.ENOTDIR})


class SpawnFailedError(Exception):
    """The program could not be started; *filename* is what could not be used."""

    def __init__(self, number: int, filename: str) -> None:
        super().__init__(f"{os.strerror(number)}: {filename!r}")
        self.errno = number
        self.filename = filename


class Spawned:
    """A started leader: pid, start time in ticks since boot, when it was started, its mark."""

    __slots__ = ("mark", "monotonic", "pid", "start_ticks", "started_at")

    def __init__(self, pid: int, start_ticks: int, started_at: float, monotonic: float) -> None:
        self.mark = 0
        self.pid = pid
        self.start_ticks = start_ticks
        self.started_at = started_at
        self.monotonic = monotonic


def arguments_of(command: str | list[str]) -> list[str]:
    """Return the argument list that *command* stands for: a text runs in bash."""
    return ["bash", "-c", command] if isinstance(command, str) else command


class Spawner:
    """Starts leaders: own session, default signals, no inherited descriptors, marked.

    One thread works in the process, hence its directory and limits can be those of the
    child for a moment: a spawn sets them, :meth:`rest` takes them back.

    Args:
        nonce: The sandbox's part of ``HOPX_SCOPE``.
        outer: The scopes around the sandbox, "" for none.
    """

    def __init__(self, nonce: str, outer: str) -> None:
        self._nonce = nonce
        self._outer = outer
        self._signals = tuple(map(int, signal.valid_signals()))
        self._locks = resource.getrlimit(proc.RLIMIT_LOCKS)
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The keeper holds descriptors for all its commands; a command gets the usual limit.
        self._many_files = (self._files[1], self._files[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, self._many_files)
        # Numbers that are low enough for any limit, see _spawn_low.
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._low = tuple(os.dup(self._null) for _ in range(3))
        self._changed = False

    def spawn(
        self,
        process_id: str,
        arguments: list[str],
        env: dict[str, str],
        working_dir: str,
        outputs: tuple[int, int],
        *,
        stdin: int | None = None,
        terminal: str | None = None,
        limits: Mapping[str, int | None] | None = None,
    ) -> Spawned:
        """Start a leader whose stdout and stderr are *outputs*.

        Args:
            process_id: The command's id.
            arguments: The program and its arguments.
            env: Its whole environment, but for our marks.
            working_dir: Its directory.
            outputs: Its stdout and stderr.
            stdin: Its stdin, None for ``/dev/null``.
            terminal: The path of the terminal that takes the place of all three.
            limits: What it may use, None for no limits.

        Raises:
            SpawnFailedError: If the program or the directory cannot be used.
        """
        try:
            os.chdir(working_dir)
        except OSError as error:
            raise SpawnFailedError(error.errno or 0, working_dir) from None
        scope = proc.scope_value(self._outer, self._nonce, process_id)
        env = {**env, proc.SCOPE: scope, "HOPX_PROCESS_ID": process_id}
        mark = proc.mark_of(scope)
        self._take_mark(mark)
        # The number of processes is its cgroup's business.
        if limits and limits.keys() - {"processes"}:
            launch = self._limited(stdin, outputs, terminal, limits)
            spawned = self._search(arguments, env, launch)
        elif self._files == self._many_files:
            launch = self._launcher(_actions(stdin, outputs, terminal))
            spawned = self._search(arguments, env, launch)
        else:
            spawned = self._spawn_low(arguments, env, stdin, outputs, terminal)
        spawned.mark = mark
        return spawned

    def _spawn_low(
        self,
        arguments: list[str],
        env: dict[str, str],
        stdin: int | None,
        outputs: tuple[int, int],
        terminal: str | None,
    ) -> Spawned:
        """Spawn under the usual limit of files, although we hold more."""
        fds = (*outputs, stdin if stdin is not None else -1)
        borrowed = max(fds) >= self._files[0]
        if borrowed:
            # libc refuses to duplicate a descriptor that is above the limit.
            for fd, low in zip(fds, self._low, strict=True):
                if fd >= 0:
                    os.dup2(fd, low, inheritable=False)
            outputs = (self._low[0], self._low[1])
            stdin = None if stdin is None else self._low[2]
        resource.setrlimit(resource.RLIMIT_NOFILE, self._files)
        try:
            launch = self._launcher(_actions(stdin, outputs, terminal))
            return self._search(arguments, env, launch)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._many_files)
            if borrowed:
                for low in self._low:
                    os.dup2(self._null, low, inheritable=False)

    def _limited(
        self,
        stdin: int | None,
        outputs: tuple[int, int],
        terminal: str | None,
        limits: Mapping[str, int | None],
    ) -> Launch:
        return partial(
            launch_limited,
            stdin=self._null if stdin is None else stdin,
            outputs=outputs,
            terminal=terminal,
            limits=limits,
            files=self._files,
        )

    def rest(self) -> None:
        """Give up the last command's mark and directory, after a run of spawns."""
        if self._changed:
            self._changed = False
            resource.setrlimit(proc.RLIMIT_LOCKS, self._locks)
            os.chdir("/")

    def close(self) -> None:
        """Give everything back that it holds."""
        self.rest()
        resource.setrlimit(resource.RLIMIT_NOFILE, self._files)
        for fd in (self._null, *self._low):
            os.close(fd)

    def _take_mark(self, mark: int) -> None:
        self._changed = True
        hard = self._locks[1]
        if hard != resource.RLIM_INFINITY:
            mark = min(mark, hard)
        resource.setrlimit(proc.RLIMIT_LOCKS, (mark, hard))

    def _search(self, arguments: list[str], env: dict[str, str], launch: Launch) -> Spawned:
        paths = _candidates(arguments[0], env)
        for path in paths:
            # To ask is cheaper than a process that finds nothing to execute.
            if os.access(path, os.F_OK):
                try:
                    return self._execute(path, arguments, env, launch)
                except OSError:
                    break
        return self._search_slowly(paths, arguments, env, launch)

    def _search_slowly(
        self, paths: list[str], arguments: list[str], env: dict[str, str], launch: Launch
    ) -> Spawned:
        """Let execve say of each path why it cannot be used."""
        errors: list[int] = []
        for path in paths:
            try:
                return self._execute(path, arguments, env, launch)
            except OSError as error:
                errors.append(error.errno or errno.ENOENT)
        telling = (number for number in errors if number not in _NOT_HERE)
        raise SpawnFailedError(next(telling, errors[-1]), arguments[0])

    def _execute(
        self, path: str, arguments: list[str], env: dict[str, str], launch: Launch
    ) -> Spawned:
        before = _ticks_now()
        started_at, monotonic = time.time(), time.monotonic()
        try:
            pid = launch(path, arguments, env)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without "#!": the shell reads it, as from any other shell.
            script = [_SHELL, path, *arguments[1:]]
            pid = launch(_SHELL, script, env)
        # /proc rounds the same clock the same way, so a spawn within one tick needs no look.
        ticks = before if _ticks_now() == before else _start_ticks(pid)
        return Spawned(pid, ticks, started_at, monotonic)

    def _launcher(self, actions: Actions) -> Launch:
        return partial(
            os.posix_spawn,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=self._signals,
        )


def _actions(stdin: int | None, outputs: tuple[int, int], terminal: str | None) -> Actions:
    if terminal is not None:
        # Opened by the leader of a new session, it becomes that session's terminal.
        return [
            (os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ]
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    return [
        nothing if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, outputs[0], 1),
        (os.POSIX_SPAWN_DUP2, outputs[1], 2),
    ]


def _candidates(program: str, env: dict[str, str]) -> list[str]:
    if "/" in program:
        return [program]
    path = env.get("PATH", os.defpath)
    return [f"{place}/{program}" if place else program for place in path.split(":")]


def _ticks_now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _NANOSECONDS_PER_TICK


def _start_ticks(pid: int) -> int:
    # It is not reaped yet, hence it is there even if it has ended.
    stat = proc.read_stat(pid)
    return stat.start_ticks if stat is not None else 0
