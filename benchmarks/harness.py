"""How rows are measured: contenders as processes, rounds interleaved."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import attrs

__all__ = [
    "ContenderError",
    "Contenders",
    "Plan",
    "Wanted",
    "Worker",
    "contenders",
    "opened",
]

ROOT = Path(__file__).parents[1]
# An answer that takes longer is none; the whole suite takes minutes.
_ANSWER_SECONDS = 400.0
_CLOSE_SECONDS = 30.0
_MAX_LINE = 16 * 1024 * 1024


#: Contenders by name: the module that each is, and the options it is opened with.
Wanted: TypeAlias = dict[str, tuple[str, dict[str, Any]]]


class ContenderError(Exception):
    """A contender could not do what it was asked for."""


@attrs.frozen
class Plan:
    """How much is measured.

    Attributes:
        quick: Whether little will do: a guard against regressions.
        scale: What all sizes are multiplied with, for trying things out.
    """

    quick: bool = False
    scale: float = 1.0

    def rounds(self, full: int) -> int:
        """Return how many rounds there are instead of so many in full."""
        return 5 if self.quick else max(1, round(full * min(1.0, self.scale * 2)))

    def size(self, full: int, quick: int) -> int:
        """Return how many of something are measured in a round."""
        return max(1, int((quick if self.quick else full) * self.scale))

    def say(self, text: str) -> None:
        """Tell whoever waits where we are."""
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


class Worker:
    """A contender in a process of its own; made by `opened` or `contenders`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def ask(self, method: str, **options: Any) -> Any:
        """Have it do something and return what it says.

        Raises:
            ContenderError: If it cannot, dies, or takes far too long.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("both were asked for as pipes")
        question = json.dumps({"method": method, "options": options})
        try:
            stdin.write(question.encode() + b"\n")
            async with asyncio.timeout(_ANSWER_SECONDS):
                line = await stdout.readline()
        except (TimeoutError, ConnectionError) as error:
            raise ContenderError(f"{self.name}: no answer to {method}: {error!r}") from error
        answer = json.loads(line) if line else {"error": "it died"}
        if "error" in answer:
            raise ContenderError(f"{self.name}, {method}: {answer['error']}")
        return answer["result"]

    async def rate(self, count: int, at_once: int) -> float:
        """Return commands per second, started and waited for."""
        seconds: float = await self.ask("commands", count=count, at_once=at_once)
        return count / seconds

    async def close(self) -> None:
        """End it; bounded."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def opened(module: str, **options: Any) -> AsyncGenerator[Worker]:
    """Run a contender of `benchmarks.contenders` within the block.

    Raises:
        ContenderError: If it cannot be opened, because it is not installed, say.
    """
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"benchmarks.contenders.{module}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": python_path},
        cwd=ROOT,
        limit=_MAX_LINE,
    )
    worker = Worker(module, process)
    try:
        await worker.ask("open", **options)
        yield worker
    finally:
        await worker.close()


@attrs.frozen
class Contenders:
    """Those of a row that could be opened, by name, and why the others could not."""

    there: dict[str, Worker]
    missing: dict[str, str]

    async def rates(self, counts: Mapping[str, int], at_once: int) -> dict[str, float]:
        """Return one round: commands per second of everybody who is there, one after another."""
        return {
            name: await worker.rate(counts[name], at_once)
            for name, worker in self.there.items()
            if name in counts
        }


@asynccontextmanager
async def contenders(
    wanted: Wanted,
) -> AsyncGenerator[Contenders]:
    """Open contenders within the block.

    One that is not there is told loudly and left out.
    """
    found = Contenders({}, {})
    async with AsyncExitStack() as stack:
        for name, (module, options) in wanted.items():
            try:
                found.there[name] = await stack.enter_async_context(opened(module, **options))
            except ContenderError as error:
                found.missing[name] = str(error)
                print(f"*** NOT MEASURED: {name}: {error} ***", file=sys.stderr, flush=True)
        with suppress(GeneratorExit):
            yield found
