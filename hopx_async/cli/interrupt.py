"""Ctrl-C, once and again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio

__all__ = ["PATIENCE", "Interruption"]

#: So many signals are asked to end things; one more, and this program just goes.
PATIENCE = 2
# Not every platform has them all.
_CAUGHT = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


class Interruption:
    """SIGINT, SIGTERM and SIGHUP, handed to whoever can do something about them.

    Attributes:
        number: The first signal, None if there was none.
        count: How many there were.
        scope: What is cancelled if nobody listens, and in the end.
        heard: Called with each signal up to `PATIENCE`; None to have the scope cancelled.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.number: signal.Signals | None = None
        self.count = 0
        self.heard: Callable[[], object] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _CAUGHT:
            loop.add_signal_handler(number, self.happen, number)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in _CAUGHT:
            loop.remove_signal_handler(number)

    def happen(self, number: signal.Signals) -> None:
        """Pass a signal on; one that nobody hears cancels the scope."""
        self.number = self.number or number
        self.count += 1
        if self.heard is None or self.count > PATIENCE:
            self.scope.cancel()
        if self.heard is not None:
            self.heard()

    def give_up(self, number: signal.Signals) -> None:
        """Cancel the scope, for this reason."""
        self.number = self.number or number
        self.scope.cancel()
