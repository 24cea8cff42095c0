"""A thread with an event loop, shared by all that is open, and calls into it from others."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import anyio
from anyio.from_thread import BlockingPortal

from hopx_async.errors import ClosedError, HopxError, MisuseError
from hopx_async.opening import Closable, Opening

__all__ = ["Block", "Call", "Portal"]


class Portal:
    """The thread: started by the first door, ended with the last that is closed.

    It is a daemon: at the interpreter's exit what is still open is closed, bounded.

    Attributes:
        known: What stands for an object of the loop, by its id, as long as somebody holds it.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _current: ClassVar[Portal | None] = None

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._users = 0
        self._open: dict[int, Closable] = {}
        self.known: WeakValueDictionary[int, Any] = WeakValueDictionary()
        ready: Future[BlockingPortal] = Future()
        self._thread = threading.Thread(
            target=self._main, args=(ready,), name="hopx_async.blocking", daemon=True
        )
        self._thread.start()
        self._portal = ready.result()

    @classmethod
    def take(cls) -> Portal:
        """Return the portal for one more user, started if there is none; to be released.

        Raises:
            MisuseError: In the portal's own thread.
        """
        if cls._current is not None:
            cls._current.check()
        with cls._lock:
            if cls._current is None:
                cls._current = cls()
            cls._current._users += 1  # noqa: SLF001  # its own
            return cls._current

    @classmethod
    def current(cls) -> Portal | None:
        """Return the portal of what is open, None if nothing is."""
        return cls._current

    def release(self) -> None:
        """Note that a user is gone; behind the last the thread ends."""
        with Portal._lock:
            self._users -= 1
            if self._users:
                return
            if Portal._current is self:
                Portal._current = None
        self._stop()

    def keep(self, opened: Closable) -> None:
        """Hold what a door has opened until it is let go."""
        self._open[id(opened)] = opened

    def let_go(self, opened: Closable) -> None:
        """Note that it is closed; nothing if it was not kept."""
        if self._open.pop(id(opened), None) is not None:
            self.release()

    @property
    def running(self) -> bool:
        """Whether it takes calls."""
        return Portal._current is self and os.getpid() == self._pid

    def check(self) -> None:
        """Refuse a use that could only hang.

        Raises:
            MisuseError: In its own thread, or in a child after a fork.
        """
        if threading.get_ident() == self._thread.ident:
            raise MisuseError(
                "hopx_async.blocking was called in the thread of its own event loop, which it "
                "would block for ever: functions given to map, pool or scripts use hopx_async"
            )
        if os.getpid() != self._pid:
            raise MisuseError(
                f"this was opened in process {self._pid}, this is {os.getpid()}: "
                "after a fork, open the sandbox again"
            )

    def soon(self, function: Callable[[], Any]) -> None:
        """Have the loop call a function.

        Raises:
            ClosedError: If the thread has ended.
            MisuseError: As `check`.
        """
        self.check()
        try:
            self._portal.start_task_soon(function)
        except RuntimeError as error:
            raise ClosedError("the sandbox has been closed") from error

    def call(
        self,
        function: Callable[[], Any],
        *,
        hurry: Callable[[], Awaitable[None]] | None = None,
    ) -> Any:
        """Call a function in the loop, await what it returns if that can be, and return it.

        If a signal's handler raises here (Ctrl-C), the call is cancelled and waited for: what
        it owns is ended. A second one does not wait.

        Args:
            function: Called in the loop's thread.
            hurry: Called there as well if a signal's handler raises here.

        Raises:
            ClosedError: If the thread has ended, or ends meanwhile.
            MisuseError: As `check`.
        """
        return Call(self, function).result(hurry)

    def _main(self, ready: Future[BlockingPortal]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, ready: Future[BlockingPortal]) -> None:
        async with BlockingPortal() as portal:
            ready.set_result(portal)
            await portal.sleep_until_stopped()

    def _stop(self) -> None:
        if os.getpid() == self._pid:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._portal.start_task_soon(self._portal.stop, True)
            self._thread.join()

    async def _close_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for opened in list(self._open.values()):
                tasks.start_soon(_closed, opened)

    def _at_exit(self) -> None:
        # What cannot be said any more: an agent of ours ends by itself when this process does.
        with contextlib.suppress(Exception):
            self.call(self._close_all)
        self._open.clear()
        Portal._current = None
        self._stop()


async def _closed(opened: Closable) -> None:
    # In an interpreter that ends, threads cannot be started.
    with contextlib.suppress(HopxError, OSError, RuntimeError):
        await opened.aclose()


class Call:
    """One call into the loop, from its beginning to its result."""

    def __init__(self, portal: Portal, function: Callable[[], Any]) -> None:
        self._portal = portal
        self._function = function
        self._ended = threading.Event()
        self._scope: anyio.CancelScope | None = None
        self._values: list[Any] = []
        self._problem: BaseException | None = None
        self._opened = False

    def result(self, hurry: Callable[[], Awaitable[None]] | None = None) -> Any:
        """Make the call, wait for its end and return what it gave."""
        return self.outcome(self.begin, hurry)

    def begin(self) -> None:
        """Make the call."""
        self._portal.soon(self._run)

    def wait(
        self,
        event: threading.Event,
        begin: Callable[[], None] | None = None,
        hurry: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wait for something; if that is interrupted, the call is given up."""
        try:
            if begin is not None:
                begin()
            event.wait()
        except HopxError:
            raise
        except BaseException:
            if hurry is not None:
                with contextlib.suppress(ClosedError):
                    self._portal.soon(hurry)
            self.give_up()
            raise

    def give_up(self) -> None:
        """Cancel the call, wait for its end, and close what it may have opened."""
        try:
            self._portal.soon(self._cancel)
        except ClosedError:
            return  # with the loop everything has ended
        self._ended.wait()
        if self._opened and self._values:
            self._portal.call(self._values[0].aclose)

    def outcome(
        self,
        begin: Callable[[], None] | None = None,
        hurry: Callable[[], Awaitable[None]] | None = None,
    ) -> Any:
        """Wait for the end and return what the call gave, or raise what it raised."""
        self.wait(self._ended, begin, hurry)
        problem, self._problem = self._problem, None
        if isinstance(problem, asyncio.CancelledError):
            raise ClosedError("the sandbox was closed meanwhile") from problem
        if problem is not None:
            raise problem
        return self._values[0]

    async def _run(self) -> None:
        try:
            with anyio.CancelScope() as self._scope:
                made = self._function()
                self._opened = isinstance(made, Opening)
                self._values.append(await made if inspect.isawaitable(made) else made)
            if self._scope.cancelled_caught:
                self._problem = asyncio.CancelledError()
        except BaseException as error:
            self._problem = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._ended.set()

    def _cancel(self) -> None:
        if self._scope is None:
            self._ended.set()  # it was interrupted before it began, and never will
        else:
            self._scope.cancel()


class Block:
    """An asynchronous context manager that one task of the loop enters, holds and leaves."""

    def __init__(
        self, portal: Portal, manager: contextlib.AbstractAsyncContextManager[Any]
    ) -> None:
        self._portal = portal
        self._manager = manager
        self._call = Call(portal, self._hold)
        self._entered = threading.Event()
        self._left: anyio.Event | None = None
        self._error: BaseException | None = None

    def enter(self) -> None:
        """Enter it."""
        self._call.wait(self._entered, self._call.begin)
        if self._left is None:
            self._call.outcome()

    def leave(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Leave it by *exc*, None for no exception; tells whether that was swallowed."""
        assert self._left is not None, "it was entered"
        self._error = exc
        left = self._left.set
        try:
            self._call.outcome(lambda: self._portal.soon(left))
        except BaseException as error:
            # A coroutine makes another error of a StopIteration that leaves it.
            if error is exc or (isinstance(exc, StopIteration) and error.__cause__ is exc):
                return False
            raise
        return exc is not None

    async def _hold(self) -> None:
        try:
            async with self._manager:
                self._left = anyio.Event()
                self._entered.set()
                await self._left.wait()
                if self._error is not None:
                    raise self._error
        finally:
            self._entered.set()


def _forget() -> None:
    """Begin anew in a child after a fork: the thread is not there."""
    Portal._lock = threading.Lock()  # noqa: SLF001  # its own module
    Portal._current = None  # noqa: SLF001


@atexit.register
def _at_exit() -> None:
    portal = Portal.current()
    if portal is not None and portal.running:
        portal._at_exit()  # noqa: SLF001  # its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
