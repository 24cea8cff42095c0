"""Commands that somebody owns: started when there is a place, ended when their owner is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import anyio
import anyio.lowlevel

from hopx_async.client import Way
from hopx_async.errors import ClosedError, HopxError, MisuseError
from hopx_async.handle import CommandHandle
from hopx_async.model import CommandInfo, CommandSpec, Exit, refuse
from hopx_async.protocol import lifecycle
from hopx_async.protocol.cursor import START, Position
from hopx_async.protocol.events import Event
from hopx_async.protocol.subscription import LAST_WINDOW, Subscription

__all__ = ["END_SECONDS", "LaterHandle", "LaterWay", "Starter", "end_owned", "settle"]

#: Seconds, beyond its grace, within which an owner's command is ended or given up.
END_SECONDS = 25.0


class Starter(Protocol):
    """What starts commands: ``sandbox.commands``."""

    async def _start(self, spec: CommandSpec, *, owned: bool) -> CommandHandle:
        """Start a command; one that is *owned* is ended again if this is cancelled."""
        ...


async def end_owned(handle: CommandHandle, grace: float, problems: list[str]) -> None:
    """End a command whose owner ends: shielded, bounded, never raising.

    Args:
        handle: The command.
        grace: Seconds between TERM and KILL.
        problems: Takes a sentence if it may still run.
    """
    problem = f"nobody answered for {grace + END_SECONDS:g} s"
    try:
        with anyio.move_on_after(grace + END_SECONDS, shield=True):
            await handle.kill(grace)
            return
    except HopxError as error:
        problem = str(error)
    problems.append(f"{handle.process_id} may still run: {problem}")


async def settle(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait for tasks that are on their way out; a cancellation gets through behind that.

    Raises:
        CancelledError: If the caller was cancelled meanwhile.
    """
    cancelled: asyncio.CancelledError | None = None
    while waiting := [task for task in tasks if not task.done()]:
        try:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(waiting)
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is not None:
        raise cancelled


class LaterWay:
    """The way to a command that has not started: whoever uses it waits for the start."""

    def __init__(self, process_id: str) -> None:
        self._process_id = process_id
        self._loop = asyncio.get_running_loop()
        self._way: Way | None = None
        self._problem: BaseException | None = None
        self._callbacks: dict[Callable[[], None], None] = {}
        self._settled = anyio.Event()

    def begin(self, way: Way) -> None:
        """Lead along *way* from now on."""
        self._way = way
        self._settle()

    def fail(self, problem: BaseException) -> None:
        """Lead nowhere: whoever waits is told why. Too late once it has begun."""
        if not self._settled.is_set():
            self._problem = problem
            self._settle()

    @property
    def sandbox_id(self) -> str:
        """The sandbox of the command, once it has one."""
        if self._way is None:
            raise MisuseError(f"{self._process_id} has not started: it has no sandbox yet")
        return self._way.sandbox_id

    @property
    def ready(self) -> bool:
        """Whether the command has started."""
        return self._way is not None

    @property
    def waiting(self) -> bool:
        """Whether it is not known yet if the command starts."""
        return not self._settled.is_set()

    async def until_ready(self) -> None:
        """Wait until the command has started. Cancelling it is safe.

        Raises:
            HopxError: Why it never will.
        """
        await self._settled.wait()
        self._known()

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call back once the command has started, or never will."""
        if self._settled.is_set():
            callback()
        else:
            self._callbacks[callback] = None

    def forget_ready(self, callback: Callable[[], None]) -> None:
        """Do not call back any more; nothing if it has been."""
        self._callbacks.pop(callback, None)

    def check(self) -> None:
        """Refuse a use from another event loop."""
        if asyncio.get_running_loop() is not self._loop:
            raise MisuseError(f"{self._process_id} belongs to another event loop")

    def check_open(self) -> None:
        """Refuse a use from another event loop; why it did not start is for who waits."""
        self.check()

    async def call(self, method: str, **params: Any) -> Any:
        """Wait for the start, then carry out a call."""
        self.check()
        await self.until_ready()
        return await self._known().call(method, **params)

    def subscribe(
        self,
        process_id: str,
        position: Position = START,
        *,
        output: bool = True,
        most: int = LAST_WINDOW,
    ) -> Subscription:
        """Return a new reader of the command, which has started."""
        return self._known().subscribe(process_id, position, output=output, most=most)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a reader."""
        self._known().unsubscribe(subscription)

    async def next_event(self, subscription: Subscription, end: int | None = None) -> Event | None:
        """Return a reader's next event, None at its end, or if there is none up to *end*."""
        return await self._known().next_event(subscription, end)

    def take(self, subscription: Subscription) -> Event | None:
        """Return what a reader has now."""
        return self._known().take(subscription)

    def listen(self, subscription: Subscription, callback: Callable[[], None]) -> None:
        """Call back whenever there may be something to take."""
        self._known().listen(subscription, callback)

    def _known(self) -> Way:
        if self._problem is not None:
            raise self._problem
        assert self._way is not None, "a reader is made behind until_ready"
        return self._way

    def _settle(self) -> None:
        self._settled.set()
        callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks:
            callback()


class LaterHandle(CommandHandle):
    """The handle of a command that starts when there is a place; its awaits wait for that.

    If it never starts, they raise why: `SpawnError`, or `ClosedError` when its group ended
    before. Its ``pid`` is None until it has started.
    """

    __slots__ = ("_later", "_withdraw")

    def __init__(self, spec: CommandSpec, withdraw: Callable[[LaterHandle], bool]) -> None:
        self._withdraw = withdraw
        self._later = LaterWay(spec.process_id)
        known = {"process_id": spec.process_id, "command": spec.command, "name": spec.name}
        super().__init__(self._later, CommandInfo(status="queued", **known))  # type: ignore[arg-type]

    @property
    def settled(self) -> bool:
        """Whether it has started, or never will."""
        return not self._later.waiting

    async def kill(self, grace: float = lifecycle.GRACE) -> Exit:
        """End the command; one that still waits for its place never starts. See `CommandHandle`.

        Args:
            grace: Seconds between TERM and KILL; 0 for KILL at once.
        """
        refuse(lifecycle.problem_with_grace(grace))
        if self._later.waiting and self._withdraw(self):
            self._exit = Exit(reason="killed")
            self._later.fail(ClosedError(f"{self.process_id} was killed before it had started"))
        if self._exit is None or self._later.ready:
            return await super().kill(grace)
        await anyio.lowlevel.checkpoint()
        return self._exit

    async def wait(self, *, check: bool = False) -> Exit:
        """Wait until the command has ended; see `CommandHandle`.

        Args:
            check: Raise `CommandFailed` unless the command exited with code 0.
        """
        try:
            return await super().wait(check=check)
        except ClosedError:
            if self._exit is None:
                raise
            return await super().wait(check=check)  # it was killed while it waited for its place

    def begin(self, started: CommandHandle) -> None:
        """Become the handle of what has started."""
        self.pid = started.pid
        self._client = started._client  # noqa: SLF001  # from now on without a detour
        self._later.begin(self._client)

    def fail(self, problem: BaseException) -> None:
        """Tell who waits why it never starts; nothing once it has started."""
        self._later.fail(problem)
