"""Arguments of a handle's calls, checked at the boundary, before anything is sent."""

from __future__ import annotations

import signal as signals
from typing import Any

from hopx_async.errors import InvalidArgument
from hopx_async.protocol import lifecycle
from hopx_async.protocol.collect import Collector

__all__ = [
    "check_flag",
    "check_last",
    "check_seconds",
    "check_stream",
    "new_collector",
    "signal_name",
]


def check_flag(parameter: str, value: Any) -> None:
    """Raise `InvalidArgument` unless *value* is True or False: ``"no"`` would count as yes."""
    if not isinstance(value, bool):
        raise InvalidArgument(parameter, repr(value)[:80], "True or False")


def check_seconds(parameter: str, value: float) -> None:
    """Raise `InvalidArgument` unless *value* is a finite number of seconds above 0."""
    if not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise InvalidArgument(parameter, repr(value), "a finite number of seconds above 0")


def new_collector(max_bytes: Any, keep: Any) -> Collector:
    """Return what holds at most *max_bytes* of each stream.

    Raises:
        InvalidArgument: If one of them is nothing of the kind.
    """
    if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes <= 0:
        raise InvalidArgument("max_bytes", repr(max_bytes), "a number of bytes above 0")
    if keep not in {None, "head+tail"}:
        raise InvalidArgument("keep", repr(keep), "'head+tail', or None to keep everything")
    return Collector(max_bytes, cut=keep is not None)


def check_stream(stream: Any) -> None:
    """Raise `InvalidArgument` unless *stream* is one, or None for both."""
    if stream not in {None, "stdout", "stderr"}:
        raise InvalidArgument("stream", repr(stream), "'stdout', 'stderr' or None for both")


def check_last(last: Any, after: Any) -> None:
    """Raise `InvalidArgument` unless *last* is a number of lines without *after*, or None."""
    if last is None:
        return
    if not isinstance(last, int) or isinstance(last, bool) or last <= 0:
        raise InvalidArgument("last", repr(last), "a number of lines above 0")
    if after is not None:
        raise InvalidArgument("last", repr(last), "either last or after, not both")


def signal_name(signal: Any) -> str:
    """Return the name under which *signal* travels: ``"INT"``, ``"SIGINT"`` and 2 are one.

    Raises:
        InvalidArgument: If it is no signal that can be sent.
    """
    name = signal
    if isinstance(signal, int) and not isinstance(signal, bool):
        try:
            name = signals.Signals(signal).name
        except ValueError:
            name = repr(signal)
    elif isinstance(signal, str) and not signal.startswith("SIG"):
        name = f"SIG{signal}"
    if name not in lifecycle.SIGNAL_NAMES:
        rule = f"one of {', '.join(sorted(lifecycle.SIGNAL_NAMES))}"
        raise InvalidArgument("signal", repr(signal), rule)
    return str(name)
