"""What does a stock agent cost, where none of ours runs?"""

from __future__ import annotations

from benchmarks.harness import ContenderError, Plan, opened
from benchmarks.verdict import Answer, Bound, Figure, Finding, percentile, ratios

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "stock agent"
ABOUT = (
    "Commands kept by markers on an emulation of HopX's own agent (`hopx-async serve --agent "
    "stock`), within the 300 requests a minute that HopX publishes. All live commands share one "
    "request a tick, so what polling costs must not depend on how many there are."
)
AT_ONCE = 32
_FEW, _MANY = 1, 100
# By then the pauses between polls have grown to their longest.
_SETTLE_SECONDS, _IDLE_SECONDS = 15.0, 30.0


async def measure(plan: Plan) -> Answer:
    """Measure starts, notices, and requests while nothing happens."""
    answer = Answer()
    try:
        async with opened("stock") as worker:
            await worker.rate(AT_ONCE, AT_ONCE)
            rates, each, notices = [], [], []
            rounds = plan.rounds(3)
            for number in range(rounds):
                plan.say(f"stock agent, round {number + 1} of {rounds}")
                count = plan.size(256, 32)
                before = await worker.ask("requests")
                rates.append(await worker.rate(count, AT_ONCE))
                each.append((await worker.ask("requests") - before) / count)
                delays = await worker.ask("notices", count=plan.size(10, 3), pause=200)
                notices.append(1e3 * percentile(delays, 50))
        idle: dict[int, list[float]] = {_FEW: [], _MANY: []}
        for handles, found in idle.items():
            plan.say(f"stock agent, {handles} idle")
            # A sandbox each: what one has asked for is not the other's.
            async with opened("stock") as worker:
                seconds = plan.size(int(_IDLE_SECONDS), 10)
                told = await worker.ask(
                    "idle_requests", handles=handles, settle=_SETTLE_SECONDS, seconds=seconds
                )
                found.append(told)
    except ContenderError as error:
        answer.findings.append(Finding("markers on a stock agent", missing=str(error)))
        return answer
    answer.figures = [
        Figure(f"start + wait, {AT_ONCE} at once", "commands/s", tuple(rates)),
        Figure("exit notice, one command alive, p50", "ms", tuple(notices)),
    ]
    answer.figures += [
        Figure(f"{handles} idle", "requests/s", tuple(found)) for handles, found in idle.items()
    ]
    answer.findings = [
        Finding(f"requests per command, {AT_ONCE} at once", tuple(each)),
        Finding(
            f"requests a second, {_MANY} idle handles over {_FEW}",
            ratios(idle[_MANY], idle[_FEW]),
            Bound(1.5, at_least=False),
        ),
    ]
    return answer
