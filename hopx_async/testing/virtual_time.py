"""An event loop whose clock jumps: a test of an hour takes a moment, and is exact."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from hopx_async.errors import Unsupported

__all__ = ["VirtualTimeLoop", "run", "without_waiting"]

T = TypeVar("T")
# Real seconds to wait for a thread or a descriptor when no timer is left.
_PATIENCE = 10.0
# Timers that are due within rounding are due.
_RESOLUTION = 1e-6


class _Clock:
    """A clock that advances where a selector would sleep."""

    def __init__(self, now: float) -> None:
        self.now = now

    def select(self, wait: Callable[[float | None], list[Any]], timeout: float | None) -> list[Any]:
        """Return what is ready now; if nothing is, jump to the next timer.

        Args:
            wait: What a selector does.
            timeout: Seconds until the next timer, None for none.
        """
        ready = wait(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self.now += max(timeout, 0.0)
            return ready
        ready = wait(_PATIENCE)
        if not ready:
            raise RuntimeError(
                "virtual time stands still: no timer is set, and nothing happened for "
                f"{_PATIENCE:g} real seconds, so every task waits for what cannot come"
            )
        return ready


class _Shifted:
    """The clock of a loop that is ahead of it by the time that was jumped over."""

    def __init__(self, real: Callable[[], float]) -> None:
        self.real = real
        self.ahead = 0.0

    def __call__(self) -> float:
        return self.real() + self.ahead


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that advances a clock where another would sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = _Clock(0.0)

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return what is ready now; if nothing is, jump to the next timer."""
        return self.clock.select(super().select, timeout)


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
        self._clock_resolution = _RESOLUTION

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self._jumping.clock.now


@contextmanager
def without_waiting() -> Generator[None]:
    """Put the running event loop on virtual time until the block is left.

    For tests whose loop somebody else makes. Its clock goes on from where it was, jumps as that
    of a `VirtualTimeLoop`, and never goes back: what was set on it before keeps its time.

    Raises:
        Unsupported: If the loop is none of asyncio's own.
    """
    running: object = asyncio.get_running_loop()
    if isinstance(running, VirtualTimeLoop):
        yield
        return
    loop: Any = running
    selector = getattr(loop, "_selector", None)
    if not isinstance(running, asyncio.BaseEventLoop) or selector is None:
        kind = f"{type(running).__module__}.{type(running).__qualname__}"
        raise Unsupported(f"virtual time needs an event loop of asyncio's own, this is {kind}")
    time = loop.time if isinstance(loop.time, _Shifted) else _Shifted(loop.time)
    clock, resolution = _Clock(time()), loop._clock_resolution  # noqa: SLF001
    before, select = vars(selector).get("select"), selector.select
    selector.select = lambda timeout=None: clock.select(select, timeout)
    loop.time = lambda: clock.now
    loop._clock_resolution = _RESOLUTION  # noqa: SLF001
    try:
        yield
    finally:
        if before is None:
            del selector.select
        else:
            selector.select = before
        time.ahead = clock.now - time.real()
        loop.time = time
        loop._clock_resolution = resolution  # noqa: SLF001


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* to its end on virtual time, as ``asyncio.run`` does on real time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
