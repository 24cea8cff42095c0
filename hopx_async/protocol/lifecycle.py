"""The life of a command: a table of states, and the rules for reasons and statuses.

The grammar of a log is this table::

    Spec (Started (Data | Base | Usage)* Exited | Exited | Lost)

with ``Lost`` possible after any of them, and a ``Base`` at the head of each segment.
Keeper and client walk the same table: what is not in it raises and changes nothing.
"""

from __future__ import annotations

import re
import sys

from hopx_async.protocol import records
from hopx_async.protocol.problems import (
    Problem,
    problem_with_limits,
    problem_with_overflow,
    problem_with_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CLAIMED",
    "DRAIN_TIME",
    "EMPTY",
    "ENDED",
    "GRACE",
    "HIDDEN",
    "ID_RULE",
    "LEASE_SECONDS",
    "LEAST_INTERVAL",
    "MAX_SECRETS",
    "MAX_SECRET_BYTES",
    "MAX_TEXT_BYTES",
    "MIN_SECRET_BYTES",
    "REASONS",
    "RUNNING",
    "SIGNAL_NAMES",
    "STATUSES",
    "STDIN_BYTES",
    "TABLE",
    "TAIL_BYTES",
    "LifecycleError",
    "Problem",
    "advance",
    "problem_with_env",
    "problem_with_grace",
    "problem_with_id",
    "problem_with_limits",
    "problem_with_secrets",
    "problem_with_size",
    "problem_with_spec",
    "reason_for",
    "status_of",
]

EMPTY, CLAIMED, RUNNING, ENDED = "empty", "claimed", "running", "ended"

TABLE: dict[tuple[str, int], str] = {
    (EMPTY, records.BASE): EMPTY,
    (EMPTY, records.SPEC): CLAIMED,
    (EMPTY, records.LOST): ENDED,
    (CLAIMED, records.BASE): CLAIMED,
    (CLAIMED, records.STARTED): RUNNING,
    (CLAIMED, records.EXITED): ENDED,
    (CLAIMED, records.LOST): ENDED,
    (RUNNING, records.BASE): RUNNING,
    (RUNNING, records.STDOUT): RUNNING,
    (RUNNING, records.STDERR): RUNNING,
    (RUNNING, records.USAGE): RUNNING,
    (RUNNING, records.EXITED): ENDED,
    (RUNNING, records.LOST): ENDED,
}

#: Seconds for which output is still read after the leader's exit while others hold the pipes.
DRAIN_TIME = 0.25
#: Seconds between TERM and KILL.
GRACE = 5.0
#: Bytes of output that an end that is not ok carries.
TAIL_BYTES = 4096
#: Seconds for which output is held back for a reader that does not move, or is yet to come.
LEASE_SECONDS = 10.0
#: One argument longer than this is refused by ``execve`` (MAX_ARG_STRLEN), with its NUL.
MAX_TEXT_BYTES = 128 * 1024 - 1
#: A shorter secret is found in output by chance, and its mask would tell where it is not.
MIN_SECRET_BYTES = 6
#: A longer secret would make looking for it dear; a large private key has half of it.
MAX_SECRET_BYTES = 8 * 1024
#: Output is searched for each of them.
MAX_SECRETS = 64

#: Seconds between samples of what a command uses, at least: each looks at all processes.
LEAST_INTERVAL = 0.1

REASONS = (
    "exited",
    "signaled",
    "timed_out",
    "idle_timed_out",
    "killed",
    "oom_killed",
    "sandbox_stopped",
    "spawn_failed",
    "lost",
)
STATUSES = ("queued", "running", "completed", "failed", "killed", "lost")
#: Signals that travel by name; numbers differ between platforms, names do not.
SIGNAL_NAMES = frozenset(
    f"SIG{name}"
    for name in (
        *("HUP", "INT", "QUIT", "ABRT", "KILL", "USR1", "USR2", "ALRM", "TERM"),
        *("CONT", "STOP", "TSTP", "TTIN", "TTOU", "WINCH"),
    )
)

ID_RULE = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_ID = re.compile(ID_RULE)
_SPEC_KEYS = frozenset(
    (
        *("idle_timeout", "stdin", "pty", "overflow", "limits"),
        *("process_id", "command", "env", "working_dir", "timeout", "name", "tags"),
        *("merge_stderr", "usage_interval", "mask_secrets", "secrets"),
    )
)
#: The most bytes of stdin in one call, and the most that wait for a command to read them.
STDIN_BYTES = 64 * 1024

#: Stands where a value is not to be seen.
HIDDEN = "(not shown)"


class LifecycleError(ValueError):
    """A record that cannot follow in this state."""


def advance(state: str, kind: int) -> str:
    """Return the state that follows *state* when a record of *kind* is appended.

    Raises:
        LifecycleError: If the record cannot stand there.
    """
    try:
        return TABLE[state, kind]
    except KeyError:
        name = records.KIND_NAMES.get(kind, f"kind {kind}")
        raise LifecycleError(f"{name} cannot follow in state {state!r}") from None


def reason_for(cause: str | None, exit_code: int | None, signal: str | None) -> str:
    """Return the end reason of a leader that has exited.

    Args:
        cause: The first cause recorded before the exit was seen (a limit, a kill), None for none.
        exit_code: The leader's own code, None if a signal ended it.
        signal: The name of the signal that ended it, None if it exited.
    """
    if cause is not None:
        return cause
    if (exit_code is None) == (signal is None):
        raise ValueError(f"either a code or a signal, not {exit_code} and {signal}")
    return "exited" if signal is None else "signaled"


def status_of(reason: str | None, exit_code: int | None) -> str:
    """Return HopX's word for a command with this end; *reason* None means that it runs."""
    if reason is None:
        return "running"
    if reason == "exited":
        return "completed" if exit_code == 0 else "failed"
    if reason in {"killed", "sandbox_stopped"}:
        return "killed"
    return "lost" if reason == "lost" else "failed"


# What a start may say. Checked by client, agent and keeper with these same functions.


def problem_with_id(process_id: object) -> Problem | None:
    """Return what is wrong with a process id, or None."""
    if isinstance(process_id, str) and _ID.fullmatch(process_id):
        return None
    return Problem("process_id", process_id, f"an id matches {ID_RULE}")


def problem_with_grace(grace: object) -> Problem | None:
    """Return what is wrong with a grace period in seconds, or None."""
    if _is_number(grace) and grace >= 0:  # type: ignore[operator]
        return None
    return Problem("grace", grace, "a grace period is a finite number of seconds, 0 or more")


def problem_with_spec(spec: dict[str, object]) -> Problem | None:
    """Return the first thing wrong with a full spec as it travels, or None.

    Keys are those of ``CommandSpec``: ``command`` is a text for ``bash -c`` or a
    list of arguments, ``env`` maps names to values (None unsets).
    """
    if not spec.keys() <= _SPEC_KEYS:
        unknown = sorted(spec.keys() - _SPEC_KEYS)
        return Problem(unknown[0], spec[unknown[0]], "this far side does not know that argument")
    return (
        problem_with_id(spec.get("process_id"))
        or _problem_with_command(spec.get("command"))
        or problem_with_env(spec.get("env"))
        or _problem_with_dir(spec.get("working_dir"))
        or _problem_with_timeout("timeout", spec.get("timeout"))
        or _problem_with_timeout("idle_timeout", spec.get("idle_timeout"))
        or _problem_with_labels(spec.get("name"), spec.get("tags"))
        or _problem_with_flag("merge_stderr", spec.get("merge_stderr", False))
        or _problem_with_flag("stdin", spec.get("stdin", False))
        or problem_with_overflow(spec.get("overflow", "drop"))
        or (None if spec.get("pty") is None else problem_with_size("pty", spec["pty"]))
        or problem_with_limits(spec.get("limits"))
        or _problem_with_interval(spec.get("usage_interval"))
        or _problem_with_masking(spec)
    )


def _problem_with_command(command: object) -> Problem | None:
    if isinstance(command, str):
        return _problem_with_text("command", command, empty="a command is not empty")
    if not isinstance(command, (list, tuple)):
        return Problem("command", command, "a command is a text or a sequence of texts")
    if not command:
        return Problem("command", command, "a command has at least a program")
    for index, argument in enumerate(command):
        empty = "the program is not empty" if index == 0 else None
        problem = _problem_with_text("command", argument, empty=empty)
        if problem is not None:
            problem.parameter = f"command[{index}]"
            return problem
    return None


def _problem_with_text(parameter: str, text: object, *, empty: str | None) -> Problem | None:
    if not isinstance(text, str):
        return Problem(parameter, text, "it is a text")
    if empty is not None and not text.strip():
        return Problem(parameter, text, empty)
    if "\0" in text:
        return Problem(parameter, text, "no NUL character")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return Problem(parameter, text, "it can be encoded as UTF-8")
    if size > MAX_TEXT_BYTES:
        return Problem(parameter, text, f"at most {MAX_TEXT_BYTES} bytes as UTF-8, this has {size}")
    return None


def problem_with_env(env: object, parameter: str = "env") -> Problem | None:
    """Return what is wrong with variables, names to texts or None, without showing a value."""
    if env is None:
        return None
    if not isinstance(env, dict):
        return Problem(parameter, type(env), "it maps names to texts, None unsets")
    for name, value in env.items():
        problem = _problem_with_text(parameter, name, empty="a name is not empty")
        if problem is not None:
            return problem
        if "=" in name:
            return Problem(parameter, name, "a name has no '='")
        # Values are secrets: what is wrong is told without showing them.
        if value is None:
            continue
        if _problem_with_text(parameter, value, empty=None) is not None or (
            len(name) + len(value.encode()) >= MAX_TEXT_BYTES
        ):
            rule = f"a value is a text without NUL, at most {MAX_TEXT_BYTES} bytes with its name"
            return Problem(f"{parameter}[{name!r}]", HIDDEN, rule)
    return None


def problem_with_secrets(
    env: Mapping[str, object], names: object, parameter: str = "env"
) -> Problem | None:
    """Return what is wrong with the *names* of variables that can be masked in output."""
    if not isinstance(names, (list, tuple)):
        return Problem("secrets", type(names), "a list of names")
    if len(names) > MAX_SECRETS:
        return Problem("secrets", len(names), f"at most {MAX_SECRETS}")
    for name in names:
        value = env.get(name) if isinstance(name, str) else None
        if not isinstance(value, str):
            return Problem("secrets", name, "the name of a variable with a text")
        if not MIN_SECRET_BYTES <= len(value.encode()) <= MAX_SECRET_BYTES:
            rule = f"a secret that is masked has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes"
            return Problem(f"{parameter}[{name!r}]", HIDDEN, rule)
    return None


def _problem_with_dir(working_dir: object) -> Problem | None:
    if working_dir is None:
        return None
    return _problem_with_text("working_dir", working_dir, empty="a directory is not empty")


def _problem_with_timeout(parameter: str, timeout: object) -> Problem | None:
    if timeout is None or (_is_number(timeout) and timeout > 0):  # type: ignore[operator]
        return None
    return Problem(parameter, timeout, "a number of seconds above 0, or None for no limit")


def _problem_with_interval(interval: object) -> Problem | None:
    if interval is None or (_is_number(interval) and interval >= LEAST_INTERVAL):  # type: ignore[operator]
        return None
    rule = f"a number of seconds, {LEAST_INTERVAL} or more, or None for no samples"
    return Problem("usage_interval", interval, rule)


def _problem_with_labels(name: object, tags: object) -> Problem | None:
    if name is not None:
        problem = _problem_with_text("name", name, empty="a name is not empty")
        if problem is not None:
            return problem
    if not isinstance(tags, (dict, type(None))):
        return Problem("tags", tags, "tags map texts to texts")
    for key, value in (tags or {}).items():
        problem = _problem_with_text("tags", key, empty="a tag is not empty")
        problem = problem or _problem_with_text(f"tags[{key!r}]", value, empty=None)
        if problem is not None:
            return problem
    return None


def _problem_with_masking(spec: dict[str, object]) -> Problem | None:
    masked, names = spec.get("mask_secrets", False), spec.get("secrets") or ()
    problem = _problem_with_flag("mask_secrets", masked)
    if problem is not None:
        return problem
    env: object = spec.get("env") or {}
    return problem_with_secrets(env if masked else {}, names if masked else ())  # type: ignore[arg-type]


def _problem_with_flag(parameter: str, value: object) -> Problem | None:
    return None if isinstance(value, bool) else Problem(parameter, value, "true or false")


def _is_number(value: object) -> bool:
    """Whether it is a finite number, not NaN, and not too large for a float."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max
