"""The keeper's own look at what it is asked, before anything is started."""

from __future__ import annotations

import math
from base64 import b64decode

from hopx_async.protocol.lifecycle import (
    MAX_TEXT_BYTES,
    SIGNAL_NAMES,
    STDIN_BYTES,
    Problem,
    problem_with_env,
    problem_with_grace,
    problem_with_id,
    problem_with_secrets,
    problem_with_size,
    problem_with_spec,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["USAGE_KEYS", "id_of", "problem_with_request"]

#: What a sample of usage has.
USAGE_KEYS = frozenset({"cpu_seconds", "rss_bytes", "read_bytes", "write_bytes"})
_MAY_BE_UNKNOWN = frozenset({"read_bytes", "write_bytes"})
_MAX_FIGURE = 2**63

_SPEC_KEYS = (
    *("process_id", "command", "working_dir", "timeout", "name", "tags", "merge_stderr"),
    *("idle_timeout", "stdin", "pty", "overflow", "limits"),
    *("usage_interval", "mask_secrets"),
)
_PUBLIC_KEYS = frozenset({*_SPEC_KEYS, "env_names", "spec_digest", "created_at"})
_MAX_SIGNAL_ID = 128
_LONGEST_HOLD = 60


def id_of(message: dict[str, Any]) -> str:
    """Return the id of the command that a checked request is about."""
    return str(message["public"]["process_id"] if message["op"] == "start" else message["id"])


def problem_with_request(message: dict[str, Any]) -> Problem | None:
    """Return the first thing wrong with an agent's request, or None."""
    op, rid = message.get("op"), message.get("rid")
    if not isinstance(rid, int):
        return Problem("rid", rid, "a request has a number")
    if op == "start":
        return _problem_with_start(message)
    look = _LOOKS.get(str(op))
    if look is None:
        return Problem("op", op, f"a request is a start or one of {', '.join(_LOOKS)}")
    return problem_with_id(message.get("id")) or look(message)


def _problem_with_start(message: dict[str, Any]) -> Problem | None:
    public, env = message.get("public"), message.get("env")
    if not isinstance(public, dict):
        return Problem("public", public, "a start has a spec")
    unknown = sorted(set(public) - _PUBLIC_KEYS)
    if unknown:
        return Problem(unknown[0], public[unknown[0]], "this keeper does not know that argument")
    if not isinstance(env, dict) or None in env.values():
        return Problem("env", type(env).__name__, "the final environment maps names to texts")
    spec = {key: public[key] for key in _SPEC_KEYS if key in public}
    if not _is_plain(env):
        spec["env"] = env
    problem = problem_with_spec(spec) or _problem_with_mask(public, message.get("mask"))
    return problem or _problem_with_rest(public, message.get("working_dir"))


def _problem_with_mask(public: dict[str, Any], mask: object) -> Problem | None:
    if bool(mask) is not public.get("mask_secrets", False):
        return Problem("mask_secrets", bool(mask), "it comes with what is to be masked")
    if not isinstance(mask, (list, type(None))):
        return Problem("mask", type(mask), "a list of texts")
    texts: dict[str, object] = {str(number): text for number, text in enumerate(mask or ())}
    return problem_with_env(texts, "mask") or problem_with_secrets(texts, list(texts), "mask")


def _problem_with_rest(public: dict[str, Any], working_dir: object) -> Problem | None:
    if not isinstance(working_dir, str) or not working_dir.startswith("/"):
        return Problem("working_dir", working_dir, "the directory is an absolute path")
    if "\0" in working_dir or not _encodable(working_dir):
        return Problem("working_dir", working_dir, "a directory is UTF-8 text without NUL")
    names = public.get("env_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return Problem("env_names", type(names).__name__, "a list of texts")
    if not isinstance(public.get("spec_digest", ""), str):
        return Problem("spec_digest", public["spec_digest"], "a text")
    created_at = public.get("created_at", 0.0)
    if not isinstance(created_at, (int, float)) or not math.isfinite(created_at):
        return Problem("created_at", created_at, "a finite number of seconds")
    return None


def _problem_with_signal(message: dict[str, Any]) -> Problem | None:
    name, signal_id, cause = message.get("name"), message.get("signal_id"), message.get("cause")
    if not isinstance(name, str) or name not in SIGNAL_NAMES:
        return Problem("name", name, f"one of {' '.join(sorted(SIGNAL_NAMES))}")
    if not isinstance(signal_id, str) or not 0 < len(signal_id) <= _MAX_SIGNAL_ID:
        return Problem("signal_id", signal_id, f"a text of 1 to {_MAX_SIGNAL_ID} characters")
    if cause not in (None, "killed"):
        return Problem("cause", cause, "killed, or nothing")
    return None


def _problem_with_stdin(message: dict[str, Any]) -> Problem | None:
    offset, data, eof = message.get("offset"), message.get("data"), message.get("eof")
    if offset is not None and (type(offset) is not int or offset < 0):
        return Problem("offset", offset, "a number of bytes, 0 or more, or null to ask for it")
    if not isinstance(eof, bool):
        return Problem("eof", eof, "true or false")
    try:
        size = len(b64decode(data, validate=True)) if isinstance(data, str) else None
    except ValueError:
        size = None
    # What is typed is not to be shown.
    if size is None:
        return Problem("data", type(data).__name__, "bytes in base64")
    if size > STDIN_BYTES:
        return Problem("data", f"{size} bytes", f"at most {STDIN_BYTES} bytes at a time")
    return None


def _problem_with_hold(offset: object, seconds: object) -> Problem | None:
    if not isinstance(offset, int) or offset < 0:
        return Problem("offset", offset, "a log offset")
    if not isinstance(seconds, (int, float)) or not 0 <= seconds <= _LONGEST_HOLD:
        return Problem("seconds", seconds, f"seconds from 0 to {_LONGEST_HOLD}")
    return None


def _problem_with_usage(usage: object) -> Problem | None:
    if not isinstance(usage, dict) or set(usage) != USAGE_KEYS:
        return Problem("usage", usage, f"it has {' '.join(sorted(USAGE_KEYS))}")
    figures: dict[str, Any] = usage
    for name, value in figures.items():
        kinds = (int, float) if name == "cpu_seconds" else (int,)
        known = type(value) in kinds and 0 <= value < _MAX_FIGURE
        if not known and (value is not None or name not in _MAY_BE_UNKNOWN):
            return Problem(name, value, "a figure is a number, 0 or more")
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(env: dict[str, Any]) -> bool:
    """Return whether nothing can be wrong with *env*, at a glance: most are like that."""
    names, values = "".join(env), env.values()
    if "" in env or "=" in names or " " in names or {type(value) for value in values} - {str}:
        return False
    text = names + "".join(values)
    # As bytes a text of ASCII is as long as it is.
    return (
        names.isprintable() and text.isascii() and "\0" not in text and len(text) < MAX_TEXT_BYTES
    )


_LOOKS: dict[str, Callable[[dict[str, Any]], Problem | None]] = {
    "hold": lambda message: _problem_with_hold(message.get("offset"), message.get("seconds")),
    "kill": lambda message: problem_with_grace(message.get("grace")),
    "resize": lambda message: problem_with_size("size", message.get("size")),
    "signal": _problem_with_signal,
    "stdin": _problem_with_stdin,
    "usage": lambda message: _problem_with_usage(message.get("usage")),
}
