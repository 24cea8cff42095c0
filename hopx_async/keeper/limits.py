"""Starting a program under limits of its own: by fork, for what a spawn cannot do."""

from __future__ import annotations

import os
import resource
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["launch_limited"]

_SIGNALS = tuple(signal.valid_signals())


def launch_limited(
    path: str,
    arguments: list[str],
    env: dict[str, str],
    *,
    stdin: int,
    outputs: tuple[int, int],
    terminal: str | None,
    limits: Mapping[str, int | None],
    files: tuple[int, int],
) -> int:
    """Start a leader as a spawn does, but limited from its first instruction; return its pid.

    A spawn would have to lower the limits of the keeper itself for a moment (an unprivileged
    one could not raise hard limits again, and its own memory is above many a limit), or those
    of the child after its start, when it may have children of its own. A fork costs some
    milliseconds; only commands with limits pay them.

    Raises:
        OSError: If the program cannot be executed.
    """
    import subprocess  # most keepers never start such a command

    prepare = _preparation(limits, files, terminal)
    try:
        # The pid is reaped like any other, and nobody else may wait for it.
        child = subprocess.Popen(
            arguments,
            executable=path,
            env=env,
            stdin=stdin,
            stdout=outputs[0] if terminal is None else stdin,
            stderr=outputs[1] if terminal is None else stdin,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509  # one thread works, the other only waits
        )
    except subprocess.SubprocessError as error:
        raise OSError(0, str(error)) from None
    child.returncode = 0
    return child.pid


def _preparation(
    limits: Mapping[str, int | None], files: tuple[int, int], terminal: str | None
) -> Callable[[], None]:
    """Return what the child does before it executes the program."""
    wanted = [
        (resource.RLIMIT_NOFILE, *_lower(limits.get("open_files"), files)),
        # A second between the signal that can be caught and the one that cannot.
        *_pair(resource.RLIMIT_CPU, limits.get("cpu_seconds"), 1),
        *_pair(resource.RLIMIT_FSIZE, limits.get("file_size_bytes"), 0),
        # Last: there may be no more memory for anything behind it.
        *_pair(resource.RLIMIT_AS, limits.get("address_space_bytes"), 0),
    ]
    nice = limits.get("nice") or 0

    def prepare() -> None:
        for number in _SIGNALS:
            # The keeper ignores some; two of them cannot be set.
            if signal.getsignal(number) != signal.SIG_DFL and number not in _FIXED:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if terminal is not None:
            fd = os.open(terminal, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(fd, standard)
        if nice:
            os.nice(nice)
        for what, soft, hard in wanted:
            resource.setrlimit(what, (soft, hard))

    return prepare


_FIXED = frozenset({signal.SIGKILL, signal.SIGSTOP})


def _pair(number: int, value: int | None, more: int) -> list[tuple[int, int, int]]:
    if value is None:
        return []
    hard = resource.getrlimit(number)[1]
    soft, _ = _lower(value, (hard, hard))
    return [(number, soft, _least(hard, soft + more))]


def _lower(value: int | None, now: tuple[int, int]) -> tuple[int, int]:
    """Return soft and hard limit for *value*, which a hard limit that is lower makes void."""
    if value is None:
        return now
    limit = _least(now[1], value)
    return limit, limit


def _least(hard: int, value: int) -> int:
    return value if hard == resource.RLIM_INFINITY else min(hard, value)
