"""What is left of a background command whose leader died by a signal is ended, too.

HopX's command line kills by ``kill PID`` in a shell of its own: that reaches the leader alone.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from hopx_async.agent.board import Board, Command
from hopx_async.agent.dialect.asks import KIND
from hopx_async.agent.dialect.running import Running

__all__ = ["Sweeper"]


class _End(msgspec.Struct, frozen=True):
    reason: str
    survivors: int = 0


class _Spec(msgspec.Struct, frozen=True):
    tags: dict[str, str] = {}


_end = msgspec.json.Decoder(_End)
_spec = msgspec.json.Decoder(_Spec)


class Sweeper:
    """Looks at ends, and ends what outlived them.

    Args:
        board: The commands that are known.
        running: Ends them.
    """

    def __init__(self, board: Board, running: Running) -> None:
        self._board = board
        self._running = running

    def news(self, process_ids: Collection[str]) -> None:
        """Look at commands of which there is something new; a second look does no harm."""
        for process_id in process_ids:
            command = self._board.get(process_id)
            if command is not None and _orphaned(command):
                self._running.sweep(command)


def _orphaned(command: Command) -> bool:
    if command.exit is None or command.status != "failed":
        return False
    end = _end.decode(command.exit)
    if end.reason != "signaled" or not end.survivors:
        return False
    return _spec.decode(command.spec).tags.get(KIND) == "background"
