"""A pool of sandboxes: a clean one for each use, warm ones ready, broken ones replaced."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias

import anyio

from hopx_async.errors import ClosedError, HopxError, InvalidArgument, MisuseError
from hopx_async.opening import Opening
from hopx_async.sandbox import Sandbox
from hopx_async.starting import settle

__all__ = ["CHECK_SECONDS", "CLOSE_SECONDS", "RESET_SECONDS", "Pool", "PoolLease", "pool"]

Factory: TypeAlias = Callable[[], Awaitable[Sandbox]]
Reset: TypeAlias = Callable[[Sandbox], Awaitable[None]]
#: Seconds within which a pool ends one sandbox, or gives it up.
CLOSE_SECONDS = 60.0
#: Seconds within which a used sandbox is clean again, or is replaced.
RESET_SECONDS = 60.0
#: Seconds within which a sandbox answers before it is lent, or is replaced.
CHECK_SECONDS = 5.0


def pool(
    factory: Factory, *, min_size: int = 0, max_size: int = 8, reset: Reset | None = None
) -> Opening[Pool]:
    """Open a pool of sandboxes; its *min_size* warm ones are there when this returns.

    Closing it ends all of them, also those in use.

    Args:
        factory: Opens a sandbox, as ``hopx_async.local`` does.
        min_size: How many are kept ready or in use, so that the next user need not wait.
        max_size: How many there are at most, in use or not.
        reset: Cleans a used sandbox for its next user; one whose reset raises, or takes longer
            than a minute, is replaced. None replaces each used sandbox by a new one: whatever
            its user left is gone for sure.

    Raises:
        InvalidArgument: If an argument breaks a rule.
        HopxError: What *factory* raises; then nothing is left open.
    """
    for name, value, least in (("min_size", min_size, 0), ("max_size", max_size, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidArgument(name, repr(value), f"a number of sandboxes, {least} at least")
    if min_size > max_size:
        raise InvalidArgument("min_size", repr(min_size), f"at most max_size, {max_size}")
    for name, function in (("factory", factory), ("reset", reset)):
        if function is not None and not callable(function):
            raise InvalidArgument(name, repr(function)[:80], "a function")
    return Opening(_open(factory, min_size, max_size, reset))


async def _open(factory: Factory, min_size: int, max_size: int, reset: Reset | None) -> Pool:
    opened = Pool(factory, min_size, max_size, reset)
    try:
        await opened.warm()
    except BaseException:
        await opened.aclose()
        raise
    return opened


class Pool:
    """Sandboxes that are lent, one user at a time, made by ``hopx_async.pool()``."""

    def __init__(self, factory: Factory, min_size: int, max_size: int, reset: Reset | None) -> None:
        self._factory = factory
        self._min_size = min_size
        self._max_size = max_size
        self._reset = reset
        self._idle: deque[Sandbox] = deque()
        self._lent: set[Sandbox] = set()
        # Those who wait, the first first: each gets a sandbox, or an error.
        self._waiting: deque[asyncio.Future[Sandbox]] = deque()
        # Sandboxes on their way in and out.
        self._opening: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """How many sandboxes there are: ready, in use, or on their way in or out."""
        return len(self._idle) + len(self._lent) + len(self._opening) + len(self._ending)

    @property
    def lendable(self) -> int:
        """How many more users there could be without one of them waiting for another."""
        room = self._max_size - len(self._lent) - len(self._ending) - len(self._waiting)
        return max(0, room)

    def sandbox(self) -> PoolLease:
        """Return a place for one use: ``async with pool.sandbox() as sandbox``.

        Entering it waits for a place, first come, first served, and gives a clean sandbox.
        Cancelling that is safe. Leaving it gives the sandbox back.
        """
        return PoolLease(self)

    async def warm(self) -> None:
        """Wait until as many as *min_size* are there.

        Raises:
            HopxError: What the factory raises.
        """
        self._failure = None
        self._balance()
        while len(self._idle) + len(self._lent) < self._min_size:
            # Where those on their way out have the places, others come in behind them.
            moving = [*self._opening, *self._ending]
            if not moving:
                return  # it is closed
            await asyncio.wait(moving, return_when=asyncio.FIRST_COMPLETED)
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure

    async def aclose(self) -> None:
        """End all sandboxes, concurrently and bounded; who waits for one gets `ClosedError`.

        May be called again; shielded from cancellation.
        """
        self._closed = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(ClosedError("the pool is closed"))
        for task in self._opening:
            task.cancel()
        for sandbox in [*self._idle, *self._lent]:
            self._end(sandbox)
        self._idle.clear()
        self._lent.clear()
        cancelled: asyncio.CancelledError | None = None
        while tasks := [*self._opening, *self._ending]:
            try:
                await settle(tasks)
                await asyncio.sleep(0)  # what they have put into each other's place
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
        if cancelled is not None:
            raise cancelled

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._lent)} in use"
        return f"<Pool of {self.size}, {state}, {len(self._waiting)} waiting>"

    # Lending.

    async def take(self) -> Sandbox:
        """Wait for a clean sandbox; see `sandbox`.

        Raises:
            HopxError: What the factory raised when it was asked for one.
            ClosedError: If the pool is closed.
        """
        while True:
            sandbox = await self._next()
            try:
                if await _answers(sandbox):
                    return sandbox
            except BaseException:
                self.give(sandbox)
                raise
            # It broke while it was ready: its user gets another.
            self._lent.discard(sandbox)
            self._end(sandbox)

    async def _next(self) -> Sandbox:
        if self._closed:
            raise ClosedError("the pool is closed")
        waiter: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._balance()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # It was lent at the same moment: nobody has used it.
                self._lent.discard(waiter.result())
                self._put(waiter.result())
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def give(self, sandbox: Sandbox) -> None:
        """Take a sandbox back after its use."""
        if sandbox not in self._lent:
            return  # the pool was closed meanwhile, and has ended it
        self._lent.discard(sandbox)
        if self._reset is None or sandbox._closed:  # noqa: SLF001  # as in _balance
            self._end(sandbox)
        else:
            task = asyncio.create_task(_clean(sandbox, self._reset))
            task.add_done_callback(partial(self._cleaned, sandbox))
            self._track(task, self._opening)

    def _balance(self) -> None:
        """Lend what is ready, and open what is missing, as far as there is room."""
        while self._waiting and self._idle and not self._closed:
            waiter = self._waiting.popleft()
            if waiter.done():
                continue
            sandbox = self._idle.popleft()
            if sandbox._closed:  # noqa: SLF001  # it has no word for it, and needs none
                self._waiting.appendleft(waiter)
                self._end(sandbox)
                continue
            self._lent.add(sandbox)
            waiter.set_result(sandbox)
        while not self._closed and self.size < self._max_size and self._missing > 0:
            self._track(asyncio.create_task(self._make()), self._opening)

    @property
    def _missing(self) -> int:
        wanted = max(len(self._waiting), self._min_size - len(self._lent))
        return wanted - len(self._idle) - len(self._opening)

    def _put(self, sandbox: Sandbox) -> None:
        if self._closed:
            self._end(sandbox)
        else:
            self._idle.append(sandbox)
            self._balance()

    async def _make(self) -> None:
        try:
            sandbox = await self._factory()
        except Exception as error:  # noqa: BLE001  # told to who waits
            self._failed(error)
        else:
            self._failure = None
            self._put(sandbox)

    def _failed(self, error: Exception) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                return
        # Nobody waits: `warm` tells it, or the next user's own attempt.
        self._failure = error

    def _cleaned(self, sandbox: Sandbox, task: asyncio.Task[None]) -> None:
        # Also of a task that was cancelled before it began.
        if task.cancelled() or task.exception() is not None:
            self._end(sandbox)
        else:
            self._put(sandbox)

    def _end(self, sandbox: Sandbox) -> None:
        self._track(asyncio.create_task(_ended(sandbox)), self._ending)

    def _track(self, task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
        def over(done: asyncio.Task[None]) -> None:
            tasks.discard(done)
            # A failure to keep some warm is not tried again at once: the next user's turn is.
            if self._failure is None or self._waiting:
                self._balance()

        tasks.add(task)
        task.add_done_callback(over)


async def _clean(sandbox: Sandbox, reset: Reset) -> None:
    with anyio.fail_after(RESET_SECONDS):
        await reset(sandbox)


async def _answers(sandbox: Sandbox) -> bool:
    with contextlib.suppress(HopxError), anyio.move_on_after(CHECK_SECONDS):
        await sandbox.statistics()
        return True
    return False


async def _ended(sandbox: Sandbox) -> None:
    # What cannot be ended is its provider's to report; the pool gives it up.
    with contextlib.suppress(HopxError), anyio.move_on_after(CLOSE_SECONDS, shield=True):
        await sandbox.aclose()


class PoolLease:
    """One use of a pool's sandbox, made by ``pool.sandbox()``; entered once."""

    def __init__(self, source: Pool) -> None:
        self._pool = source
        self._sandbox: Sandbox | None = None
        self._used = False

    async def __aenter__(self) -> Sandbox:
        if self._used:
            raise MisuseError("a lease is entered once; ask the pool for another")
        self._used = True
        self._sandbox = await self._pool.take()
        return self._sandbox

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sandbox is not None:
            self._pool.give(self._sandbox)
