"""A group of commands: none outlives its block, and a failure ends them all."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias, Unpack, get_args

import anyio

from hopx_async.errors import (
    ClosedError,
    CommandFailed,
    InvalidArgument,
    MisuseError,
    SpawnError,
)
from hopx_async.handle import CommandHandle
from hopx_async.model import CommandSpec, refuse
from hopx_async.protocol import lifecycle
from hopx_async.spec import StartOptions, as_spec
from hopx_async.starting import LaterHandle, Starter, end_owned

__all__ = [
    "LIMIT",
    "Group",
    "GroupCompleted",
    "OnError",
    "Places",
    "Spread",
    "check_limit",
    "check_on_error",
]

OnError: TypeAlias = Literal["cancel", "continue"]
#: Commands of a group or a map that run at once, unless told otherwise.
LIMIT = 8


def check_limit(limit: Any) -> None:
    """Raise `InvalidArgument` unless *limit* is a number of commands, or None."""
    if limit is None:
        return
    if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
        raise InvalidArgument("limit", repr(limit), "a number above 0, or None for no limit")


def check_on_error(on_error: Any) -> None:
    """Raise `InvalidArgument` unless *on_error* is one of its words."""
    if on_error not in get_args(OnError):
        raise InvalidArgument("on_error", repr(on_error), "'cancel' or 'continue'")


class Places(Protocol):
    """Where the commands of a group run."""

    async def take(self) -> Starter:
        """Return where the next one starts, once there is room."""
        ...

    async def give(self, starter: Starter) -> None:
        """Note that one of its commands has ended."""

    def close(self) -> None:
        """Note that the group has ended."""


class Spread:
    """Places on several sandboxes: the next command goes where fewest of the group run."""

    def __init__(self, starters: Sequence[Starter]) -> None:
        self._starters = list(starters)
        self._loads = [0] * len(self._starters)

    async def take(self) -> Starter:
        """Return the sandbox with the lowest load, the first of equals."""
        index = self._loads.index(min(self._loads))
        self._loads[index] += 1
        return self._starters[index]

    async def give(self, starter: Starter) -> None:
        """Note that a command has ended there."""
        self._loads[self._starters.index(starter)] -= 1

    def close(self) -> None:
        """Nothing is held."""


class Group:
    """A scope for commands, made by ``sandbox.commands.group()`` or ``hopx_async.group()``.

    Leaving the block waits for all its commands. When the block ends by an exception
    or is cancelled, and with ``on_error="cancel"`` when a command fails, those that run
    are ended (TERM, grace, KILL), concurrently and bounded, and those that wait never start.

    A failed command cancels the block, as a task of ``asyncio.TaskGroup`` does, and the
    block then raises its one `CommandFailed` or `SpawnError`, bare. An exception of the block's
    own arrives as it is. A cancellation from outside wins over both; notes tell the rest.
    A command that was killed on purpose, by its handle, has not failed.

    It holds the handles of its commands until it ends, a few KiB each, and no output. For
    commands without end, ``sandbox.commands.map`` holds only those under way.
    """

    def __init__(self, places: Places, *, limit: Any, on_error: Any, grace: Any) -> None:
        check_limit(limit)
        check_on_error(on_error)
        refuse(lifecycle.problem_with_grace(grace))
        self._places = places
        self._limit: int | None = limit
        self._on_error: OnError = on_error
        self._grace: float = grace
        self._pending: OrderedDict[LaterHandle, CommandSpec] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[CommandHandle] = []
        self._parent: asyncio.Task[Any] | None = None
        # How often its task was asked to cancel before; what comes on top is ours, or new.
        self._cancelling = 0
        self._cancel_requested = False
        self._leaving = False
        self._aborting = False
        self._closed = False
        self._failure: BaseException | None = None
        self._problems: list[str] = []
        self._bell = anyio.Event()

    def start_soon(
        self,
        command: str | Sequence[str | os.PathLike[str]] | CommandSpec,
        **options: Unpack[StartOptions],
    ) -> CommandHandle:
        """Start a command when there is a place, in the order of the calls.

        Its handle is there at once; what is awaited of it waits for the start, and raises
        `SpawnError` if there is nothing to start, `ClosedError` if the group ended before.
        Killed while it waits, it never starts.

        Args:
            command: As for ``start``, or a spec, which takes no options.
            options: As for ``start``.

        Raises:
            InvalidArgument: If an argument breaks a rule.
            MisuseError: If the block was not entered.
            ClosedError: If the group has ended, or is being ended.
        """
        spec = as_spec(command, options)
        if self._parent is None:
            raise MisuseError("a group starts commands inside its block: async with ... as group")
        if self._closed or self._aborting:
            raise ClosedError("the group has ended" if self._closed else "the group is ending")
        handle = LaterHandle(spec, self._withdraw)
        self._pending[handle] = spec
        self._fill()
        return handle

    def completed(self) -> GroupCompleted:
        """Iterate over the handles as their commands end, from the first that did.

        It ends when nothing of the group runs or waits. Those that failed to start come, too.
        """
        return GroupCompleted(self)

    async def __aenter__(self) -> Self:
        if self._parent is not None:
            raise MisuseError("a group is entered once")
        self._parent = asyncio.current_task()
        assert self._parent is not None
        self._cancelling = self._parent.cancelling()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leaving = True
        outer = exc if isinstance(exc, asyncio.CancelledError) else None
        if self._cancel_requested:
            assert self._parent is not None
            if self._parent.uncancel() <= self._cancelling:
                outer = None  # it was ours alone
        if exc is not None:
            self._abort()
        outer = await self._drain() or outer
        self._closed = True
        self._places.close()
        mine = exc if not isinstance(exc, asyncio.CancelledError) else None
        self._raise(outer or mine, exc)

    def _raise(self, error: BaseException | None, exc: BaseException | None) -> None:
        """Raise what the block ends by, unless that is *exc* itself, which goes on anyway."""
        failure, self._failure = self._failure, None
        chosen = error or failure
        if chosen is None:
            return
        if failure is not None and chosen is not failure:
            chosen.add_note(f"a command of its group failed: {failure}")
        for problem in self._problems:
            chosen.add_note(problem)
        if chosen is failure:
            # That the block was cancelled is no more than how the news came.
            raise chosen from chosen.__cause__
        if chosen is not exc:
            raise chosen

    def __repr__(self) -> str:
        state = "ended" if self._closed else "ending" if self._aborting else "open"
        return f"<Group {state}, {len(self._tasks)} running, {len(self._pending)} waiting>"

    # Its commands.

    def _fill(self) -> None:
        while self._pending and (self._limit is None or len(self._tasks) < self._limit):
            handle, spec = self._pending.popitem(last=False)
            task = asyncio.create_task(self._serve(spec, handle), name=f"hopx {spec.process_id}")
            self._tasks.add(task)
            task.add_done_callback(partial(self._served, handle))

    def _withdraw(self, handle: LaterHandle) -> bool:
        """Forget a command that waits; return whether it did, and now never starts."""
        if self._pending.pop(handle, None) is None:
            return False
        self._ended.append(handle)
        self._ring()
        return True

    async def _serve(self, spec: CommandSpec, handle: LaterHandle) -> None:
        starter = await self._places.take()
        try:
            handle.begin(await starter._start(spec, owned=True))  # noqa: SLF001
            try:
                fate = await handle.wait()
            except BaseException:
                await end_owned(handle, self._grace, self._problems)
                raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._places.give(starter)
        if fate.reason != "killed":
            await handle.wait(check=True)

    def _served(self, handle: LaterHandle, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            handle.fail(_never())
        else:
            self._ended.append(handle)
            error = task.exception()
            if error is not None:
                handle.fail(error)
                self._failed(error)
        self._fill()
        self._ring()

    def _failed(self, error: BaseException) -> None:
        if self._on_error == "continue" and isinstance(error, (CommandFailed, SpawnError)):
            return  # the handle tells it; what is no fate of a command ends the group all the same
        if self._aborting:
            return
        self._failure = error
        self._abort()
        if not self._leaving:
            assert self._parent is not None
            self._cancel_requested = True
            self._parent.cancel()

    # Its end.

    def _abort(self) -> None:
        if self._aborting:
            return
        self._aborting = True
        pending, self._pending = self._pending, OrderedDict()
        for handle in pending:
            handle.fail(_never())
        for task in self._tasks:
            task.cancel()
        self._ring()

    async def _drain(self) -> asyncio.CancelledError | None:
        """Wait until nothing runs or waits; return the cancellation that came meanwhile."""
        outer: asyncio.CancelledError | None = None
        while self._tasks or self._pending:
            try:
                # While it is being ended, scopes around it wait: each of its tasks is bounded.
                with anyio.CancelScope(shield=self._aborting):
                    await self._news()
            except asyncio.CancelledError as error:
                outer = outer or error
                self._abort()
        return outer

    async def _news(self) -> None:
        await self._bell.wait()

    def _ring(self) -> None:
        bell, self._bell = self._bell, anyio.Event()
        bell.set()


class GroupCompleted(AsyncIterator[CommandHandle]):
    """An async iterator of a group's handles as their commands end, made by ``completed()``."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._taken = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CommandHandle:
        """Return the next handle whose command has ended. Cancelling it is safe: none is lost."""
        group = self._group
        while self._taken >= len(group._ended):  # noqa: SLF001  # a group and its view
            if not group._tasks and not group._pending:  # noqa: SLF001
                raise StopAsyncIteration
            await group._news()  # noqa: SLF001
        handle = group._ended[self._taken]  # noqa: SLF001
        self._taken += 1
        return handle


def _never() -> ClosedError:
    return ClosedError("its group ended before the command had started")
