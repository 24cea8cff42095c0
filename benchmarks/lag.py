"""How late an event loop wakes a sleeper."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

__all__ = ["watch_lag"]

_PAUSE = 0.002


async def watch_lag(note: Callable[[float], object]) -> NoReturn:
    """Sleep for 2 ms again and again, and note by how many seconds it was more; until cancelled."""
    while True:
        due = time.perf_counter() + _PAUSE
        await asyncio.sleep(_PAUSE)
        note(time.perf_counter() - due)
