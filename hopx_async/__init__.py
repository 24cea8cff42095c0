"""Commands in sandboxes, as async iterators of events.

``hopx_async.local()`` and ``hopx_async.remote()`` open a sandbox;
``sandbox.commands.start()`` returns a handle; ``handle.events()`` and
``handle.wait()`` follow it.  Importing this module loads nothing else: each name
is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):  # noqa: UP036  # one clear sentence for who copies the files
    raise ImportError("hopx_async needs Python 3.11 or newer")

if TYPE_CHECKING:
    from hopx_async.commands import Commands as Commands
    from hopx_async.errors import (
        AgentFault as AgentFault,
        AgentUnreachable as AgentUnreachable,
        ApiError as ApiError,
        AuthenticationError as AuthenticationError,
        BadCursor as BadCursor,
        BusyError as BusyError,
        ClosedError as ClosedError,
        CommandError as CommandError,
        CommandFailed as CommandFailed,
        CommandLost as CommandLost,
        CommandNotFound as CommandNotFound,
        CommandTimedOut as CommandTimedOut,
        ConflictError as ConflictError,
        ConnectError as ConnectError,
        ConnectionLost as ConnectionLost,
        HopxError as HopxError,
        InvalidArgument as InvalidArgument,
        LocalProtocolError as LocalProtocolError,
        MissingApiKey as MissingApiKey,
        MisuseError as MisuseError,
        NotFoundError as NotFoundError,
        OutputTooLarge as OutputTooLarge,
        ProtocolError as ProtocolError,
        RateLimited as RateLimited,
        RemoteProtocolError as RemoteProtocolError,
        RequestTimeout as RequestTimeout,
        SandboxNotFound as SandboxNotFound,
        SpawnError as SpawnError,
        SurvivorsLeft as SurvivorsLeft,
        TemplateNotFound as TemplateNotFound,
        TransportError as TransportError,
        Unsupported as Unsupported,
        UsageError as UsageError,
    )
    from hopx_async.handle import CommandHandle as CommandHandle
    from hopx_async.model import (
        Capabilities as Capabilities,
        CommandInfo as CommandInfo,
        CommandRef as CommandRef,
        CommandResult as CommandResult,
        CommandSpec as CommandSpec,
        EndReason as EndReason,
        Exit as Exit,
        Output as Output,
        Status as Status,
        Usage as Usage,
    )
    from hopx_async.opening import Opening as Opening
    from hopx_async.protocol.events import (
        Event as Event,
        Exited as Exited,
        Lost as Lost,
        Started as Started,
        Stderr as Stderr,
        Stdout as Stdout,
        Truncated as Truncated,
    )
    from hopx_async.providers.local import local as local
    from hopx_async.providers.remote import remote as remote
    from hopx_async.sandbox import Sandbox as Sandbox
    from hopx_async.stream import EventStream as EventStream

__version__ = "0.1.0"

_HOMES = {
    "commands": "Commands",
    "errors": "AgentFault AgentUnreachable ApiError AuthenticationError BadCursor BusyError"
    " ClosedError CommandError CommandFailed CommandLost CommandNotFound CommandTimedOut"
    " ConflictError ConnectError ConnectionLost HopxError InvalidArgument LocalProtocolError"
    " MissingApiKey MisuseError NotFoundError OutputTooLarge ProtocolError RateLimited"
    " RemoteProtocolError RequestTimeout SandboxNotFound SpawnError SurvivorsLeft"
    " TemplateNotFound TransportError Unsupported UsageError",
    "handle": "CommandHandle",
    "model": "Capabilities CommandInfo CommandRef CommandResult CommandSpec EndReason Exit Output"
    " Status Usage",
    "opening": "Opening",
    "protocol.events": "Event Exited Lost Started Stderr Stdout Truncated",
    "providers.local": "local",
    "providers.remote": "remote",
    "sandbox": "Sandbox",
    "stream": "EventStream",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted([*_HOME_OF, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
