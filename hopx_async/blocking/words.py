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
from hopx_async import stream as _stream
from hopx_async.blocking.portal import Block
from hopx_async.blocking.wrapping import Closing, Iterated, Stream, Wrapper, awaited, giving
from hopx_async.model import CommandRef, CommandResult
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
            return cast("T", self._inner._take_ready())
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
