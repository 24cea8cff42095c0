"""What can go wrong, and whose fault it was.

::

    HopxError
      ApiError                    the far side said no: status, code, request_id
        AuthenticationError
          MissingApiKey           (also ValueError) no key was given
        NotFoundError
          CommandNotFound         SandboxNotFound  TemplateNotFound
        ConflictError             the id exists with another spec
        RateLimited               retry_after
        SpawnError                the program could not be started: errno, filename
        AgentFault                5xx: the far side is at fault
      TransportError              nobody answered
        ConnectError  ConnectionLost  RequestTimeout  AgentUnreachable
      ProtocolError               the two disagree
        LocalProtocolError        a bug of ours
        RemoteProtocolError       theirs: a gap, an unknown frame, too much at once
      CommandError                the command's own fate
        CommandFailed             it did not complete: exit, tail
          CommandTimedOut  CommandLost
        OutputTooLarge
        SurvivorsLeft             a kill that could not be proven: survivors
      UsageError                  the call was wrong
        InvalidArgument           (also ValueError) parameter, value, rule
          BadCursor
        ClosedError               (also RuntimeError) the sandbox is closed
        BusyError                 (also RuntimeError) somebody else holds it
        MisuseError               (also RuntimeError) another event loop, after a fork
        Unsupported               (also RuntimeError) this far side or platform cannot

Errors carry data; ``str(error)`` makes the sentence.  None of them is, or
shadows, a builtin such as ``TimeoutError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hopx_async.model import Exit

__all__ = [
    "AgentFault",
    "AgentUnreachable",
    "ApiError",
    "AuthenticationError",
    "BadCursor",
    "BusyError",
    "ClosedError",
    "CommandError",
    "CommandFailed",
    "CommandLost",
    "CommandNotFound",
    "CommandTimedOut",
    "ConflictError",
    "ConnectError",
    "ConnectionLost",
    "HopxError",
    "InvalidArgument",
    "LocalProtocolError",
    "MisuseError",
    "MissingApiKey",
    "NotFoundError",
    "OutputTooLarge",
    "ProtocolError",
    "RateLimited",
    "RemoteProtocolError",
    "RequestTimeout",
    "SandboxNotFound",
    "SpawnError",
    "SurvivorsLeft",
    "TemplateNotFound",
    "TransportError",
    "Unsupported",
    "UsageError",
]


class HopxError(Exception):
    """Everything that this library raises on purpose.

    Attributes:
        code: A stable word for the kind of error, as it travels between client and agent.
    """

    code: ClassVar[str] = "error"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state, so that keyword-only arguments survive a process pool."""
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[HopxError], args: tuple[Any, ...], state: dict[str, Any]) -> HopxError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


# The far side said no.


class ApiError(HopxError):
    """The far side answered, and its answer is no.

    Attributes:
        message: The far side's own sentence.
        status: HTTP status of the answer.
        request_id: The far side's id of the request, None where it gave none.
    """

    code: ClassVar[str] = "api_error"
    status: int = 400

    def __init__(
        self, message: str, *, status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        suffix = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.message}{suffix}"


class AuthenticationError(ApiError):
    """The far side does not accept the token or key."""

    code = "unauthorized"
    status = 401


class MissingApiKey(AuthenticationError, ValueError):
    """A cloud door was opened without an API key; nothing was sent."""

    code = "missing_api_key"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(
            message
            or "no API key: set HOPX_API_KEY or pass api_key=... (keys come from the HopX console); "
            "hopx_async.local() works without one"
        )


class NotFoundError(ApiError):
    """What was asked for does not exist there."""

    code = "not_found"
    status = 404


class CommandNotFound(NotFoundError):
    """The far side knows no command with this id.

    Attributes:
        process_id: The id asked for.
    """

    code = "command_not_found"

    def __init__(self, process_id: str, *, message: str | None = None) -> None:
        super().__init__(message or f"no command {process_id!r} here")
        self.process_id = process_id


class SandboxNotFound(NotFoundError):
    """There is no sandbox with this id."""

    code = "sandbox_not_found"


class TemplateNotFound(NotFoundError):
    """There is no template with this name.

    Attributes:
        suggestions: Names that come near.
    """

    code = "template_not_found"

    def __init__(
        self, message: str, *, suggestions: Sequence[str] = (), request_id: str | None = None
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.suggestions = tuple(suggestions)


class ConflictError(ApiError):
    """The id exists already, with another spec."""

    code = "conflict"
    status = 409


class RateLimited(ApiError):
    """The far side asks for fewer requests.

    Attributes:
        retry_after: Seconds to wait, None where it did not say.
    """

    code = "rate_limited"
    status = 429

    def __init__(
        self, message: str, *, retry_after: float | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.retry_after = retry_after


class SpawnError(ApiError):
    """The program could not be started; nothing of it ran.

    Attributes:
        errno: The system's error number, as on the far side.
        filename: The program or directory that it is about.
    """

    code = "spawn_failed"
    status = 422

    def __init__(self, message: str, *, errno: int | None = None, filename: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.filename = filename


class AgentFault(ApiError):
    """The far side failed by a fault of its own (5xx), a full disk among them (507)."""

    code = "agent_fault"
    status = 500


# Nobody answered.


class TransportError(HopxError):
    """Nobody answered; whether the far side acted is not known."""

    code = "transport"


class ConnectError(TransportError):
    """No connection could be made; nothing was sent."""

    code = "connect"


class ConnectionLost(TransportError):
    """The connection broke while it was in use."""

    code = "connection_lost"


class RequestTimeout(TransportError):
    """The far side took a request and did not answer in time."""

    code = "request_timeout"


class AgentUnreachable(TransportError):
    """Nobody answered for so long that the client has given up; the next call tries anew.

    Attributes:
        seconds: For how long it was tried.
    """

    code = "unreachable"

    def __init__(self, message: str, *, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


# The two disagree.


class ProtocolError(HopxError):
    """Client and far side disagree about the protocol."""

    code = "protocol"


class LocalProtocolError(ProtocolError):
    """This side broke the rules: a bug of this library."""

    code = "local_protocol"


class RemoteProtocolError(ProtocolError):
    """The far side broke the rules: a gap, an unknown frame, more than was granted."""

    code = "remote_protocol"


# The command's own fate.


class CommandError(HopxError):
    """It is about what became of a command, not about the way to it."""

    code = "command"


class CommandFailed(CommandError):
    """The command ended otherwise than with exit code 0.

    Attributes:
        exit: How it ended.
        command: The command as it was started.
        name: Its name, None if it has none.
        process_id: Its id.
        tail: The last output of both streams, in order; at most 4 KiB.
    """

    code = "command_failed"

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
        shown = command if len(command) <= 80 else command[:77] + "..."
        label = self.name or self.process_id
        text = f"{label} ({shown}) {self.exit}"
        tail = self.tail.decode(errors="replace").rstrip()
        return f"{text}; its last output:\n{tail}" if tail else text


class CommandTimedOut(CommandFailed):
    """The command ran into its time limit, or printed nothing for its idle limit."""

    code = "command_timed_out"


class CommandLost(CommandFailed):
    """How the command ended can no longer be known."""

    code = "command_lost"


class OutputTooLarge(CommandError):
    """A command printed more than was asked to be held in memory; it goes on, the log has it.

    Attributes:
        stream: ``"stdout"`` or ``"stderr"``.
        max_bytes: The bound, in bytes.
        handle: The command's handle, None on a copy from another process.
    """

    code = "output_too_large"

    def __init__(self, stream: str, max_bytes: int, handle: Any = None) -> None:
        super().__init__(stream, max_bytes)
        self.stream = stream
        self.max_bytes = max_bytes
        self.handle = handle

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the handle behind: it belongs to a connection of this process."""
        return (type(self), (self.stream, self.max_bytes))

    def __str__(self) -> str:
        return (
            f"more than {self.max_bytes} bytes of {self.stream}; "
            "raise max_bytes, or read it by events()"
        )


class SurvivorsLeft(CommandError):
    """A kill ended with processes of the command still there (a hung mount, say).

    Attributes:
        process_id: The command's id.
        survivors: Pairs of pid and program name on the far side.
        means: How the far side knows: ``"cgroup"``, ``"namespace"`` or ``"ancestry"``.
    """

    code = "survivors_left"

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


# The call was wrong.


class UsageError(HopxError):
    """The call was wrong; nothing was started."""

    code = "usage"


class InvalidArgument(UsageError, ValueError):
    """An argument breaks a rule.

    Attributes:
        parameter: Its name.
        value: Its value as shown in the message; secrets are not shown.
        rule: The rule.
    """

    code = "invalid_argument"

    def __init__(self, parameter: str, value: str, rule: str) -> None:
        super().__init__(parameter, value, rule)
        self.parameter = parameter
        self.value = value
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.parameter}={self.value}: {self.rule}"


class BadCursor(InvalidArgument):
    """A position that is none, or one of another command or another kind of far side."""

    code = "bad_cursor"


class ClosedError(UsageError, RuntimeError):
    """The sandbox, or this use of it, has been closed."""

    code = "closed"


class BusyError(UsageError, RuntimeError):
    """Somebody else uses what allows one user at a time."""

    code = "busy"


class MisuseError(UsageError, RuntimeError):
    """An object was used in another event loop or process than its own."""

    code = "misuse"


class Unsupported(UsageError, RuntimeError):
    """This far side, or this platform, cannot do it; nothing was started."""

    code = "unsupported"
