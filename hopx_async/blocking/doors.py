"""The doors, and what follows many handles, for callers without an event loop."""

# ruff: noqa: SLF001  # what stands for a thing is taken apart here

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, cast, overload

import anyio.to_thread

from hopx_async import gathering as _gathering
from hopx_async import pooling as _pooling
from hopx_async import sandbox as _sandbox
from hopx_async import spreading as _spreading
from hopx_async.blocking.entering import enter, open_now, unopened
from hopx_async.blocking.portal import Portal
from hopx_async.blocking.sandboxes import Pool, Sandbox
from hopx_async.blocking.words import AsCompleted, CommandHandle, Group, MergedStream
from hopx_async.blocking.wrapping import Wrapper, stand_for
from hopx_async.errors import InvalidArgument
from hopx_async.opening import Opening
from hopx_async.providers import local as _local
from hopx_async.providers import remote as _remote
from hopx_async.providers import through as _through

__all__ = [
    "as_completed",
    "group",
    "local",
    "merge",
    "opened",
    "pool",
    "remote",
    "through",
    "wait_any",
]

P = ParamSpec("P")
W = TypeVar("W", bound=Wrapper[Any])


@overload
def opened(opening: Opening[_sandbox.Sandbox]) -> Sandbox: ...
@overload
def opened(opening: Opening[_pooling.Pool]) -> Pool: ...
def opened(opening: Opening[Any]) -> Any:
    """Open what any asynchronous door returns, such as one of ``hopx_async.testing``.

    Args:
        opening: What the door returned, not awaited.

    Raises:
        HopxError: As for the door.
        MisuseError: In the thread of the portal's own event loop.
    """
    return open_now(opening)


def _door(function: Callable[P, Opening[Any]], kind: type[W]) -> Callable[P, W]:  # noqa: ARG001  # for type checkers
    @wraps(function)
    def door(*args: P.args, **kwargs: P.kwargs) -> W:
        return cast("W", enter(function(*args, **kwargs)))

    return door


local = _door(_local.local, Sandbox)
remote = _door(_remote.remote, Sandbox)
through = _door(_through.through, Sandbox)


def pool(
    factory: Callable[[], Sandbox | Awaitable[_sandbox.Sandbox]],
    *,
    reset: Callable[[Sandbox], object] | None = None,
    **sizes: int,
) -> Pool:
    """Open a pool of sandboxes; see ``hopx_async.pool``.

    Args:
        factory: Returns what a door returns, untouched: `local`, or a function that calls it; or
            an asynchronous door, or function.
        reset: Cleans a used sandbox for its next user, in a thread of its own; None replaces it.
        sizes: *min_size* and *max_size*, as there.

    Raises:
        InvalidArgument: If an argument breaks a rule.
        HopxError: What *factory* raises; then nothing is left open.
    """

    async def make() -> _sandbox.Sandbox:
        token = unopened.set(True)
        try:
            made = factory()
        finally:
            unopened.reset(token)
        return await cast("Awaitable[_sandbox.Sandbox]", made)

    async def clean(sandbox: _sandbox.Sandbox) -> None:
        portal = Portal.current()
        assert portal is not None, "the pool is open"
        assert reset is not None, "it is callable"
        ours = stand_for(portal, sandbox)
        await anyio.to_thread.run_sync(reset, ours, abandon_on_cancel=True)

    maker: Any = make if callable(factory) else factory
    cleaner: Any = clean if callable(reset) else reset
    return opened(_pooling.pool(maker, reset=cleaner, **sizes))


def as_completed(handles: Iterable[CommandHandle]) -> AsCompleted:
    """Iterate over handles as their commands end; see ``hopx_async.as_completed``.

    Raises:
        InvalidArgument: If something among them is no handle, or nothing is open.
    """
    return cast("AsCompleted", _of_handles(_gathering.as_completed, handles))


def wait_any(handles: Iterable[CommandHandle]) -> CommandHandle:
    """Wait until one of several commands has ended; see ``hopx_async.wait_any``.

    Raises:
        InvalidArgument: If there is none, or something among them is no handle.
    """
    return cast("CommandHandle", _of_handles(_gathering.wait_any, handles))


def merge(handles: Iterable[CommandHandle]) -> MergedStream:
    """Return the events of several commands as one stream; see ``hopx_async.merge``.

    Raises:
        InvalidArgument: If something among them is no handle, or nothing is open.
    """
    return cast("MergedStream", _of_handles(_gathering.merge, handles))


def group(sandboxes: Pool | Iterable[Sandbox], **options: Any) -> Group:
    """Return a scope for commands that spread over sandboxes; see ``hopx_async.group``.

    Args:
        sandboxes: Sandboxes, or a pool.
        options: As there.

    Raises:
        InvalidArgument: If an argument breaks a rule, or nothing is open.
    """
    if isinstance(sandboxes, Pool):
        inner: Any = sandboxes._inner
    else:
        inner = sandboxes
        if isinstance(inner, Iterable):
            inner = [_inner(sandbox) for sandbox in inner]
    return cast("Group", _carried_out("sandboxes", partial(_spreading.group, inner, **options)))


def _of_handles(function: Callable[[Any], Any], handles: Any) -> Any:
    if isinstance(handles, Iterable):
        handles = [_inner(handle) for handle in handles]
    return _carried_out("handles", partial(function, handles))


def _inner(value: Any) -> Any:
    return value._inner if isinstance(value, Wrapper) else value


def _carried_out(parameter: str, function: Callable[[], Any]) -> Any:
    portal = Portal.current()
    if portal is None:
        raise InvalidArgument(parameter, "(none open)", "of sandboxes that are open")
    return stand_for(portal, portal.call(function))
