"""The words of the library, each as a class whose methods block."""

# ruff: noqa: SLF001  # what stands for a thing looks into it

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import anyio.to_thread

from hopx_async import commands as _commands
from hopx_async import environment as _environment
from hopx_async import gathering as _gathering
from hopx_async import grouping as _grouping
from hopx_async import handle as _handle
from hopx_async import mapping as _mapping
from hopx_async import pooling as _pooling
from hopx_async import sandbox as _sandbox
from hopx_async import stream as _stream
from hopx_async.blocking.files import Files
from hopx_async.blocking.portal import Block
from hopx_async.blocking.wrapping import Closing, Iterated, Stream, Wrapper, awaited, giving
from hopx_async.model import Capabilities, CommandRef, CommandResult
from hopx_async.protocol.events import Event
from hopx_async.protocol.text import Line, Text

__all__ = [
    "AsCompleted",
    "CommandHandle",
    "Commands",
    "Environment",
    "EventStream",
    "Group",
    "GroupCompleted",
    "LineStream",
    "MapStream",
    "MergedStream",
    "Pool",
    "PoolLease",
    "Sandbox",
    "TextStream",
]

T = TypeVar("T")


class _OfCommand(Stream[T], Generic[T]):
    @property
    def cursor(self) -> str:
        """The position behind what was taken last."""
        return cast("str", self._inner.cursor)


class EventStream(_OfCommand[Event], of=_stream.EventStream):
    """An iterator of events, made by ``handle.events()``."""


class _Cut(_OfCommand[T], Generic[T]):
    def __next__(self) -> T:
        # What is here already is taken without a detour through the loop's thread.
        try:
            return cast("T", self._inner._ready.popleft())
        except IndexError:
            return super().__next__()


class LineStream(_Cut[Line], of=_stream.LineStream):
    """An iterator of lines, made by ``handle.lines()``."""


class TextStream(_Cut[Text], of=_stream.TextStream):
    """An iterator of decoded pieces, made by ``handle.text()``."""


class CommandHandle(Closing[_handle.CommandHandle], of=_handle.CommandHandle):
    """A command that runs, or ran. Entered, it is killed when the block is left."""

    @property
    def process_id(self) -> str:
        """The command's id."""
        return self._inner.process_id

    @property
    def command(self) -> str | tuple[str, ...]:
        """As it was started."""
        return self._inner.command

    @property
    def name(self) -> str | None:
        """Its label, None for none."""
        return self._inner.name

    @property
    def pid(self) -> int | None:
        """The leader's pid on the far side; None while it waits for its place."""
        return self._inner.pid

    @property
    def ref(self) -> CommandRef:
        """Where the command is found again, from any process: ``commands.get(ref)``."""
        return self._inner.ref

    events = giving(_handle.CommandHandle.events, EventStream)
    text = giving(_handle.CommandHandle.text, TextStream)
    lines = giving(_handle.CommandHandle.lines, LineStream)
    wait = awaited(_handle.CommandHandle.wait)
    result = awaited(_handle.CommandHandle.result)
    output = awaited(_handle.CommandHandle.output)
    info = awaited(_handle.CommandHandle.info)
    send_stdin = awaited(_handle.CommandHandle.send_stdin)
    close_stdin = awaited(_handle.CommandHandle.close_stdin)
    resize = awaited(_handle.CommandHandle.resize)
    wait_for_output = awaited(_handle.CommandHandle.wait_for_output)
    wait_for_port = awaited(_handle.CommandHandle.wait_for_port)
    wait_for_http = awaited(_handle.CommandHandle.wait_for_http)
    send_signal = awaited(_handle.CommandHandle.send_signal)
    terminate = awaited(_handle.CommandHandle.terminate)
    kill = awaited(_handle.CommandHandle.kill)


class AsCompleted(Stream[CommandHandle], of=_gathering.AsCompleted):
    """An iterator of handles whose commands have ended, made by `as_completed`."""


class MergedStream(Stream[Event], of=_gathering.MergedStream):
    """An iterator of the events of many commands, made by `merge`."""


class GroupCompleted(Iterated[CommandHandle], of=_grouping.GroupCompleted):
    """An iterator of a group's handles as their commands end, made by ``completed()``."""


class Group(Wrapper[_grouping.Group], of=_grouping.Group):
    """A scope for commands: leaving its block waits for them all, an exception ends them.

    A failed command ends the others at once, but cannot end the block's own code: that goes
    on until it leaves the block, which then raises the one `CommandFailed`.
    """

    _block: Block | None = None

    def __enter__(self) -> Self:
        block = Block(self._portal, self._inner)
        block.enter()
        self._block = block
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._block is not None, "it was entered"
        return self._block.leave(exc_type, exc, traceback)

    start_soon = giving(_grouping.Group.start_soon, CommandHandle)
    completed = giving(_grouping.Group.completed, GroupCompleted)


class MapStream(Stream[tuple[T, CommandResult]], Generic[T], of=_mapping.MapStream):
    """An iterator of pairs of item and result, made by ``sandbox.commands.map()``."""


class Commands(Wrapper[_commands.Commands], of=_commands.Commands):
    """The commands of one sandbox: ``sandbox.commands``."""

    start = giving(_commands.Commands.start, CommandHandle)
    run = awaited(_commands.Commands.run)
    get = giving(_commands.Commands.get, CommandHandle)
    list = awaited(_commands.Commands.list)
    kill = awaited(_commands.Commands.kill)
    group = giving(_commands.Commands.group, Group)

    def map(
        self, make_command: _mapping.MakeCommand[T], items: Iterable[T], **options: Any
    ) -> MapStream[T]:
        """Run a command for each item, so many at a time; yields pairs of item and result.

        Args:
            make_command: As for the asynchronous one; called in the loop's thread, so that it
                must not call anything of this module.
            items: Any iterable; a lazy one is asked for its items in a thread of its own.
            options: As for the asynchronous one.

        Raises:
            HopxError: As for the asynchronous one.
        """
        source: Any = items
        if isinstance(items, Iterable) and not isinstance(items, Collection):
            source = _Lazily(iter(items))
        function = partial(self._inner.map, make_command, source, **options)
        return cast("MapStream[T]", self._carry_out(function))


class _Lazily(AsyncIterator[T]):
    """An iterator that may block: asked in a thread of its own, one item at a time."""

    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator

    async def __anext__(self) -> T:
        end: Any = _Lazily
        item = await anyio.to_thread.run_sync(next, self._iterator, end, abandon_on_cancel=True)
        if item is end:
            raise StopAsyncIteration
        return item


class Environment(Wrapper[_environment.Environment], of=_environment.Environment):
    """The environment of one sandbox: ``sandbox.env``."""

    get_all = awaited(_environment.Environment.get_all)
    set = awaited(_environment.Environment.set)
    update = awaited(_environment.Environment.update)
    delete = awaited(_environment.Environment.delete)


class Sandbox(Closing[_sandbox.Sandbox], of=_sandbox.Sandbox):
    """A place where commands run. Entered, it is closed when the block is left."""

    @property
    def sandbox_id(self) -> str:
        """Its id."""
        return self._inner.sandbox_id

    @property
    def commands(self) -> Commands:
        """Its commands."""
        return cast("Commands", self._as_ours(self._inner.commands))

    @property
    def env(self) -> Environment:
        """The variables that its commands get."""
        return cast("Environment", self._as_ours(self._inner.env))

    @property
    def files(self) -> Files:
        """Its files."""
        return cast("Files", self._as_ours(self._inner.files))

    @property
    def capabilities(self) -> Capabilities:
        """What the far side can do, as it said itself."""
        return self._inner.capabilities

    statistics = awaited(_sandbox.Sandbox.statistics)
    list_processes = awaited(_sandbox.Sandbox.list_processes)
    kill_process = awaited(_sandbox.Sandbox.kill_process)

    def kill(self) -> None:
        """End the sandbox with everything in it, detached or not, and close it.

        Raises:
            Unsupported: If this far side cannot be ended from here.
        """
        self._carry_out(self._inner.kill)
        self._portal.let_go(self._inner)

    def close(self, *, grace: float | None = None) -> None:
        """Close it: what is not detached ends (TERM, grace, KILL), then the connection.

        Any number of times, from any thread. If a signal's handler raises meanwhile (Ctrl-C),
        what is left is killed without more grace.

        Args:
            grace: Seconds between TERM and KILL, None for what the door was given.

        Raises:
            InvalidArgument: If *grace* is negative or not finite.
        """
        inner = self._inner
        if not self._portal.running:
            return
        try:
            close = partial(inner.aclose, grace=grace)
            self._portal.call(close, hurry=partial(inner.aclose, grace=0))
        finally:
            if inner._closed:
                self._portal.let_go(inner)


class PoolLease(Wrapper[_pooling.PoolLease], of=_pooling.PoolLease):
    """One use of a pool's sandbox, made by ``pool.sandbox()``; entered once."""

    def __enter__(self) -> Sandbox:
        return cast("Sandbox", self._carry_out(self._inner.__aenter__))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(partial(self._inner.__aexit__, None, None, None))


class Pool(Closing[_pooling.Pool], of=_pooling.Pool):
    """Sandboxes that are lent, one user at a time, made by `pool`."""

    @property
    def size(self) -> int:
        """How many sandboxes there are: ready, in use, or on their way in or out."""
        return self._inner.size

    @property
    def lendable(self) -> int:
        """How many more users there could be without one of them waiting for another."""
        return self._inner.lendable

    sandbox = giving(_pooling.Pool.sandbox, PoolLease)
    warm = awaited(_pooling.Pool.warm)
    take = giving(_pooling.Pool.take, Sandbox)

    def give(self, sandbox: Sandbox) -> None:
        """Take a sandbox back after its use."""
        self._portal.call(partial(self._inner.give, sandbox._inner))

    def close(self) -> None:
        """End all sandboxes, concurrently and bounded; who waits for one gets `ClosedError`."""
        super().close()
        self._portal.let_go(self._inner)
