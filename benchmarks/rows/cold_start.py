"""How long from nothing to the end of the first command?"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.harness import ROOT, Plan
from benchmarks.verdict import Answer, Bound, Figure, Finding, ratios

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "cold start"
ABOUT = (
    "A new Python that imports hopx_async, opens `local()`, runs `true` and has its exit, over a "
    "new Python that only imports aiohttp. Told by the program itself is when the exit came; "
    "what both take to end is in neither."
)
_PROGRAMS = {
    "hopx_async, to the first exit": """
import asyncio, os
import hopx_async as hopx
async def main():
    async with hopx.local() as sandbox:
        handle = await sandbox.commands.start(["true"])
        await handle.wait()
        os.write(1, b"x")
asyncio.run(main())
""",
    "import aiohttp": "import os, aiohttp; os.write(1, b'x')",
    "python alone": "import os; os.write(1, b'x')",
}
_OURS, _IMPORT, _ = _PROGRAMS


async def measure(plan: Plan) -> Answer:
    """Run the programs in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    for text in _PROGRAMS.values():
        _once(text)  # the files are in memory then
    rounds = plan.rounds(11)
    for number in range(rounds):
        plan.say(f"cold start, round {number + 1} of {rounds}")
        for name, text in _PROGRAMS.items():
            seconds[name].append(_once(text))
    answer = Answer()
    for name, taken in seconds.items():
        answer.figures.append(Figure(name, "ms", tuple(1e3 * one for one in taken)))
    over = ratios(seconds[_OURS], seconds[_IMPORT])
    answer.findings.append(
        Finding("first exit over `import aiohttp`", over, Bound(3, at_least=False))
    )
    return answer


def _once(text: str) -> float:
    begin = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", text], stdout=-1, cwd=ROOT) as process:
        if process.stdout is None:
            raise AssertionError("stdout was asked for as a pipe")
        told = process.stdout.read(1)
        seconds = time.perf_counter() - begin
    if told != b"x" or process.returncode != 0:
        raise AssertionError(f"ended with {process.returncode}")
    return seconds
