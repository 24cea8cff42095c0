"""A hundred readers come late and read everything: how fast, and who else has to wait?"""

from __future__ import annotations

from benchmarks.harness import Plan, opened
from benchmarks.probe import probing
from benchmarks.verdict import Answer, Bound, Figure, Finding, ratios

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "catch-up"
ABOUT = (
    "100 subscribers of one client replay a log of 50 MB each, at once. The lag of the client is "
    "how late its event loop wakes a sleeper of 2 ms; that of the agent is how long a third "
    "process waits for `/health`. Both are p99.9, over the same while nothing happens."
)
_SIZE = 50_000_000
_QUIET_SECONDS = 5.0


async def measure(plan: Plan) -> Answer:
    """Measure in rounds: quiet, then all at once."""
    size, readers = plan.size(_SIZE, _SIZE // 50), plan.size(100, 20)
    rates: list[float] = []
    output: list[float] = []
    client: dict[bool, list[float]] = {True: [], False: []}
    agent: dict[bool, list[float]] = {True: [], False: []}
    rounds = plan.rounds(5)
    async with opened("many") as worker:
        await worker.ask("write_log", size=size)
        async with probing(await worker.ask("url")) as probe:
            for number in range(rounds):
                plan.say(f"catch-up, round {number + 1} of {rounds}")
                probe.take()
                client[True].append(await worker.ask("quiet_lag", seconds=_QUIET_SECONDS))
                agent[True].append(probe.take())
                told = await worker.ask("catch_up", readers=readers, size=size)
                client[False].append(told["lag"])
                agent[False].append(probe.take())
                rates.append(told["events"] / told["seconds"])
                output.append(readers * size / told["seconds"] / 1e6)
    answer = Answer()
    answer.figures = [
        Figure("hopx_async, events of 64 KiB", "events/s", tuple(rates)),
        Figure("hopx_async, all readers together", "MB/s", tuple(output)),
    ]
    for name, lags in (("client", client), ("agent", agent)):
        for quiet, what in ((True, "quiet"), (False, "all at once")):
            values = tuple(1e3 * lag for lag in lags[quiet])
            answer.figures.append(Figure(f"{name}, lag p99.9, {what}", "ms", values))
        answer.findings.append(
            Finding(
                f"lag p99.9 of the {name} over its unloaded lag",
                ratios(lags[False], lags[True]),
                Bound(3, at_least=False),
            )
        )
    return answer
