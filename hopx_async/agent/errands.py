"""The calls of one connection: carried out side by side, bounded, answered through its peer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from hopx_async.agent.calls import Calls
from hopx_async.agent.inputs import HANGING_CALLS
from hopx_async.errors import HopxError
from hopx_async.protocol import wire
from hopx_async.protocol.peer import Peer

__all__ = ["Errands"]

# While more than this is unfinished or unsent, nothing more is read from the connection.
_MAX_CALLS = 512
_MAX_CALL_BYTES = 16 * wire.MAX_CALL_BYTES


class Errands:
    """The calls of one connection.

    They belong to it and are cancelled with it; what they have begun at the keeper goes on.
    Held are the calls of one frame beyond `_MAX_CALLS` and `_MAX_CALL_BYTES`, if the
    connection takes the next frame only when there is room.

    Args:
        calls: Carries them out.
        peer: The connection's half of the link.
        ring: Called when an answer waits to be sent, or there is room again.
    """

    def __init__(self, calls: Calls, peer: Peer, ring: Callable[[], None]) -> None:
        self._calls = calls
        self._peer = peer
        self._ring = ring
        self._room = asyncio.Event()
        self._waiting: deque[tuple[wire.Call, int]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        # They wait for commands, have a bound of their own, and hold nobody up.
        self._hanging: set[asyncio.Task[None]] = set()
        self._bytes = 0
        # Starts that are under way without a task.
        self._told = 0
        self._gone = False

    def receive(self, frame: str | bytes) -> None:
        """Feed a frame to the peer, and begin what it asks for.

        Raises:
            RemoteProtocolError: If it breaks the protocol.
        """
        calls = self._peer.receive(frame)
        for call in calls:
            size = len(frame) // len(calls)
            self._bytes += size
            self._waiting.append((call, size))
        self._begin()
        self._ring()

    @property
    def has_room(self) -> bool:
        """Whether the next frame may be taken in."""
        few = self._count < _MAX_CALLS and self._bytes <= _MAX_CALL_BYTES
        return few and not self._waiting and not self._peer.congested

    @property
    def _count(self) -> int:
        return len(self._under_way) + self._told

    async def room(self) -> None:
        """Wait until there is room. Cancelling it is safe."""
        await self._until(lambda: self.has_room)

    def sent(self) -> None:
        """Note that the peer gave a frame away."""
        self._room.set()

    def cancel(self) -> None:
        """Cancel what is under way."""
        self._gone = True
        self._waiting.clear()
        for task in self._under_way | self._hanging:
            task.cancel()

    async def aclose(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        self.cancel()
        await asyncio.gather(*self._under_way, *self._hanging, return_exceptions=True)

    def _begin(self) -> None:
        while self._waiting and self._count < _MAX_CALLS:
            call, size = self._waiting.popleft()
            if call.method == "start" and self._start_now(call, size):
                continue
            task = asyncio.create_task(self._answer(call))
            if call.method in HANGING_CALLS:
                self._bytes -= size
                self._hanging.add(task)
                task.add_done_callback(self._hanging.discard)
            else:
                self._under_way.add(task)
                task.add_done_callback(partial(self._ended, size))

    def _start_now(self, call: wire.Call, size: int) -> bool:
        """Begin a start without a task, which is most of what a task would cost."""
        if self._peer.congested:
            return False

        def told(result: dict[str, Any] | None, problem: HopxError | None) -> None:
            self._told -= 1
            self._bytes -= size
            if not self._gone:
                self._peer.reply(call.call, result, problem)
                self._room.set()
                self._ring()
                if self._waiting:
                    self._begin()

        self._told += 1
        begun = self._calls.start_now(call.params, told)
        if not begun:
            self._told -= 1
        return begun

    def _ended(self, size: int, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._bytes -= size
        self._begin()
        self._room.set()
        self._ring()

    async def _answer(self, call: wire.Call) -> None:
        result: dict[str, Any] | None = None
        problem: HopxError | None = None
        # Many small calls may have large answers: the next is made when the last have left.
        await self._until(lambda: not self._peer.congested)
        try:
            result = await self._calls.call(call.method, call.params)
        except HopxError as error:
            problem = error
        self._peer.reply(call.call, result, problem)
        self._ring()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._room.clear()
            await self._room.wait()
