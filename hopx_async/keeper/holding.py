"""Output that is held back because a reader still needs what would have to be freed for it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hopx_async.keeper.command import Command
    from hopx_async.keeper.loop import Loop, Timer

__all__ = ["Holding"]


class Holding:
    """Leases on logs: each is over by itself if nobody renews it.

    Args:
        loop: Where they run out.
        go_on: Called with a command whose log may have room again.
    """

    def __init__(self, loop: Loop, go_on: Callable[[Command], object]) -> None:
        self._loop = loop
        self._go_on = go_on
        self._timers: dict[Command, Timer] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def hold(self, command: Command, offset: int, seconds: float) -> None:
        """Free nothing of the command's log from *offset* on for so many *seconds*; 0 lets go."""
        timer = self._timers.pop(command, None)
        if timer is not None:
            timer.cancel()
        if seconds > 0:
            command.log.pin = offset
            self._timers[command] = self._loop.call_later(seconds, lambda: self.let_go(command))
        else:
            command.log.pin = None
        self._go_on(command)

    def let_go(self, command: Command) -> None:
        """Hold nothing of the command any more."""
        self.hold(command, 0, 0.0)

    def ended(self, command: Command) -> None:
        """Forget a command that has ended."""
        timer = self._timers.pop(command, None)
        if timer is not None:
            timer.cancel()
