"""What is to be run: the arguments of a start, checked, as a value."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

import attrs

from hopx_async.errors import InvalidArgument
from hopx_async.protocol import lifecycle
from hopx_async.secret import Secret, plain_env

__all__ = [
    "TERMINAL_SIZE",
    "CommandRef",
    "CommandSpec",
    "Limits",
    "Overflow",
    "StartOptions",
    "as_spec",
    "new_process_id",
    "refuse",
]

#: Rows and columns of a terminal unless told otherwise.
TERMINAL_SIZE = (24, 80)
Overflow: TypeAlias = Literal["drop", "wait"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u


def refuse(problem: lifecycle.Problem | None) -> None:
    """Raise `InvalidArgument` if there is a *problem*."""
    if problem is not None:
        raise InvalidArgument(problem.parameter, problem.value, problem.rule)


def new_process_id() -> str:
    """Return a fresh id: ``cmd_``, ten characters of milliseconds (ids sort by time), 16 random."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    digits = [_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return "cmd_" + "".join(digits)


@attrs.frozen(kw_only=True)
class Limits:
    """What one command may use; each process of it on its own. None: as much as its sandbox.

    Attributes:
        cpu_seconds: Processor time; SIGXCPU behind it, SIGKILL a second later.
        address_space_bytes: Memory that it may map; allocations fail behind it.
        open_files: Descriptors that it may hold; opening fails behind it.
        file_size_bytes: How far it may write into a file; SIGXFSZ behind it.
        nice: How much it gives way to others, 0 to 19, added to the agent's own.
        processes: How many processes it may be; only where the far side can count them.
    """

    cpu_seconds: int | None = None
    address_space_bytes: int | None = None
    open_files: int | None = None
    file_size_bytes: int | None = None
    nice: int | None = None
    processes: int | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse what breaks a rule."""
        refuse(lifecycle.problem_with_limits(attrs.asdict(self)))

    def to_dict(self) -> dict[str, int] | None:
        """Return the limits as they travel, None if there are none."""
        return attrs.asdict(self, filter=lambda _, value: value is not None) or None


@attrs.frozen(kw_only=True)
class CommandSpec:
    """What is to be run, and how. The arguments of ``start`` as a value.

    It is one command: started once more, it is the same one, which then runs or has run. Make
    one for each.

    Attributes:
        process_id: The command's id, made by the caller's side.
        command: A text for ``bash -c``, or the arguments of one program.
        env: Names and values added to the sandbox's own; None unsets. Shown in no listing. A
            `Secret` is the same to the command.
        working_dir: Where it runs; relative to the workspace; None for the workspace.
        timeout: Seconds for the whole command, enforced by the far side; None for no limit.
        name: A label for people, None for none.
        tags: Labels to list by.
        merge_stderr: Whether stderr goes where stdout goes, so that their order is exact.
        idle_timeout: Seconds without output, enforced by the far side; None for no limit.
        stdin: Whether input can be sent; its stdin is empty otherwise.
        pty: Rows and columns of the terminal that it runs in, None for none.
        overflow: What happens when its log is full: ``"drop"`` or ``"wait"``.
        limits: What it may use, None for no limits.
        usage_interval: Seconds between `Usage` events, None for none.
        mask_secrets: Whether the secrets in *env* and the sandbox's own are masked in its output.
    """

    process_id: str = attrs.field(factory=new_process_id)
    command: str | tuple[str, ...]
    env: Mapping[str, str | Secret | None] = attrs.field(
        factory=dict, repr=lambda env: str(sorted(env))
    )
    working_dir: str | None = None
    timeout: float | None = None
    name: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict)
    merge_stderr: bool = False
    idle_timeout: float | None = None
    stdin: bool = False
    pty: tuple[int, int] | None = None
    overflow: Overflow = "drop"
    limits: Limits | None = None
    usage_interval: float | None = None
    mask_secrets: bool = False

    @classmethod
    def make(
        cls,
        command: str | Sequence[str | os.PathLike[str]],
        *,
        process_id: str | None = None,
        env: Mapping[str, str | Secret | None] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        merge_stderr: bool = False,
        stdin: bool = False,
        pty: bool | tuple[int, int] = False,
        overflow: Overflow = "drop",
        limits: Limits | None = None,
        usage_interval: float | None = None,
        mask_secrets: bool = False,
    ) -> CommandSpec:
        """Check the arguments of a start and return them as a value, paths in them as texts.

        Raises:
            InvalidArgument: If one of them breaks a rule; names it, its value and the rule.
        """
        if limits is not None and not isinstance(limits, Limits):
            raise InvalidArgument("limits", type(limits).__name__, "Limits(...), or None")
        size = _as_size(pty)
        spec = cls(
            process_id=new_process_id() if process_id is None else process_id,
            command=command if isinstance(command, str) else _as_tuple(command),
            env=_as_dict("env", env),
            working_dir=_as_text("working_dir", working_dir),
            timeout=timeout,
            name=name,
            tags=_as_dict("tags", tags),
            merge_stderr=merge_stderr if size is None or merge_stderr is not False else True,
            idle_timeout=idle_timeout,
            stdin=stdin if size is None or stdin is not False else True,
            pty=size,
            overflow=overflow,
            limits=limits,
            usage_interval=usage_interval,
            mask_secrets=mask_secrets,
        )
        refuse(lifecycle.problem_with_spec(spec.to_dict()))
        return spec

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as it travels, environment included, with the names of `Secret`s."""
        # By hand: it is asked for twice a start, and asdict asks itself what there is each time.
        value = {name: getattr(self, name) for name in _FIELDS}
        if isinstance(self.command, tuple):
            value["command"] = list(self.command)
        value["pty"] = list(self.pty) if isinstance(self.pty, tuple) else self.pty
        value["limits"] = None if self.limits is None else self.limits.to_dict()
        env, secrets = plain_env(self.env)
        # Without masking it makes no difference which of them are secret.
        names = secrets if self.mask_secrets else []
        return value | {"env": env, "tags": dict(self.tags), "secrets": names}


_FIELDS = tuple(field.name for field in attrs.fields(CommandSpec))


@attrs.frozen
class CommandRef:
    """Where a command is found again, from any process. Holds no token.

    Attributes:
        sandbox: The sandbox's id.
        process_id: The command's id.
    """

    sandbox: str
    process_id: str

    def to_json(self) -> str:
        """Return it as a JSON text."""
        return json.dumps({"sandbox": self.sandbox, "process_id": self.process_id})

    @classmethod
    def from_json(cls, text: str) -> CommandRef:
        """Return the ref that `to_json` printed.

        Raises:
            InvalidArgument: If the text is no such thing.
        """
        try:
            value = json.loads(text)
            return cls(str(value["sandbox"]), str(value["process_id"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidArgument("ref", repr(text)[:120], "JSON of a CommandRef") from error


class StartOptions(TypedDict, total=False):
    """The keyword arguments of ``start``, where they are passed on."""

    env: Mapping[str, str | Secret | None] | None
    working_dir: str | os.PathLike[str] | None
    timeout: float | None
    idle_timeout: float | None
    name: str | None
    tags: Mapping[str, str] | None
    merge_stderr: bool
    stdin: bool
    pty: bool | tuple[int, int]
    overflow: Overflow
    limits: Limits | None
    usage_interval: float | None
    mask_secrets: bool
    process_id: str | None


def as_spec(
    command: str | Sequence[str | os.PathLike[str]] | CommandSpec,
    options: StartOptions | None = None,
) -> CommandSpec:
    """Return a command, given as for ``start`` or as a spec, as a spec that was checked.

    Raises:
        InvalidArgument: If something breaks a rule, or a spec comes with options.
    """
    if not isinstance(command, CommandSpec):
        return CommandSpec.make(command, **(options or {}))
    for name in options or {}:
        raise InvalidArgument(name, "(given)", "a spec has all options: attrs.evolve changes one")
    refuse(lifecycle.problem_with_spec(command.to_dict()))
    return command


def _as_tuple(command: object) -> Any:
    # Bytes are a sequence of numbers: not what is meant.
    if isinstance(command, Sequence) and not isinstance(command, (bytes, bytearray)):
        return tuple(_as_text(f"command[{at}]", part) for at, part in enumerate(command))
    if isinstance(command, os.PathLike):
        raise InvalidArgument("command", repr(command)[:200], "a path alone: [path] runs it")
    return command


def _as_dict(parameter: str, value: object) -> Any:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidArgument(parameter, type(value).__name__, "it is a mapping")
    return dict(value)


def _as_size(pty: Any) -> Any:
    if pty is False or pty is None:
        return None
    return TERMINAL_SIZE if pty is True else tuple(pty) if isinstance(pty, list) else pty


def _as_text(parameter: str, value: object) -> Any:
    """Return a path as the text that it is; what is no path as it is, to be checked later."""
    if not isinstance(value, os.PathLike):
        return value
    text = os.fspath(value)
    if isinstance(text, bytes):
        raise InvalidArgument(parameter, repr(value)[:200], "a path of texts, not of bytes")
    return text
