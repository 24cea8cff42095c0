"""What is asked of a far side where no agent of ours runs.

Commands leave *markers* there: a directory each, laid down by the program in
``transport/far``, with a log in the format of `records` and small files beside it.
A request is the arguments of that program; `marker_answers` reads what it prints.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hopx_async.errors import InvalidArgument, Unsupported
from hopx_async.protocol import lifecycle

__all__ = [
    "MAX_BATCH",
    "MAX_BATCH_BYTES",
    "MAX_WATCHED",
    "RETENTION_BYTES",
    "Start",
    "marker_root",
    "prepare",
    "start_arguments",
    "tick_arguments",
]

#: Commands of one request.
MAX_BATCH = 32
#: Bytes of the arguments and variables of one request; ``execve`` takes about 2 MiB.
MAX_BATCH_BYTES = 1024 * 1024
#: Commands that one poll asks about: ids and ends of all of them are one argument.
MAX_WATCHED = 1_500
#: Log bytes that are kept of a command where no agent of ours runs.
RETENTION_BYTES = 64 * 1024 * 1024
# One argument takes less than this much (``MAX_ARG_STRLEN``).
_ARGUMENT_BYTES = 100_000
#: What only an agent of ours can do, by the spec's key, with the value that asks for nothing.
_ONLY_OURS: dict[str, tuple[Any, ...]] = {
    "pty": (None,),
    "stdin": (False, None),
    "overflow": ("drop", None),
    "limits": (None,),
    "usage_interval": (None,),
    "mask_secrets": (False, None),
}


class Start(NamedTuple):
    """A start, ready to be sent.

    Attributes:
        process_id: Its id.
        header: The figures of it, as one argument; ``{env}`` stands for its place in the batch.
        arguments: The arguments behind the header.
        env: Its own variables; None unsets one.
        size: Bytes that it takes in a request.
    """

    process_id: str
    header: str
    arguments: tuple[str, ...]
    env: Mapping[str, str | None]
    size: int


def marker_root(sandbox_id: str) -> str:
    """Return the directory of a sandbox's markers there.

    It carries the sandbox's name, for sandboxes that are emulated may share one ``/tmp``.
    """
    name = sandbox_id
    if lifecycle.problem_with_id(sandbox_id) is not None:
        name = hashlib.sha256(sandbox_id.encode()).hexdigest()[:32]
    return f"/tmp/.hopx_async-{name}"  # noqa: S108  # made with 0700, and checked to be ours


def prepare(
    spec: dict[str, Any], *, key: bytes, workspace: str, keep: int = RETENTION_BYTES
) -> Start:
    """Return the start of a full spec.

    Args:
        spec: The full spec, as `CommandSpec` sends it.
        key: What digests are made with; the same for all clients of a sandbox.
        workspace: The directory that the request will run in; relative ones begin there.
        keep: Log bytes that are kept of it.

    Raises:
        InvalidArgument: If the spec breaks a rule.
        Unsupported: If it asks for what only an agent of ours can do.
    """
    problem = lifecycle.problem_with_spec(spec)
    if problem is not None:
        raise InvalidArgument(problem.parameter, problem.value, problem.rule)
    for name, nothing in _ONLY_OURS.items():
        if spec.get(name) not in nothing:
            raise Unsupported(f"{name}: this sandbox runs HopX's own agent, which cannot do it")
    env: dict[str, str | None] = dict(spec.get("env") or {})
    command = spec["command"]
    argv = ["bash", "-c", command] if isinstance(command, str) else list(command)
    public = {name: spec.get(name) for name in _PUBLIC}
    public |= {"tags": spec.get("tags") or {}, "merge_stderr": bool(spec.get("merge_stderr"))}
    canonical = json.dumps({**public, "env": env}, sort_keys=True)
    digest = hmac.digest(key, canonical.encode(), hashlib.sha256).hex()
    public |= {"env_names": sorted(env), "spec_digest": digest}
    text = json.dumps(public)
    pieces = [text[at : at + _ARGUMENT_BYTES] for at in range(0, len(text), _ARGUMENT_BYTES)]
    figures = (
        *(spec["process_id"], digest, spec.get("timeout") or 0, spec.get("idle_timeout") or 0),
        *(lifecycle.DRAIN_TIME, lifecycle.GRACE, int(bool(spec.get("merge_stderr"))), keep),
        *("{env}", len(pieces), len(argv)),
    )
    header = " ".join(map(str, figures))
    arguments = (_below(workspace, spec.get("working_dir")), *pieces, *argv)
    sizes = [
        2 * len(name.encode()) + len((value or "").encode()) + 32 for name, value in env.items()
    ]
    if max(sizes, default=0) > lifecycle.MAX_TEXT_BYTES:
        rule = f"a value and its name, twice, take at most {lifecycle.MAX_TEXT_BYTES} bytes here"
        raise InvalidArgument("env", f"{max(sizes)} bytes", rule)
    size = sum(len(one.encode()) + 9 for one in (header, *arguments)) + sum(sizes)
    if size > MAX_BATCH_BYTES:
        rule = f"command and variables together take at most {MAX_BATCH_BYTES} bytes here"
        raise InvalidArgument("command", f"{size} bytes", rule)
    return Start(spec["process_id"], header, arguments, env, size)


_PUBLIC = (
    *("process_id", "command", "working_dir", "timeout", "idle_timeout"),
    *("name", "tags", "merge_stderr"),
)


def _below(workspace: str, directory: str | None) -> str:
    """Return a working directory as seen from the workspace, wherever that really is."""
    if directory is None or directory == workspace:
        return "."
    return directory.removeprefix(workspace.rstrip("/") + "/") or "."


def start_arguments(batch: Sequence[Start]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the variables of a request that starts a batch.

    Values travel as variables, so that they are in no argument; each has its command's number.
    """
    arguments: list[str] = []
    variables: dict[str, str] = {}
    for number, start in enumerate(batch):
        arguments += (start.header.format(env=number), *start.arguments)
        for name, value in start.env.items():
            sort = "U" if value is None else "E"
            variables[f"HOPX_{sort}{number}_{name.encode().hex()}"] = value or ""
    return arguments, variables


def tick_arguments(
    room: int, watched: Mapping[str, int | None], wanted: Iterable[tuple[str, int, int]] = ()
) -> list[str]:
    """Return the arguments of a poll.

    Args:
        room: Log bytes that its answer may carry.
        watched: Commands with the ends that are known; None asks for everything about one.
        wanted: Log bytes: command, offset and at most how many.
    """
    known = ",".join(f"{name}:{'-' if end is None else end}" for name, end in watched.items())
    return [str(room), known, *(f"{name}:{offset}:{most}" for name, offset, most in wanted)]
