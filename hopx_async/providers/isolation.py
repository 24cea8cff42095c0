"""What a caller asked of isolation, held against what the agent has."""

from __future__ import annotations

import warnings

from hopx_async.errors import InvalidArgument, Unsupported
from hopx_async.model import Capabilities

__all__ = ["check_asked", "check_found", "resolve", "warn_of_fallback"]

_ASKED = ("none", "namespace", "auto")


def check_asked(isolation: object, *, internet_access: object) -> None:
    """Refuse what is no way of isolation, or forbids the network without any.

    Raises:
        InvalidArgument: If it does.
    """
    if isolation not in _ASKED:
        raise InvalidArgument("isolation", repr(isolation), "one of " + ", ".join(_ASKED))
    if not isinstance(internet_access, bool):
        raise InvalidArgument("internet_access", repr(internet_access), "true or false")
    if isolation == "none" and not internet_access:
        rule = "to forbid it needs isolation='namespace' or 'auto'"
        raise InvalidArgument("internet_access", "False", rule)


def check_found(found: Capabilities, isolation: str, *, internet_access: bool) -> None:
    """Refuse a detached agent that runs already and holds less than was asked for.

    Raises:
        Unsupported: If it does.
    """
    if isolation == "namespace" and found.isolation != "namespace":
        raise Unsupported("the agent that runs on this state_dir was started without isolation")
    if not internet_access and found.internet_access:
        raise Unsupported("the agent that runs on this state_dir was started with internet access")


def resolve(isolation: str, state_dir: str) -> tuple[str, str]:
    """Return what a way of isolation becomes on this machine, tried out, and why if it is less.

    It blocks while it tries: call it in a thread.

    Args:
        isolation: ``none``, ``namespace`` or ``auto``.
        state_dir: Where the agents' directories are going to be.

    Returns:
        ``none`` or ``namespace``; with ``none`` for ``auto`` the reason, else "".

    Raises:
        Unsupported: If ``namespace`` was asked for and cannot be had; it says why.
        InvalidArgument: If it is no way of isolation.
    """
    check_asked(isolation, internet_access=True)
    # Linux alone has these; the rest of this module is for everybody.
    from hopx_async.keeper import enter
    from hopx_async.keeper.options import Options, RootError

    options = Options()
    options.isolation, options.state_dir = isolation, state_dir
    try:
        enter.prepare(options)
    except RootError as error:
        if error.code == "invalid_argument":
            rule = str(error.data["rule"])
            raise InvalidArgument("--state-dir", repr(state_dir), rule) from None
        raise Unsupported(str(error)) from None
    return options.isolation, options.isolation_missing


def warn_of_fallback(why: str) -> None:
    """Tell the user that ``auto`` found no isolation, and *why*; once, as Python warns."""
    warnings.warn(
        f"hopx_async.local(isolation='auto') runs without isolation: {why}",
        RuntimeWarning,
        stacklevel=2,
    )
