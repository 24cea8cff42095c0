"""The values that callers meet: specs, infos, ends and results of commands."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import attrs

from hopx_async.protocol import lifecycle
from hopx_async.spec import CommandRef, CommandSpec, Limits, new_process_id, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Capabilities",
    "CommandInfo",
    "CommandRef",
    "CommandResult",
    "CommandSpec",
    "EndReason",
    "Exit",
    "Limits",
    "Output",
    "Status",
    "Stream",
    "Totals",
    "new_process_id",
    "refuse",
]

# Bytes of each stream that the repr of a result shows.
_SHOWN_BYTES = 1000

EndReason: TypeAlias = Literal[
    "exited", "signaled", "timed_out", "idle_timed_out", "killed",
    "oom_killed", "sandbox_stopped", "spawn_failed", "lost",
]  # fmt: skip
Status: TypeAlias = Literal["queued", "running", "completed", "failed", "killed", "lost"]
Stream: TypeAlias = Literal["stdout", "stderr"]

_REASONS = frozenset(get_args(EndReason))


@attrs.frozen(kw_only=True)
class Totals:
    """What a command has used in all, of the leader and its reaped children.

    Attributes:
        cpu_seconds: User and system time, in seconds.
        max_rss_bytes: Peak resident size of its largest process, None where not known.
        read_bytes: Bytes read from storage, in whole blocks of 512; None where not known.
        write_bytes: Bytes written to storage, in whole blocks of 512; None where not known.
    """

    cpu_seconds: float
    max_rss_bytes: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Totals:
        """Return the totals in an exit; keys it does not know are ignored."""
        return cls(
            cpu_seconds=value["cpu_seconds"],
            max_rss_bytes=value.get("max_rss_bytes"),
            read_bytes=value.get("read_bytes"),
            write_bytes=value.get("write_bytes"),
        )


@attrs.frozen(kw_only=True)
class Exit:
    """How a command ended. ``str(exit)`` is a sentence.

    Attributes:
        exit_code: The code of the leader, None if it has none (a signal, lost, never started).
        signal: The name of the signal that ended it, such as ``"SIGKILL"``, None for none.
        reason: Why it ended; never guessed.
        started_at: Unix time of the start, None if it never started.
        ended_at: Unix time of the end.
        duration: Seconds from start to end, by a clock that does not jump; None if not known.
        survivors: How many of its processes were alive at that moment; ``kill()`` reaches them.
        usage: What it used, None where the far side cannot tell.
        tail: Last output of both streams in order, at most 4 KiB; empty for an end that is ok.
    """

    exit_code: int | None = None
    signal: str | None = None
    reason: EndReason
    started_at: float | None = None
    ended_at: float | None = None
    duration: float | None = None
    survivors: int = 0
    usage: Totals | None = None
    tail: bytes = attrs.field(default=b"", repr=False)

    @property
    def ok(self) -> bool:
        """Whether the command exited by itself with code 0."""
        return self.reason == "exited" and self.exit_code == 0

    @property
    def status(self) -> Status:
        """HopX's word for it: completed, failed, killed or lost."""
        return lifecycle.status_of(self.reason, self.exit_code)  # type: ignore[return-value]

    def __str__(self) -> str:
        sentence = {
            "exited": f"exited with {self.exit_code}",
            "signaled": f"was ended by {self.signal}",
            "timed_out": "was ended by its time limit",
            "idle_timed_out": "was ended because it printed nothing",
            "killed": "was killed",
            "oom_killed": "was ended because memory ran out",
            "sandbox_stopped": "was ended with its sandbox",
            "spawn_failed": "could not be started",
            "lost": "was lost: how it ended is not known",
        }[self.reason]
        after = "" if self.duration is None else f" after {self.duration:.1f} s"
        # Where everything is being ended, what has not yet ended at that moment says nothing.
        told = self.survivors and self.reason in {"exited", "signaled"}
        left = f", {self.survivors} of its processes still running" if told else ""
        return sentence + after + left

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without the tail."""
        value = attrs.asdict(self, filter=lambda field, _: field.name != "tail")
        value["ok"] = self.ok
        return value

    @classmethod
    def from_payload(cls, value: Mapping[str, Any]) -> Exit:
        """Return the exit in a terminal record's payload.

        Raises:
            ValueError: If the reason is none that this version knows, or its parts do not fit it.
            TypeError: If a part has another type.
        """
        reason: Any = value.get("reason")
        if reason not in _REASONS:
            raise ValueError(f"unknown end reason {reason!r}")
        code = value.get("exit_code")
        if reason == "exited" and not isinstance(code, int):
            # An exit code is never invented: a missing one is not 0.
            raise ValueError(f"an exit without a code: {code!r}")
        usage = value.get("usage")
        return cls(
            exit_code=code,
            signal=value.get("signal"),
            reason=reason,
            started_at=value.get("started_at"),
            ended_at=value.get("ended_at"),
            duration=value.get("duration"),
            survivors=value.get("survivors") or 0,
            usage=None if usage is None else Totals.from_dict(usage),
            tail=b"".join(base64.b64decode(data) for _, data in value.get("tail") or ()),
        )


@attrs.frozen(kw_only=True)
class CommandInfo:
    """What the far side knows of a command at one moment.

    Attributes:
        process_id: Its id.
        command: As it was started.
        status: HopX's word: queued, running, completed, failed, killed or lost.
        name: Its label, None for none.
        tags: Its labels to list by.
        working_dir: As it was asked for, None for the workspace.
        timeout: Its time limit in seconds, None for none.
        env_names: The names of the variables it was given; values are never shown.
        merge_stderr: Whether stderr went where stdout went.
        idle_timeout: Its limit of seconds without output, None for none.
        stdin: Whether input can be sent to it.
        pty: Rows and columns of its terminal at its start, None for none.
        limits: What it may use, None for no limits.
        usage_interval: Seconds between `Usage` events, None for none.
        mask_secrets: Whether secrets are masked in its output.
        pid: The leader's pid on the far side, None if it never started.
        started_at: Unix time of its start, None if it never started.
        exit: How it ended, None while it runs.
        log_end: Log offset behind the last record; for ``output()`` and tails.
    """

    process_id: str
    command: str | tuple[str, ...]
    status: Status
    name: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict)
    working_dir: str | None = None
    timeout: float | None = None
    env_names: tuple[str, ...] = ()
    merge_stderr: bool = False
    idle_timeout: float | None = None
    stdin: bool = False
    pty: tuple[int, int] | None = None
    limits: Limits | None = None
    usage_interval: float | None = None
    mask_secrets: bool = False
    pid: int | None = None
    started_at: float | None = None
    exit: Exit | None = None
    log_end: int = 0

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> CommandInfo:
        """Return the info in an answer of the far side; keys it does not know are ignored."""
        spec = value["spec"]
        command = spec["command"]
        known = None if value.get("exit") is None else Exit.from_payload(value["exit"])
        return cls(
            process_id=spec["process_id"],
            command=command if isinstance(command, str) else tuple(command),
            status="running" if known is None else known.status,
            name=spec.get("name"),
            tags=spec.get("tags") or {},
            working_dir=spec.get("working_dir"),
            timeout=spec.get("timeout"),
            env_names=tuple(spec.get("env_names") or ()),
            merge_stderr=bool(spec.get("merge_stderr")),
            idle_timeout=spec.get("idle_timeout"),
            stdin=bool(spec.get("stdin")),
            pty=(spec["pty"][0], spec["pty"][1]) if spec.get("pty") else None,
            limits=Limits(**spec["limits"]) if spec.get("limits") else None,
            usage_interval=spec.get("usage_interval"),
            mask_secrets=bool(spec.get("mask_secrets")),
            pid=value.get("pid"),
            started_at=value.get("started_at"),
            exit=known,
            log_end=value.get("log_end") or 0,
        )


def _begun(data: bytes) -> str:
    """Show no more of an output than fits a screen."""
    if len(data) <= _SHOWN_BYTES:
        return repr(data)
    return f"{data[:_SHOWN_BYTES]!r}... {len(data)} bytes"


@attrs.frozen(kw_only=True)
class _Printed:
    """Output of a command, by stream.

    Attributes:
        stdout_bytes: What it wrote to stdout.
        stderr_bytes: What it wrote to stderr.
        lost_bytes: Output bytes that retention had freed before they were read.
    """

    stdout_bytes: bytes = attrs.field(default=b"", repr=_begun)
    stderr_bytes: bytes = attrs.field(default=b"", repr=_begun)
    lost_bytes: int = 0

    @property
    def stdout(self) -> str:
        """Stdout as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """Stderr as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stderr_bytes.decode(errors="replace")


@attrs.frozen(kw_only=True)
class Output(_Printed):
    """What a command has printed up to a moment.

    Attributes:
        cursor: The position behind it: ``events(after=output.cursor)`` goes on there.
    """

    cursor: str


@attrs.frozen(kw_only=True)
class CommandResult(_Printed):
    """A command's end and its output.

    Attributes:
        exit: How it ended.
    """

    exit: Exit

    @property
    def ok(self) -> bool:
        """Whether it exited by itself with code 0."""
        return self.exit.ok

    @property
    def exit_code(self) -> int | None:
        """The leader's exit code, None if it has none."""
        return self.exit.exit_code


@attrs.frozen(kw_only=True)
class Capabilities:
    """What a far side can do, as it says itself.

    Attributes:
        agent: ``"hopx_async"`` for ours, ``"memory"`` for the test-kit's.
        version: The far side's version.
        proof: By which means a kill is proven: ``"cgroup"``, ``"namespace"`` or ``"ancestry"``.
        merge_stderr: Whether one pipe for both streams can be asked for.
        idle_timeout: Whether commands that print nothing can be ended.
        stdin: Whether input can be sent to commands.
        pty: Whether commands can run in terminals.
        overflow_wait: Whether a command can wait for its readers when its log is full.
        limits: Whether what a command uses can be limited.
        process_limit: Whether the number of its processes can be limited, too.
        isolation: What surrounds the commands: ``"none"``, or ``"namespace"`` for namespaces of
            their own.
        internet_access: Whether they have the network of the host.
        env: Whether the sandbox keeps variables of its own: ``sandbox.env``.
        mask_secrets: Whether it can mask secrets in the output of commands.
        wait_port: Whether it can tell when a command listens on a port.
        usage: Whether it can sample what commands use.
        files: Whether files can be read and written: ``sandbox.files``.
        watch: Whether files can be watched.
    """

    agent: str
    version: str
    proof: str = "ancestry"
    merge_stderr: bool = True
    idle_timeout: bool = False
    stdin: bool = False
    pty: bool = False
    overflow_wait: bool = False
    limits: bool = False
    process_limit: bool = False
    isolation: str = "none"
    internet_access: bool = True
    env: bool = False
    mask_secrets: bool = False
    wait_port: bool = False
    usage: bool = False
    files: bool = False
    watch: bool = False
