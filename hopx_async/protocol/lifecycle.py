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

__all__ = [
    "CLAIMED",
    "DRAIN_TIME",
    "EMPTY",
    "ENDED",
    "GRACE",
    "ID_RULE",
    "LIMITS",
    "MAX_TEXT_BYTES",
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
    "problem_with_grace",
    "problem_with_id",
    "problem_with_limits",
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
#: One argument longer than this is refused by ``execve`` (MAX_ARG_STRLEN), with its NUL.
MAX_TEXT_BYTES = 128 * 1024 - 1

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
        *("process_id", "command", "env", "working_dir", "timeout", "name", "tags", "merge_stderr"),
        *("idle_timeout", "stdin", "pty", "limits"),
    )
)
#: What a start may limit, with the least and the greatest value.
LIMITS = {
    "cpu_seconds": (1, 2**31 - 1),
    "address_space_bytes": (1, 2**62),
    "open_files": (3, 2**31 - 1),
    "file_size_bytes": (0, 2**62),
    "nice": (0, 19),
    "processes": (1, 2**31 - 1),
}
#: The most bytes of stdin in one call, and the most that wait for a command to read them.
STDIN_BYTES = 64 * 1024
_MOST_CELLS = 65535

# Characters of a wrong value that a sentence shows.
_SHOWN = 100


class LifecycleError(ValueError):
    """A record that cannot follow in this state."""


class Problem:
    """What is wrong with an argument: its name, its value as shown, and the rule it breaks."""

    __slots__ = ("parameter", "rule", "value")

    def __init__(self, parameter: str, value: object, rule: str) -> None:
        self.parameter = parameter
        shown = repr(value)
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]}... ({len(shown)} characters)"
        self.value = shown
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.parameter}={self.value}: {self.rule}"


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
    unknown = sorted(set(spec) - _SPEC_KEYS)
    if unknown:
        return Problem(unknown[0], spec[unknown[0]], "this far side does not know that argument")
    return (
        problem_with_id(spec.get("process_id"))
        or _problem_with_command(spec.get("command"))
        or _problem_with_env(spec.get("env"))
        or _problem_with_dir(spec.get("working_dir"))
        or _problem_with_timeout("timeout", spec.get("timeout"))
        or _problem_with_timeout("idle_timeout", spec.get("idle_timeout"))
        or _problem_with_labels(spec.get("name"), spec.get("tags"))
        or _problem_with_flag("merge_stderr", spec.get("merge_stderr", False))
        or _problem_with_flag("stdin", spec.get("stdin", False))
        or (None if spec.get("pty") is None else problem_with_size("pty", spec["pty"]))
        or problem_with_limits(spec.get("limits"))
    )


def problem_with_size(parameter: str, size: object) -> Problem | None:
    """Return what is wrong with the rows and columns of a terminal, or None."""
    good = isinstance(size, (list, tuple)) and len(size) == 2
    if good and all(_is_whole(cells, 1, _MOST_CELLS) for cells in size):  # type: ignore[attr-defined]
        return None
    return Problem(parameter, size, f"rows and columns, whole numbers from 1 to {_MOST_CELLS}")


def problem_with_limits(limits: object) -> Problem | None:
    """Return what is wrong with what a command may use, or None."""
    if not isinstance(limits, (dict, type(None))):
        return Problem("limits", limits, "limits map names to whole numbers")
    for name, value in (limits or {}).items():
        if name not in LIMITS:
            return Problem("limits", name, f"one of {', '.join(LIMITS)}")
        if value is not None and not _is_whole(value, *LIMITS[name]):
            least, most = LIMITS[name]
            rule = f"a whole number from {least} to {most}, or None for no limit"
            return Problem(f"limits.{name}", value, rule)
    return None


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _problem_with_command(command: object) -> Problem | None:
    if isinstance(command, str):
        return _problem_with_text("command", command, empty="a command is not empty")
    if not isinstance(command, (list, tuple)):
        return Problem("command", command, "a command is a text or a sequence of texts")
    if not command:
        return Problem("command", command, "a command has at least a program")
    for index, argument in enumerate(command):
        empty = "the program is not empty" if index == 0 else None
        problem = _problem_with_text(f"command[{index}]", argument, empty=empty)
        if problem is not None:
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
        size = len(text.encode())
    except UnicodeEncodeError:
        return Problem(parameter, text, "it can be encoded as UTF-8")
    if size > MAX_TEXT_BYTES:
        return Problem(parameter, text, f"at most {MAX_TEXT_BYTES} bytes as UTF-8, this has {size}")
    return None


def _problem_with_env(env: object) -> Problem | None:
    if env is None:
        return None
    if not isinstance(env, dict):
        return Problem("env", type(env), "it maps names to texts, None unsets")
    for name, value in env.items():
        problem = _problem_with_text("env", name, empty="a name is not empty")
        if problem is not None:
            return problem
        if "=" in name:
            return Problem("env", name, "a name has no '='")
        # Values are secrets: what is wrong is told without showing them.
        if value is None:
            continue
        if _problem_with_text("env", value, empty=None) is not None or (
            len(name) + len(value.encode()) >= MAX_TEXT_BYTES
        ):
            rule = f"a value is a text without NUL, at most {MAX_TEXT_BYTES} bytes with its name"
            return Problem(f"env[{name!r}]", "(not shown)", rule)
    return None


def _problem_with_dir(working_dir: object) -> Problem | None:
    if working_dir is None:
        return None
    return _problem_with_text("working_dir", working_dir, empty="a directory is not empty")


def _problem_with_timeout(parameter: str, timeout: object) -> Problem | None:
    if timeout is None or (_is_number(timeout) and timeout > 0):  # type: ignore[operator]
        return None
    return Problem(parameter, timeout, "a number of seconds above 0, or None for no limit")


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


def _problem_with_flag(parameter: str, value: object) -> Problem | None:
    return None if isinstance(value, bool) else Problem(parameter, value, "true or false")


def _is_number(value: object) -> bool:
    """Whether it is a finite number, not NaN, and not too large for a float."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max
