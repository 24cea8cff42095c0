"""The readers of commands that wait for them: what their keepers are told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from hopx_async.agent.board import Board, Command
from hopx_async.errors import HopxError
from hopx_async.protocol.leases import Hold, Leases
from hopx_async.protocol.lifecycle import LEASE_SECONDS

__all__ = ["Holds"]

_LOOK_SECONDS = LEASE_SECONDS / 4


class Holds:
    """Leases by command, told to the keepers as they change.

    Costs nothing while no running command with ``overflow="wait"`` is read.

    Args:
        board: The commands.
        kept: Log bytes that are kept of each.
        tell: Tells a command's keeper.
    """

    def __init__(
        self, board: Board, kept: int, tell: Callable[[Command, Hold], Awaitable[None]]
    ) -> None:
        self._board = board
        self._kept = kept
        self._tell = tell
        self._leases: dict[str, Leases] = {}
        self._wanted: dict[str, Hold] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._leases)

    # What a peer tells of its askings.

    def joined(self, reader: tuple[int, int], process_id: str, offset: int) -> bool:
        """Take note of a reader; return whether it is to be told of its moves."""
        command = self._board.get(process_id)
        if command is None or command.exit is not None or command.view().overflow != "wait":
            return False
        leases = self._leases.setdefault(process_id, Leases(self._kept))
        leases.join(reader, offset, time.monotonic())
        self._consider(process_id)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)
        return True

    def moved(self, reader: tuple[int, int], process_id: str, offset: int) -> None:
        """Take note of how far a reader has got."""
        leases, command = self._leases.get(process_id), self._board.get(process_id)
        if leases is not None and command is not None:
            leases.moved(reader, offset, command.end, time.monotonic())
            self._consider(process_id)

    def left(self, reader: tuple[int, int], process_id: str) -> None:
        """Take note that a reader has gone: it holds nothing back from now on."""
        leases = self._leases.get(process_id)
        if leases is not None:
            leases.leave(reader)
            self._consider(process_id)
            if not leases:
                del self._leases[process_id]

    async def aclose(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # Telling.

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        for process_id, leases in list(self._leases.items()):
            command = self._board.get(process_id)
            if command is None or command.exit is not None:
                del self._leases[process_id]
            else:
                leases.look(command.end, now)
                self._consider(process_id)
        if self._leases:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)

    def _consider(self, process_id: str) -> None:
        hold = self._leases[process_id].due(time.monotonic())
        if hold is None:
            return
        # One is told at a time; what has changed meanwhile is told at once.
        self._wanted[process_id] = hold
        if process_id not in self._tasks:
            self._tasks[process_id] = asyncio.create_task(self._tell_all(process_id))

    async def _tell_all(self, process_id: str) -> None:
        try:
            while (hold := self._wanted.pop(process_id, None)) is not None:
                command = self._board.get(process_id)
                if command is None or command.exit is not None:
                    return
                await self._tell(command, hold)
        except HopxError:
            pass  # its keeper has gone, and the command with it
        finally:
            self._wanted.pop(process_id, None)
            del self._tasks[process_id]
