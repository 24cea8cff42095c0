"""A command for each of many items, so many at a time, and their results as they come."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

import anyio

from hopx_async.arguments import new_collector
from hopx_async.errors import BusyError, InvalidArgument, SpawnError
from hopx_async.grouping import OnError, check_limit, check_on_error
from hopx_async.model import CommandResult, CommandSpec, Exit, refuse
from hopx_async.protocol import lifecycle
from hopx_async.reading import Keep
from hopx_async.spec import as_spec
from hopx_async.starting import Starter, end_owned, settle

__all__ = ["MakeCommand", "MapStream", "new_map"]

T = TypeVar("T")
MakeCommand: TypeAlias = Callable[[T], str | Sequence[str | os.PathLike[str]] | CommandSpec]


def new_map(
    starter: Starter,
    make_command: MakeCommand[T],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int,
    ordered: bool,
    on_error: OnError,
    grace: float,
    max_bytes: int,
    keep: Keep | None,
) -> MapStream[T]:
    """Check the arguments of a map and return it; see ``sandbox.commands.map``."""
    if limit is None:
        raise InvalidArgument(
            "limit", "None", "a number above 0: all items at once may be too many"
        )
    check_limit(limit)
    check_on_error(on_error)
    refuse(lifecycle.problem_with_grace(grace))
    new_collector(max_bytes, keep)
    if not callable(make_command) or inspect.iscoroutinefunction(make_command):
        rule = "an ordinary function of an item"
        raise InvalidArgument("make_command", repr(make_command)[:80], rule)
    work = _Work(
        starter,
        make_command,
        _as_async(items),
        limit=limit,
        ordered=ordered,
        on_error=on_error,
        grace=grace,
        max_bytes=max_bytes,
        keep=keep,
    )
    return MapStream(work)


class _Work(Generic[T]):
    """What a map has under way. Its tasks know it, and not the stream that its user may drop."""

    def __init__(
        self,
        starter: Starter,
        make_command: MakeCommand[T],
        source: AsyncIterator[T],
        *,
        limit: int,
        ordered: bool,
        on_error: OnError,
        grace: float,
        max_bytes: int,
        keep: Keep | None,
    ) -> None:
        self._starter = starter
        self._make_command = make_command
        self._source = source
        self._limit = limit
        self._ordered = ordered
        self._on_error = on_error
        self._grace = grace
        self._max_bytes = max_bytes
        self._keep: Keep | None = keep
        self._feeder: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[CommandResult]] = set()
        self._held: dict[int, tuple[T, CommandResult]] = {}
        self._given = 0
        self._exhausted = False
        self._aborting = False
        self._failure: BaseException | None = None
        self._problems: list[str] = []
        self._bell = anyio.Event()
        self.loop = asyncio.get_running_loop()

    @property
    def running(self) -> int:
        return len(self._tasks)

    async def next(self) -> tuple[T, CommandResult] | None:
        """Return the next result, None behind the last. Cancelling it loses nothing."""
        if self._feeder is None and not self._exhausted:
            self._feeder = asyncio.create_task(self._feed(), name="hopx map")
            self._feeder.add_done_callback(self._fed)
        while True:
            pair = self._take()
            if pair is not None:
                return pair
            if self._exhausted and not self._tasks:
                self._raise_failure()
                return None
            await self._bell.wait()

    def abort(self) -> None:
        """Start nothing more, and end what runs."""
        if self._aborting:
            return
        self._aborting = self._exhausted = True
        for task in [self._feeder, *self._tasks]:
            if task is not None:
                task.cancel()

    async def aclose(self) -> None:
        """End what runs, and wait for that. Bounded."""
        self.abort()
        self._held.clear()
        await settle([task for task in [self._feeder, *self._tasks] if task is not None])
        self._ring()

    def _take(self) -> tuple[T, CommandResult] | None:
        index = self._given if self._ordered else next(iter(self._held), None)
        if index not in self._held:
            return None
        pair = self._held.pop(index)
        self._given += 1
        self._ring()
        return pair

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            # Results behind a gap have nobody to go to.
            self._held.clear()
            for problem in self._problems:
                failure.add_note(problem)
            raise failure

    # Its tasks.

    async def _feed(self) -> None:
        index = 0
        while True:
            # Results that nobody takes hold up the starts, so that few are held.
            while self.running >= self._limit or self.running + len(self._held) >= 2 * self._limit:
                await self._bell.wait()
            try:
                item = await anext(self._source)
            except StopAsyncIteration:
                return
            spec = as_spec(self._make_command(item))
            task = asyncio.create_task(self._run(spec), name=f"hopx {spec.process_id}")
            self._tasks.add(task)
            task.add_done_callback(partial(self._ran, index, item))
            index += 1

    def _fed(self, task: asyncio.Task[None]) -> None:
        self._exhausted = True
        if task.cancelled():
            # Not by us, unless it is being ended: what the items wait for was cancelled.
            self._fail(asyncio.CancelledError("the items of a map were cancelled"))
        elif (error := task.exception()) is not None:
            self._fail(error)
        self._ring()

    async def _run(self, spec: CommandSpec) -> CommandResult:
        try:
            handle = await self._starter._start(spec, owned=True)  # noqa: SLF001
        except SpawnError as error:
            if self._on_error == "cancel":
                raise
            return CommandResult(exit=Exit(reason="spawn_failed", tail=str(error).encode()))
        try:
            result = await handle.result(max_bytes=self._max_bytes, keep=self._keep)
        except BaseException:
            await end_owned(handle, self._grace, self._problems)
            raise
        if self._on_error == "cancel":
            await handle.wait(check=True)
        return result

    def _ran(self, index: int, item: T, task: asyncio.Task[CommandResult]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._fail(error)
            else:
                self._held[index] = (item, task.result())
        self._ring()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None and not self._aborting:
            self._failure = error
            self.abort()

    def _ring(self) -> None:
        bell, self._bell = self._bell, anyio.Event()
        bell.set()


class MapStream(AsyncIterator[tuple[T, CommandResult]], Generic[T]):
    """An async iterator of pairs of item and result, made by ``sandbox.commands.map()``.

    It owns its commands: they run while it is iterated, and end (TERM, grace, KILL) when
    it is closed, dropped, or ended by an error. Leaving an ``async for`` by ``break``, or
    being cancelled in it, is not the end: use ``async with`` to have that end them at once.
    """

    def __init__(self, work: _Work[T]) -> None:
        self._busy = False
        self._work = work

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[T, CommandResult]:
        """Return the next item with its result.

        Cancelling it is safe: nothing is lost, its commands go on. What had been finished
        before a failure comes first; the failure comes when everything else has ended.

        Raises:
            CommandFailed: If a command failed, unless told to continue.
            SpawnError: If one could not be started, unless told to continue.
            OutputTooLarge: If one printed more than is to be held.
            BusyError: If another task waits in it.
            HopxError: As for ``start``. What *items* or *make_command* raise arrives bare.
        """
        if self._busy:
            raise BusyError("two tasks read one map; make two")
        self._busy = True
        try:
            pair = await self._work.next()
        finally:
            self._busy = False
        if pair is None:
            raise StopAsyncIteration
        return pair

    async def aclose(self) -> None:
        """End what runs; results not yet taken are dropped. Shielded from cancellation, bounded."""
        await self._work.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A dropped map ends its commands; from whichever thread it was dropped in.
        work = getattr(self, "_work", None)
        if work is not None and not work.loop.is_closed():
            work.loop.call_soon_threadsafe(work.abort)

    def __repr__(self) -> str:
        return f"<MapStream, {self._work.running} running>"


class _Each(AsyncIterator[T]):
    """An ordinary iterator as an asynchronous one."""

    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator

    async def __anext__(self) -> T:
        for item in self._iterator:
            return item
        raise StopAsyncIteration


def _as_async(items: Any) -> AsyncIterator[Any]:
    if isinstance(items, AsyncIterable):
        return aiter(items)
    try:
        return _Each(iter(items))
    except TypeError:
        rule = "an iterable, or an asynchronous one"
        raise InvalidArgument("items", type(items).__name__, rule) from None
