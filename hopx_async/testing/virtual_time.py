"""An event loop whose clock jumps: a test of an hour takes a moment, and is exact."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualTimeLoop", "run"]

T = TypeVar("T")
# Real seconds to wait for a thread or a descriptor when no timer is left.
_PATIENCE = 10.0


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that advances a clock where another would sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return what is ready now; if nothing is, jump to the next timer."""
        ready: list[Any] = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self.now += max(timeout, 0.0)
            return ready
        ready = super().select(_PATIENCE)
        if not ready:
            raise RuntimeError(
                "virtual time stands still: no timer is set, and nothing happened for "
                f"{_PATIENCE:g} real seconds, so every task waits for what cannot come"
            )
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop on virtual time.

    ``loop.time()`` begins at 0 and moves only when every task waits: then it
    jumps to the next timer. With anyio's pytest plugin::

        @pytest.fixture
        def anyio_backend():
            return "asyncio", {"loop_factory": VirtualTimeLoop}
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # Timers that are due within rounding are due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self._jumping.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* to its end on virtual time, as ``asyncio.run`` does on real time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
