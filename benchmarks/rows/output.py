"""How many bytes of output a second reach the caller, and how many lines?"""

from __future__ import annotations

from benchmarks.harness import ContenderError, Contenders, Plan, Wanted, contenders
from benchmarks.verdict import Answer, Bound, Figure, Finding, ratios

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "output"
ABOUT = (
    "A C program writes a known pattern as fast as it is taken; the caller compares every byte. "
    "asyncssh with its default cipher; asyncio reads a pipe in the caller's own process, and "
    "keeps nothing. Lines are those of `seq`, decoded."
)
_OURS, _SSH, _IN_PROCESS = "hopx_async", "asyncssh", "asyncio, in process"


async def measure(plan: Plan) -> Answer:
    """Measure bytes beside the others, then lines."""
    wanted: Wanted = {_OURS: ("ours", {}), _SSH: ("ssh", {}), _IN_PROCESS: ("inproc", {})}
    answer = Answer()
    async with contenders(wanted) as found:
        sizes = {
            _OURS: plan.size(1_000_000_000, 200_000_000),
            _SSH: plan.size(300_000_000, 60_000_000),
            _IN_PROCESS: plan.size(500_000_000, 100_000_000),
        }
        bytes_a_second = await _rounds(plan, found, "output", sizes)
        counts = {
            _OURS: plan.size(5_000_000, 400_000),
            _SSH: plan.size(500_000, 100_000),
            _IN_PROCESS: plan.size(1_000_000, 200_000),
        }
        lines = await _rounds(plan, found, "lines", counts)
    for name, values in bytes_a_second.items():
        shown = tuple(value / 1e6 for value in values)
        answer.figures.append(Figure(f"{name}, bytes", "MB/s", shown))
    for name, values in lines.items():
        shown = tuple(value / 1e6 for value in values)
        answer.figures.append(Figure(f"{name}, lines", "million lines/s", shown))
    answer.findings += _findings(found, bytes_a_second, lines)
    return answer


def _findings(
    found: Contenders, output: dict[str, list[float]], lines: dict[str, list[float]]
) -> list[Finding]:
    findings = []
    for other, bound in ((_SSH, Bound(2, stretch=2.5)), (_IN_PROCESS, None)):
        text = f"bytes through `events()` over {other}"
        guarded = bound is not None
        if other in output:
            values = ratios(output[_OURS], output[other])
            findings.append(Finding(text, values, bound, guarded=guarded))
        else:
            missing = found.missing.get(other, "it failed")
            findings.append(Finding(text, bound=bound, guarded=guarded, missing=missing))
    millions = tuple(value / 1e6 for value in lines[_OURS])
    findings.append(
        Finding("short lines through `lines()`", millions, Bound(0.5, stretch=1.0), "million/s")
    )
    for other in (_SSH, _IN_PROCESS):
        if other in lines:
            values = ratios(lines[_OURS], lines[other])
            findings.append(Finding(f"lines over {other}", values))
    return findings


async def _rounds(
    plan: Plan, found: Contenders, what: str, sizes: dict[str, int]
) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in found.there}
    rounds = plan.rounds(5)
    for number in range(rounds):
        plan.say(f"output, {what}, round {number + 1} of {rounds}")
        for name in list(rates):
            worker = found.there[name]
            try:
                seconds: float = await worker.ask(what, **{_WORDS[what]: sizes[name]})
            except ContenderError as error:
                found.missing[name] = str(error)
                plan.say(f"*** NOT MEASURED: {name}: {error} ***")
                rates.pop(name)
            else:
                rates[name].append(sizes[name] / seconds)
    return rates


_WORDS = {"output": "size", "lines": "count"}
