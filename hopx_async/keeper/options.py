"""What the root is told: by its command line, and by the first line from its parent."""

from __future__ import annotations

import argparse
import json
import math
import os
import resource

from hopx_async.protocol import lifecycle, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

__all__ = [
    "ISOLATION",
    "KEEPER_COMMANDS",
    "STALLED_AFTER",
    "Options",
    "RootError",
    "default_env",
    "parse_arguments",
    "read_config",
]

#: Live commands that one keeper holds before another is started, if it may open so many files.
KEEPER_COMMANDS = 2400
# Descriptors of a keeper that are not its commands': logs, and what it was started with.
_OWN_FILES = 128
#: Seconds without a heartbeat after which a keeper counts as stalled.
STALLED_AFTER = 5.0
# What a parent may say in its first line, and what it must be.
_CONFIG: dict[str, type | tuple[type, ...]] = {
    "host": str,
    "port": int,
    "workspace": str,
    "base_env": dict,
    "sandbox_id": str,
    "retention_bytes": int,
    "sandbox_retention_bytes": int,
    "keep_commands": int,
    "keep_seconds": (int, float),
    "segment_bytes": int,
    "drain_time": (int, float),
    "grace": (int, float),
    "keeper_commands": int,
    "stalled_after": (int, float),
    "most_restarts": int,
    "allow_hosts": list,
    "detached": bool,
    "ephemeral": str,
    "isolation": str,
    "internet_access": bool,
    "token_secret": str,
}
#: What may be asked for.
ISOLATION = ("none", "namespace", "auto")
_ISOLATION_RULE = "one of none, namespace, auto"
_MAX_PORT = 65535
_MAX_CONFIG = 4 * 1024 * 1024


class RootError(Exception):
    """The root cannot begin: *code* for programs, the message for people, *data* for both."""

    def __init__(self, code: str, message: str, **data: object) -> None:
        super().__init__(message)
        self.code = code
        self.data = data

    @classmethod
    def about(cls, parameter: str, value: object, rule: str) -> RootError:
        """Return the error of an argument that breaks a rule."""
        problem = lifecycle.Problem(parameter, value, rule)
        data = {"parameter": parameter, "value": problem.value, "rule": rule}
        return cls("invalid_argument", str(problem), **data)

    def to_dict(self) -> dict[str, object]:
        """Return it as it is announced."""
        return {"error": {"code": self.code, "message": str(self), **self.data}}


class Options:
    """Everything that a root is told. Defaults are those of a root started by hand.

    Attributes:
        detached: Whether the root goes on when its parent has gone.
        ephemeral: A directory to remove at the end, None for none.
        sandbox_retention_bytes: Log bytes kept of all commands together.
        keep_commands: Commands kept after their end.
        keep_seconds: Seconds for which they are kept.
        keeper_commands: Live commands that one keeper holds before another is started.
        stalled_after: Seconds without a heartbeat after which a keeper counts as stalled.
        most_restarts: Deaths within a minute, of the agent or of one keeper, that are made good.
        isolation: One of `ISOLATION`; ``auto`` until it is known what can be had.
        isolation_missing: Why ``auto`` became ``none``; "" if it did not.
        luggage_fd: What the root brings along when it goes on inside of namespaces.
        watcher_fd: Inside, a descriptor of the process outside that waits for the root.
        outer_pid: Inside, the root's pid outside.
        token_secret: Key of a control plane's tokens, None if there is none.
    """

    def __init__(self) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.state_dir = ""
        self.workspace: str | None = None
        self.announce = False
        self.parent_fd: int | None = None
        self.allow_hosts: list[str] = []
        self.retention_bytes = records.RETENTION_BYTES
        self.sandbox_retention_bytes = records.SANDBOX_RETENTION_BYTES
        self.keep_commands = records.KEEP_COMMANDS
        self.keep_seconds = records.KEEP_SECONDS
        self.segment_bytes = records.SEGMENT_BYTES
        self.drain_time = lifecycle.DRAIN_TIME
        self.grace = lifecycle.GRACE
        self.base_env: dict[str, str] = {}
        self.sandbox_id: str | None = None
        self.detached = False
        self.ephemeral: str | None = None
        self.keeper_commands = _held_at_most()
        self.stalled_after = STALLED_AFTER
        self.most_restarts = 5
        self.isolation = "none"
        self.isolation_missing = ""
        self.internet_access = True
        self.luggage_fd: int | None = None
        self.watcher_fd: int | None = None
        self.outer_pid: int | None = None
        self.token_secret: str | None = None

    def take_config(self, line: bytes) -> None:
        """Let the parent's first line overrule the command line.

        Raises:
            RootError: If it is not what the parent and we agreed upon.
        """
        try:
            config = json.loads(line)
        except ValueError:
            config = None
        if not isinstance(config, dict):
            raise RootError.about("config", line[:80], "the parent's first line is a JSON object")
        for name, value in config.items():
            if name not in _CONFIG:
                raise RootError.about(name, value, "this root does not know that")
            if value is not None:
                if not isinstance(value, _CONFIG[name]):
                    raise RootError.about(name, value, "it has another type")
                setattr(self, name, value)

    def check(self) -> None:
        """Raise unless every value keeps its rule.

        Raises:
            RootError: With code ``invalid_argument``.
        """
        _require(bool(self.state_dir), "state_dir", self.state_dir, "a directory")
        _require(0 <= self.port <= _MAX_PORT, "port", self.port, "0 to 65535")
        _require(self.retention_bytes > 0, "retention_bytes", self.retention_bytes, "above 0")
        kept, age = self.sandbox_retention_bytes, self.keep_seconds
        _require(kept > 0, "sandbox_retention_bytes", kept, "above 0")
        _require(self.keep_commands > 0, "keep_commands", self.keep_commands, "above 0")
        _require(0 <= age < math.inf, "keep_seconds", age, "seconds, 0 or more")
        least = records.BLOCK
        _require(self.segment_bytes >= least, "segment_bytes", self.segment_bytes, f"{least} up")
        drain_time = self.drain_time
        _require(0 <= drain_time < math.inf, "drain_time", drain_time, "seconds, 0 or more")
        commands, restarts = self.keeper_commands, self.most_restarts
        _require(commands > 0, "keeper_commands", commands, "above 0")
        _require(restarts >= 0, "most_restarts", restarts, "0 or more")
        stalled_after = self.stalled_after
        _require(0 < stalled_after < math.inf, "stalled_after", stalled_after, "seconds, above 0")
        _require(self.isolation in ISOLATION, "isolation", self.isolation, _ISOLATION_RULE)
        fenced = self.internet_access or self.isolation != "none"
        _require(fenced, "internet_access", False, "to forbid it needs isolation")
        problem = lifecycle.problem_with_grace(self.grace)
        if problem is None and self.sandbox_id is not None:
            problem = lifecycle.problem_with_id(self.sandbox_id)
            if problem is not None:
                problem = lifecycle.Problem("sandbox_id", self.sandbox_id, lifecycle.ID_RULE)
        if problem is None:
            spec: dict[str, object] = {"process_id": "x", "command": "x", "env": self.base_env}
            problem = lifecycle.problem_with_spec(spec)
        if problem is not None:
            data = {name: getattr(problem, name) for name in problem.__slots__}
            raise RootError("invalid_argument", str(problem), **data)


def _held_at_most() -> int:
    """Return for how many commands a process of ours can hold the ends of stdin and both outputs.

    A keeper that runs out of descriptors refuses starts that another one could carry out.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        return KEEPER_COMMANDS
    return min(KEEPER_COMMANDS, max(1, (hard - _OWN_FILES) // 3))


def parse_arguments(arguments: Sequence[str]) -> Options:
    """Return what the command line says.

    Raises:
        RootError: If it cannot be understood.
    """
    options = Options()
    parser = _Parser(
        prog="python -m hopx_async.agent",
        description="Run an agent: it executes the commands of whoever has its token.",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("--host", help="address to listen on (127.0.0.1)")
    add("--port", type=int, help="port to listen on (0: any that is free)")
    add("--state-dir", help="directory of logs and token")
    add("--isolation", help="none, namespace or auto: what commands see of this host (none)")
    add("--no-internet", dest="internet_access", action="store_false", help="no network inside")
    add("--luggage-fd", type=int, help=argparse.SUPPRESS)
    add("--workspace", help="directory that commands run in (STATE_DIR/workspace)")
    add("--announce", action="store_true", help="print url and token as JSON when ready")
    add("--parent-fd", type=int, help="pipe from the parent; its end ends the agent")
    add("--allow-host", dest="allow_hosts", action="append", help="serve this Host, too")
    add("--retention-bytes", type=int, help="log bytes kept of each command")
    add("--sandbox-retention-bytes", type=int, help="log bytes kept of all commands together")
    add("--keep-commands", type=int, help="commands kept after their end")
    add("--keep-seconds", type=float, help="seconds for which they are kept")
    add("--segment-bytes", type=int, help="size of the files that make a log")
    add("--drain-time", type=float, help="seconds for output that comes after a command's exit")
    add("--grace", type=float, help="seconds between TERM and KILL")
    add("--keeper-commands", type=int, help="live commands of one keeper before there is another")
    parser.parse_args(arguments, namespace=options)
    return options


def read_config(fd: int) -> tuple[bytes, bytes] | None:
    """Return the parent's first line and what came behind it; None if it has gone."""
    data = b""
    while b"\n" not in data:
        piece = os.read(fd, 65536)
        if not piece:
            return None
        data += piece
        if len(data) > _MAX_CONFIG:
            raise RootError.about("config", data[:80], f"at most {_MAX_CONFIG} bytes")
    line, _, rest = data.partition(b"\n")
    return line, rest


def default_env(workspace: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that commands get if nobody says otherwise."""
    return {
        "PATH": environ.get("PATH", os.defpath),
        "HOME": workspace,
        "LANG": environ.get("LANG", "C.UTF-8"),
        "TERM": environ.get("TERM", "dumb"),
        "USER": environ.get("USER") or _user_name(),
        "TMPDIR": environ.get("TMPDIR", "/tmp"),  # noqa: S108  # where programs look by default
    }


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _require(kept: bool, parameter: str, value: object, rule: str) -> None:
    if not kept:
        raise RootError.about(parameter, value, rule)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RootError("invalid_argument", message, parameter="arguments")
