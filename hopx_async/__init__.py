"""Commands in sandboxes, as async iterators of events.

``hopx_async.local()``, ``hopx_async.remote()`` and ``Sandbox.create()`` open a sandbox;
``sandbox.commands.start()`` returns a handle; ``handle.events()`` and
``handle.wait()`` follow it.  Importing this module loads nothing else: each name
is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import sys

# As typing's, which takes long to load: keepers load this module, and do without.
TYPE_CHECKING = False

if sys.version_info < (3, 11):  # noqa: UP036  # one clear sentence for who copies the files
    raise ImportError("hopx_async needs Python 3.11 or newer")

if TYPE_CHECKING:
    from hopx_async.commands import Commands
    from hopx_async.environment import Environment
    from hopx_async.errors import (
        AgentFault,
        AgentUnreachable,
        ApiError,
        AuthenticationError,
        BadCursor,
        BusyError,
        ClosedError,
        CommandError,
        CommandFailed,
        CommandLost,
        CommandNotFound,
        CommandTimedOut,
        ConflictError,
        ConnectError,
        ConnectionLost,
        CreateUncertain,
        FileNotFound,
        HopxError,
        InvalidArgument,
        LocalProtocolError,
        MissingApiKey,
        MisuseError,
        NotFoundError,
        NotReady,
        OutputTooLarge,
        PathNotAllowed,
        ProtocolError,
        RateLimited,
        RemoteProtocolError,
        RequestTimeout,
        SandboxNotFound,
        SpawnError,
        StdinClosed,
        SurvivorsLeft,
        TemplateNotFound,
        TlsError,
        TransportError,
        Unsupported,
        UsageError,
    )
    from hopx_async.files import Files
    from hopx_async.gathering import AsCompleted, MergedStream, as_completed, merge, wait_any
    from hopx_async.grouping import Group, GroupCompleted
    from hopx_async.handle import CommandHandle
    from hopx_async.listing import Listing
    from hopx_async.mapping import MapStream
    from hopx_async.model import (
        Capabilities,
        CommandInfo,
        CommandRef,
        CommandResult,
        CommandSpec,
        EndReason,
        Exit,
        Limits,
        Output,
        Status,
        Totals,
    )
    from hopx_async.opening import Opening
    from hopx_async.pooling import Pool, pool
    from hopx_async.protocol.cloud import SandboxInfo, TemplateInfo
    from hopx_async.protocol.events import (
        Event,
        Exited,
        Lost,
        Started,
        Stderr,
        Stdout,
        Truncated,
        Usage,
    )
    from hopx_async.protocol.file_answers import FileEvent, FileInfo
    from hopx_async.protocol.text import Line, Text
    from hopx_async.providers.cloud import Client
    from hopx_async.providers.local import local
    from hopx_async.providers.remote import remote
    from hopx_async.providers.through import through
    from hopx_async.readiness import OutputMatch
    from hopx_async.sandbox import Sandbox
    from hopx_async.secret import Secret
    from hopx_async.spreading import group
    from hopx_async.stream import END, EventStream, LineStream, TextStream
    from hopx_async.watching import FileWatch

__version__ = "0.1.0"

__all__ = [
    "END",
    "AgentFault",
    "AgentUnreachable",
    "ApiError",
    "AsCompleted",
    "AuthenticationError",
    "BadCursor",
    "BusyError",
    "Capabilities",
    "Client",
    "ClosedError",
    "CommandError",
    "CommandFailed",
    "CommandHandle",
    "CommandInfo",
    "CommandLost",
    "CommandNotFound",
    "CommandRef",
    "CommandResult",
    "CommandSpec",
    "CommandTimedOut",
    "Commands",
    "ConflictError",
    "ConnectError",
    "ConnectionLost",
    "CreateUncertain",
    "EndReason",
    "Environment",
    "Event",
    "EventStream",
    "Exit",
    "Exited",
    "FileEvent",
    "FileInfo",
    "FileNotFound",
    "FileWatch",
    "Files",
    "Group",
    "GroupCompleted",
    "HopxError",
    "InvalidArgument",
    "Limits",
    "Line",
    "LineStream",
    "Listing",
    "LocalProtocolError",
    "Lost",
    "MapStream",
    "MergedStream",
    "MissingApiKey",
    "MisuseError",
    "NotFoundError",
    "NotReady",
    "Opening",
    "Output",
    "OutputMatch",
    "OutputTooLarge",
    "PathNotAllowed",
    "Pool",
    "ProtocolError",
    "RateLimited",
    "RemoteProtocolError",
    "RequestTimeout",
    "Sandbox",
    "SandboxInfo",
    "SandboxNotFound",
    "Secret",
    "SpawnError",
    "Started",
    "Status",
    "Stderr",
    "StdinClosed",
    "Stdout",
    "SurvivorsLeft",
    "TemplateInfo",
    "TemplateNotFound",
    "Text",
    "TextStream",
    "TlsError",
    "Totals",
    "TransportError",
    "Truncated",
    "Unsupported",
    "Usage",
    "UsageError",
    "__version__",
    "as_completed",
    "group",
    "local",
    "merge",
    "pool",
    "remote",
    "through",
    "wait_any",
]  # fmt: skip

# Each home builds on those before it, so that looking for a name loads hardly more than it needs.
_HOMES = (
    "errors", "secret", "model", "opening", "providers.local", "protocol.events", "protocol.text",
    "stream", "readiness", "handle", "grouping", "mapping", "commands", "environment",
    "protocol.file_answers", "watching", "files",
    "protocol.cloud", "sandbox", "listing", "providers.remote", "providers.cloud",
    "providers.through", "gathering", "pooling", "spreading",
)  # fmt: skip

if not TYPE_CHECKING:  # a type checker is to know the names above, and no others

    def __getattr__(name: str) -> object:
        if name in __all__:
            for home in _HOMES:
                module = importlib.import_module(f"{__name__}.{home}")
                if name in module.__all__:
                    value = globals()[name] = getattr(module, name)
                    return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
