"""A hundred readers come late and read everything: how fast, and who else has to wait?"""

from __future__ import annotations

from benchmarks.harness import Plan, opened
from benchmarks.probe import probing
from benchmarks.verdict import Answer, Bound, Figure, Finding, ratios

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "catch-up"
ABOUT = (
    "100 subscribers of one client replay a log of 50 MB each, at once. A loop's lag is how late "
    "it wakes a sleeper of 2 ms, in the client and in the agent alike; `/health` is how long a "
    "third process waits for the agent's answer. All are p99.9, over the same while nothing "
    "happens."
)
_SIZE = 50_000_000
# About as long as all at once take: a p99.9 grows with what it is taken of.
_QUIET_SECONDS = 10.0
_BOUND = Bound(3, at_least=False)
_LAGS: dict[str, tuple[str, Bound | None]] = {
    "client": ("lag p99.9 of the client", _BOUND),
    "agent": ("lag p99.9 of the agent", _BOUND),
    "health": ("`/health` p99.9, asked by a third process", None),
}


async def measure(plan: Plan) -> Answer:
    """Measure in rounds: quiet, then all at once."""
    size, readers = plan.size(_SIZE, _SIZE // 50), plan.size(100, 20)
    rates: list[float] = []
    output: list[float] = []
    quiet: dict[str, list[float]] = {name: [] for name in _LAGS}
    busy: dict[str, list[float]] = {name: [] for name in _LAGS}
    rounds = plan.rounds(5)
    seconds = _QUIET_SECONDS / 5 if plan.quick else _QUIET_SECONDS
    async with opened("lagging") as worker:
        await worker.ask("write_log", size=size)
        async with probing(await worker.ask("url")) as probe:
            for number in range(rounds):
                plan.say(f"catch-up, round {number + 1} of {rounds}")
                probe.take()
                before = {**await worker.ask("quiet", seconds=seconds), "health": probe.take()}
                told = await worker.ask("catch_up", readers=readers, size=size)
                told["health"] = probe.take()
                for name in _LAGS:
                    quiet[name].append(before[name])
                    busy[name].append(told[name])
                rates.append(told["events"] / told["seconds"])
                output.append(readers * size / told["seconds"] / 1e6)
    answer = Answer()
    answer.figures = [
        Figure("hopx_async, events of 64 KiB", "events/s", tuple(rates)),
        Figure("hopx_async, all readers together", "MB/s", tuple(output)),
    ]
    for name, (what, bound) in _LAGS.items():
        for when, lags in (("quiet", quiet[name]), ("all at once", busy[name])):
            answer.figures.append(Figure(f"{what}, {when}", "ms", tuple(1e3 * lag for lag in lags)))
        values = ratios(busy[name], quiet[name])
        answer.findings.append(Finding(f"{what}, over the quiet one", values, bound))
    return answer
