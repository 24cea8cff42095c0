"""A contender as a process of its own: asked on stdin, it answers on stdout, in lines of JSON.

So nobody's event loop, memory or threads are another's, and what rests costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable

__all__ = ["Contender", "in_flight", "main", "use_pidfd_watcher"]

_MAX_LINE = 1024 * 1024


class Contender:
    """One way to run commands: it is asked by the names of its coroutine methods, first `open`."""

    async def close(self) -> None:
        """End everything that was begun."""


async def in_flight(count: int, at_once: int, one: Callable[[int], Awaitable[object]]) -> float:
    """Do *one* *count* times, *at_once* at a time; return the seconds it took."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await one(number)

    begin = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(min(at_once, count))))
    return time.perf_counter() - begin


def use_pidfd_watcher() -> None:
    """Let asyncio learn of ends by pidfd, without a thread for each; from 3.12 on it does so."""
    if sys.version_info < (3, 12):
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)  # pyright: ignore[reportDeprecated]


def main(contender: Contender) -> None:
    """Serve until stdin ends."""
    answers = os.dup(1)
    # What a library prints must not be taken for an answer.
    os.dup2(2, 1)
    asyncio.run(_serve(contender, answers))


async def _serve(contender: Contender, answers: int) -> None:
    questions = asyncio.StreamReader(limit=_MAX_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(questions), sys.stdin
    )
    try:
        while line := await questions.readline():
            question = json.loads(line)
            try:
                said = await getattr(contender, question["method"])(**question["options"])
                answer = {"result": said}
            except Exception as error:  # noqa: BLE001  # the row says that it is missing
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            os.write(answers, json.dumps(answer).encode() + b"\n")
    finally:
        await contender.close()
