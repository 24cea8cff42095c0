"""Faults between a client and its far side, at the seam: for every transport, on any clock."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from hopx_async.errors import ConnectionLost, InvalidArgument, MisuseError
from hopx_async.protocol import wire
from hopx_async.testing.faulty_files import FaultyFiles
from hopx_async.transport.base import Channel, Transport
from hopx_async.transport.files import FileStore

__all__ = ["Faults", "FaultyChannel", "FaultyTransport", "unless"]

T = TypeVar("T")
Restart = Callable[[], Awaitable[None]]


class Faults:
    """What goes wrong on demand, the ``hopx_faults`` of a test.

    It stands before the transport of a sandbox, so that it is the same for one in memory and
    for a real agent. Everything that it does is to go by unseen: nothing lost, nothing twice.

    Attributes:
        connections: How many connections were made so far.
    """

    def __init__(self) -> None:
        self.connections = 0
        self._seconds = 0.0
        self._twice = False
        self._cut = anyio.Event()
        self._restarts: list[Restart] = []

    def on(self, transport: Transport, *, restart: Restart | None = None) -> FaultyTransport:
        """Return a transport that does what *transport* does, and has these faults.

        Args:
            transport: The way to a far side.
            restart: What `restart_agent` does there; None if that cannot be done.
        """
        if restart is not None:
            self._restarts.append(restart)
        return FaultyTransport(transport, self)

    def drop(self) -> None:
        """Cut every connection; what was under way is lost. New ones are welcome."""
        cut, self._cut = self._cut, anyio.Event()
        cut.set()

    def delay(self, seconds: float) -> None:
        """Hold each frame and each call for so long, in each direction, until `heal`.

        Args:
            seconds: Seconds; virtual where time is.

        Raises:
            InvalidArgument: If *seconds* is negative or not finite.
        """
        if not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            raise InvalidArgument("seconds", repr(seconds), "a finite number, not below 0")
        self._seconds = seconds

    def duplicate(self) -> None:
        """Carry out each call twice, and deliver each piece of output twice, until `heal`."""
        self._twice = True

    async def restart_agent(self) -> None:
        """Kill the agent that serves the network, with -9, and return when it is dead.

        The next one is started by itself; commands, their logs and limits do not notice. Five
        deaths within a minute are taken for a fault that comes again: then it stays down.
        In memory the connections are cut.

        Raises:
            MisuseError: If there is no agent to restart: the test has no sandbox.
        """
        if not self._restarts:
            raise MisuseError("there is no agent to restart: no sandbox has these faults")
        for restart in self._restarts:
            await restart()

    def heal(self) -> None:
        """End `delay` and `duplicate`; what was cut stays cut."""
        self._seconds = 0.0
        self._twice = False

    # For its transports.

    @property
    def twice(self) -> bool:
        """Whether what may be repeated is to be."""
        return self._twice

    @property
    def cut(self) -> anyio.Event:
        """What is set when the connections that are open now are cut."""
        return self._cut

    async def pause(self) -> None:
        """Wait as long as the delay is."""
        if self._seconds:
            await anyio.sleep(self._seconds)

    async def carry(self, act: Callable[[], Awaitable[T]], *, repeatable: bool = True) -> T:
        """Carry out one call, with these faults. Cancelling it cancels the call.

        Raises:
            ConnectionLost: If the connection is cut meanwhile.
        """
        cut = self._cut

        async def once() -> T:
            await self.pause()
            result = await act()
            if self._twice and repeatable:
                result = await act()
            await self.pause()
            return result

        return await unless(cut, asyncio.ensure_future(once()))


async def unless(cut: anyio.Event, task: asyncio.Future[T], *, keep: bool = False) -> T:
    """Return what *task* returns; raise `ConnectionLost` as soon as *cut* is set.

    Args:
        cut: The end of the connection.
        task: What is waited for. It is cancelled if it is not to be waited for any more.
        keep: Leave it running if only this wait is cancelled.
    """
    lost = asyncio.ensure_future(cut.wait())
    both: set[asyncio.Future[Any]] = {task, lost}
    kept = False
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if cut.is_set():
            raise ConnectionLost("the connection was cut on purpose")
        return task.result()
    except asyncio.CancelledError:
        kept = keep
        raise
    finally:
        ending: list[asyncio.Future[Any]] = [lost] if kept else [lost, task]
        for each in ending:
            each.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*ending, return_exceptions=True)


class FaultyTransport(Transport):
    """A transport before another one, made by `Faults.on`."""

    def __init__(self, inner: Transport, faults: Faults) -> None:
        self.name = inner.name
        self.polls, self.feed = inner.polls, inner.feed
        self._inner = inner
        self._faults = faults

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Carry out one call."""
        return await self._faults.carry(lambda: self._inner.request(method, params))

    async def connect(self) -> Channel:
        """Open a channel."""
        return await self._opened(self._inner.connect)

    async def connect_poll(self) -> Channel:
        """Open a channel that needs no socket of its own."""
        return await self._opened(self._inner.connect_poll)

    def files(self) -> FileStore:
        """Return the sandbox's files, behind the same faults."""
        return FaultyFiles(self._inner.files(), self._faults)

    async def aclose(self) -> None:
        """Free what is held between calls."""
        await self._inner.aclose()

    async def _opened(self, connect: Callable[[], Awaitable[Channel]]) -> Channel:
        cut = self._faults.cut
        await self._faults.pause()
        inner = await connect()
        self._faults.connections += 1
        return FaultyChannel(inner, self._faults, cut)


class FaultyChannel(Channel):
    """A channel before another one."""

    def __init__(self, inner: Channel, faults: Faults, cut: anyio.Event) -> None:
        self._inner = inner
        self._faults = faults
        self._cut = cut
        # A frame that is being waited for, and those that came and were not taken: two at most.
        self._coming: asyncio.Future[str | bytes] | None = None
        self._here: deque[str | bytes] = deque()

    async def send(self, frame: str) -> None:
        """Send a text frame; calls in it are sent again while faults `duplicate`."""
        frames = [frame]
        if self._faults.twice:
            calls = [each for each in wire.decode_client(frame) if isinstance(each, wire.Call)]
            frames += [wire.encode(calls)] if calls else []
        await self._faults.pause()
        self._check()
        for each in frames:
            await unless(self._cut, asyncio.ensure_future(self._inner.send(each)))

    async def receive(self) -> str | bytes:
        """Return the next frame; cancelling it loses none."""
        if not self._here:
            if self._coming is None:
                self._coming = asyncio.ensure_future(self._inner.receive())
            coming = self._coming
            try:
                frame = await unless(self._cut, coming, keep=True)
            finally:
                if coming.done():
                    self._coming = None
            self._here.append(frame)
            if self._faults.twice and isinstance(frame, bytes):
                self._here.append(frame)
        await self._faults.pause()
        self._check()
        return self._here.popleft()

    def _check(self) -> None:
        if self._cut.is_set():
            raise ConnectionLost("the connection was cut on purpose")

    async def aclose(self) -> None:
        """Close it."""
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.gather(coming, return_exceptions=True)
        await self._inner.aclose()
