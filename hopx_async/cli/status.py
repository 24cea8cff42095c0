"""Exit statuses, as a shell knows them."""

from __future__ import annotations

import signal

from hopx_async.errors import (
    HopxError,
    InvalidArgument,
    MissingApiKey,
    NotFoundError,
    SpawnError,
    Unsupported,
    UsageError,
)
from hopx_async.model import Exit

__all__ = ["BAD_INPUT", "SIGNALED", "error_status", "exit_status"]

#: What was asked for is wrong; nothing was started.
BAD_INPUT = 2
#: The status of an end by signal n is this and n.
SIGNALED = 128
_TIMED_OUT, _TROUBLE, _NOT_STARTED = 124, 125, 127


def exit_status(fate: Exit | HopxError | None) -> int:
    """Return a shell's exit status for how a command ended."""
    if isinstance(fate, (InvalidArgument, Unsupported)):
        return BAD_INPUT
    if not isinstance(fate, Exit):
        return _NOT_STARTED if isinstance(fate, SpawnError) else _TROUBLE
    if fate.reason == "timed_out":
        return _TIMED_OUT
    if fate.signal is not None:
        return SIGNALED + getattr(signal, fate.signal, 0)
    if fate.exit_code is not None:
        return fate.exit_code if fate.reason == "exited" else fate.exit_code or 1
    return _TROUBLE


def error_status(error: HopxError | OSError) -> int:
    """Return the exit status for an error: whose fault it was."""
    if isinstance(error, (UsageError, NotFoundError, MissingApiKey, OSError)):
        return BAD_INPUT
    return exit_status(error)
