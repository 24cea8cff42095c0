"""How soon after a child's last act does the caller's coroutine run?"""

from __future__ import annotations

from benchmarks.harness import Plan, Wanted, contenders
from benchmarks.verdict import Answer, Bound, Figure, Finding, percentile, ratios

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "exit notice"
ABOUT = (
    "A C program stores the monotonic clock as its last act; whoever waits for it looks at the "
    "clock when it is resumed. The kernel's tidying up after the child is in all figures."
)
_OURS, _SSH, _IN_PROCESS = "hopx_async", "asyncssh", "asyncio, in process"
_PAUSE = 20  # milliseconds before a child ends: everything about its start is over by then
_RATE = 500.0


async def measure(plan: Plan) -> Answer:
    """Measure idle, beside the others, and at 500 starts a second."""
    wanted: Wanted = {_IN_PROCESS: ("inproc", {}), _OURS: ("ours", {}), _SSH: ("ssh", {})}
    idle: dict[str, list[float]] = {name: [] for name in wanted}
    late: dict[str, list[float]] = {name: [] for name in wanted}
    loaded: list[float] = []
    rounds = plan.rounds(7)
    async with contenders(wanted) as found:
        for number in range(rounds):
            plan.say(f"exit notice, round {number + 1} of {rounds}")
            for name, worker in found.there.items():
                delays = await worker.ask("notices", count=plan.size(100, 30), pause=_PAUSE)
                idle[name].append(percentile(delays, 50))
                late[name].append(percentile(delays, 99))
            delays = await found.there[_OURS].ask(
                "notices_under_load", count=plan.size(1000, 500), rate=_RATE
            )
            loaded.append(percentile(delays, 99))
    answer = Answer()
    for name in found.there:
        for what, delays in (("p50", idle[name]), ("p99", late[name])):
            values = tuple(1e6 * delay for delay in delays)
            answer.figures.append(Figure(f"{name}, idle {what}", "us", values))
    values = tuple(1e6 * delay for delay in loaded)
    answer.figures.append(Figure(f"{_OURS}, 500 starts/s, p99", "us", values))
    for other, bound in (
        (_IN_PROCESS, Bound(3, at_least=False, stretch=2)),
        (_SSH, Bound(1, at_least=False)),
    ):
        text = f"idle p50 over that of {other}"
        if other in found.missing:
            finding = Finding(text, bound=bound, guarded=True, missing=found.missing[other])
        else:
            values = ratios(idle[_OURS], idle[other])
            finding = Finding(text, values, bound, guarded=True)
        answer.findings.append(finding)
    values = ratios(loaded, idle[_OURS])
    answer.findings.append(
        Finding("p99 at 500 starts/s over the idle p50", values, Bound(15, at_least=False))
    )
    return answer
