"""What can go wrong, and whose fault it was.

::

    HopxError
      ApiError                    the far side said no: status, code, request_id
        AuthenticationError       MissingApiKey (also ValueError): no key was given
        NotFoundError             CommandNotFound  SandboxNotFound  TemplateNotFound
                                  FileNotFound: path
        PathNotAllowed            a path out of the workspace, or not permitted: path
        ConflictError             the id exists with another spec; the file exists
        SpawnError                the program could not be started: errno, filename
        RateLimited  AgentFault   retry_after; 5xx: the far side is at fault
      TransportError              nobody answered: ConnectError  ConnectionLost
                                  RequestTimeout  AgentUnreachable  CreateUncertain
      ProtocolError               the two disagree
        LocalProtocolError        a bug of ours; RemoteProtocolError: theirs; TlsError: no trust
      CommandError                the command's own fate
        CommandFailed             it did not complete: CommandTimedOut  CommandLost
        OutputTooLarge            more than was asked to be held
        NotReady                  it ended before what was waited for
        SurvivorsLeft             a kill not proven; StdinClosed: nobody reads what is sent
      UsageError                  the call was wrong; all but the first also RuntimeError
        InvalidArgument           (also ValueError) parameter, value, rule: BadCursor
        ClosedError  BusyError    the sandbox is closed; somebody else holds it
        MisuseError  Unsupported  another event loop, or after a fork; this far side cannot

Errors carry data; ``str(error)`` makes the sentence.  None is, or shadows, a builtin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hopx_async.hopx_error import ApiError, HopxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hopx_async.model import Exit

__all__ = [
    "AgentFault", "AgentUnreachable", "ApiError", "AuthenticationError", "BadCursor", "BusyError",
    "ClosedError", "CommandError", "CommandFailed", "CommandLost", "CommandNotFound",
    "CommandTimedOut", "ConflictError", "ConnectError", "ConnectionLost", "CreateUncertain",
    "FileNotFound", "HopxError", "InvalidArgument", "LocalProtocolError", "MissingApiKey",
    "MisuseError", "NotFoundError", "NotReady", "OutputTooLarge", "PathNotAllowed", "ProtocolError",
    "RateLimited", "RemoteProtocolError", "RequestTimeout", "SandboxNotFound", "SpawnError",
    "StdinClosed", "SurvivorsLeft", "TemplateNotFound", "TlsError", "TransportError", "Unsupported",
    "UsageError",
]  # fmt: skip


class AuthenticationError(ApiError, code="unauthorized", status=401):
    """The far side does not accept the token or key."""


_NO_KEY = (
    "no API key: set HOPX_API_KEY or pass api_key=... (keys come from the HopX console); "
    "hopx_async.local() works without one"
)


class MissingApiKey(AuthenticationError, ValueError, code="missing_api_key"):
    """A cloud door was opened without an API key; nothing was sent."""

    def __init__(self, message: str = _NO_KEY) -> None:
        super().__init__(message)


class NotFoundError(ApiError, code="not_found", status=404):
    """What was asked for does not exist there."""


class CommandNotFound(NotFoundError, code="command_not_found"):
    """The far side knows no command with this `process_id`."""

    def __init__(self, process_id: str, *, message: str | None = None) -> None:
        super().__init__(message or f"no command {process_id!r} here")
        self.process_id = process_id


class SandboxNotFound(NotFoundError, code="sandbox_not_found"):
    """There is no sandbox with this id."""


class TemplateNotFound(NotFoundError, code="template_not_found"):
    """There is no template with this name; `suggestions` are names that come near."""

    def __init__(self, message: str, *, suggestions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.suggestions = tuple(suggestions)


class FileNotFound(NotFoundError, code="file_not_found"):
    """There is no such file or directory in the sandbox; `path` is what was asked for."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class PathNotAllowed(ApiError, code="path_not_allowed", status=403):
    """The sandbox does not let this `path` be touched: it leads out, or is not permitted."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class ConflictError(ApiError, code="conflict", status=409):
    """The id exists already, with another spec; or a file that was not to be overwritten."""


class RateLimited(ApiError, code="rate_limited", status=429):
    """The far side asks for fewer; `retry_after` is in seconds, None where it did not say."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SpawnError(ApiError, code="spawn_failed", status=422):
    """The program could not be started; nothing of it ran.

    Attributes:
        errno: The system's error number, as on the far side.
        filename: The program or directory that it is about.
    """

    def __init__(self, message: str, *, errno: int | None = None, filename: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.filename = filename


class AgentFault(ApiError, code="agent_fault", status=500):
    """The far side failed by a fault of its own (5xx), a full disk among them (507)."""


class TransportError(HopxError, code="transport"):
    """Nobody answered; whether the far side acted is not known."""


class ConnectError(TransportError, code="connect"):
    """No connection could be made; nothing was sent."""


class ConnectionLost(TransportError, code="connection_lost"):
    """The connection broke while it was in use."""


class RequestTimeout(TransportError, code="request_timeout"):
    """The far side took a request and did not answer in time."""


class AgentUnreachable(TransportError, code="unreachable"):
    """Nobody answered for so long that the client has given up; the next call tries anew.

    Attributes:
        seconds: For how long it was tried.
    """

    def __init__(self, message: str, *, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class CreateUncertain(TransportError, code="create_uncertain"):
    """Whether a sandbox was created is not known; `candidates` are ids of those that may be it."""

    def __init__(self, message: str, *, candidates: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.candidates = tuple(candidates)


class ProtocolError(HopxError, code="protocol"):
    """Client and far side disagree about the protocol."""


class LocalProtocolError(ProtocolError, code="local_protocol"):
    """This side broke the rules: a bug of this library."""


class RemoteProtocolError(ProtocolError, code="remote_protocol"):
    """The far side broke the rules: a gap, an unknown frame, more than was granted."""


class TlsError(ProtocolError, code="tls"):
    """No connection by TLS that can be trusted, now or later; nothing was sent."""


class CommandError(HopxError, code="command"):
    """It is about what became of a command, not about the way to it."""


class CommandFailed(CommandError, code="command_failed"):
    """The command ended otherwise than with exit code 0.

    Attributes:
        exit: How it ended.
        command: The command as it was started.
        name: Its name, None if it has none.
        process_id: Its id.
        tail: The last output of both streams, in order; at most 4 KiB.
    """

    def __init__(
        self,
        exit: Exit,  # noqa: A002  # the word of the product, as on the result
        *,
        command: str | tuple[str, ...],
        process_id: str,
        name: str | None = None,
        tail: bytes = b"",
    ) -> None:
        super().__init__(exit)
        self.exit = exit
        self.command = command
        self.name = name
        self.process_id = process_id
        self.tail = tail

    def __str__(self) -> str:
        command = self.command if isinstance(self.command, str) else " ".join(self.command)
        text = f"{self.name or self.process_id} ({command:.80}) {self.exit}"
        tail = self.tail.decode(errors="replace").rstrip()
        return f"{text}; its last output:\n{tail}" if tail else text


class CommandTimedOut(CommandFailed, code="command_timed_out"):
    """The command ran into its time limit, or printed nothing for its idle limit."""


class CommandLost(CommandFailed, code="command_lost"):
    """How the command ended can no longer be known."""


class OutputTooLarge(CommandError, code="output_too_large"):
    """A command printed more than was asked to be held in memory; it goes on, the log has it.

    Attributes:
        stream: ``"stdout"`` or ``"stderr"``.
        max_bytes: The bound, in bytes.
        handle: The command's handle, None on a copy from another process.
    """

    def __init__(self, stream: str, max_bytes: int, handle: Any = None) -> None:
        super().__init__(stream, max_bytes)
        self.stream = stream
        self.max_bytes = max_bytes
        self.handle = handle

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the handle behind: it belongs to a connection of this process."""
        return (type(self), (self.stream, self.max_bytes))

    def __str__(self) -> str:
        more = f"more than {self.max_bytes} bytes of {self.stream}"
        return f"{more}; raise max_bytes, or read it by events()"


class NotReady(CommandError, code="not_ready"):
    """The command ended before what was waited for.

    Attributes:
        what: What had to come first.
        exit, name, process_id, tail: As of `CommandFailed`; the exit may be ok.
    """

    def __init__(self, what: str, failure: CommandFailed) -> None:
        super().__init__(what, str(failure))
        self.what, self.exit, self.name = what, failure.exit, failure.name
        self.process_id, self.tail = failure.process_id, failure.tail

    def __str__(self) -> str:
        return f"before {self.what}: {self.args[1]}"


class SurvivorsLeft(CommandError, code="survivors_left"):
    """A kill ended with processes of the command still there (a hung mount, say).

    Attributes:
        process_id: The command's id.
        survivors: Pairs of pid and program name on the far side.
        means: How the far side knows: ``"cgroup"``, ``"namespace"`` or ``"ancestry"``.
    """

    def __init__(
        self, process_id: str, survivors: Sequence[tuple[int, str]], means: str = "ancestry"
    ) -> None:
        super().__init__(process_id, tuple(survivors), means)
        self.process_id = process_id
        self.survivors = tuple(survivors)
        self.means = means

    def __str__(self) -> str:
        left = ", ".join(f"{name} ({pid})" for pid, name in self.survivors)
        return f"processes of {self.process_id} outlived SIGKILL: {left} (known by {self.means})"


class StdinClosed(CommandError, code="stdin_closed"):
    """The command takes no input (any more); `process_id` is its id."""

    def __init__(self, message: str, *, process_id: str = "") -> None:
        super().__init__(message)
        self.process_id = process_id


class UsageError(HopxError, code="usage"):
    """The call was wrong; nothing was started."""


class InvalidArgument(UsageError, ValueError, code="invalid_argument"):
    """An argument breaks a rule.

    Attributes:
        parameter: Its name.
        value: Its value as shown in the message; secrets are not shown.
        rule: The rule.
    """

    def __init__(self, parameter: str, value: str, rule: str) -> None:
        super().__init__(parameter, value, rule)
        self.parameter = parameter
        self.value = value
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.parameter}={self.value}: {self.rule}"


class BadCursor(InvalidArgument, code="bad_cursor"):
    """A position that is none, or one of another command or another kind of far side."""


class ClosedError(UsageError, RuntimeError, code="closed"):
    """The sandbox, or this use of it, has been closed."""


class BusyError(UsageError, RuntimeError, code="busy"):
    """Somebody else uses what allows one user at a time."""


class MisuseError(UsageError, RuntimeError, code="misuse"):
    """An object was used in another event loop or process than its own."""


class Unsupported(UsageError, RuntimeError, code="unsupported"):
    """This far side, or this platform, cannot do it; nothing was started."""
