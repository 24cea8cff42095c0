"""What does it cost where sockets are blocked?"""

from __future__ import annotations

from benchmarks.harness import Plan, Wanted, contenders
from benchmarks.verdict import Answer, Bound, Figure, Finding, percentile, ratios

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "long-poll"
ABOUT = "The same client as behind a proxy that refuses every websocket, beside itself with one."
AT_ONCE = 64
_SOCKET, _POLL = "hopx_async, socket", "hopx_async, long-poll"


async def measure(plan: Plan) -> Answer:
    """Measure start + wait, and exit notices."""
    wanted: Wanted = {_SOCKET: ("ours", {}), _POLL: ("ours", {"sockets": False})}
    rates: dict[str, list[float]] = {name: [] for name in wanted}
    notices: dict[str, list[float]] = {name: [] for name in wanted}
    rounds = plan.rounds(5)
    async with contenders(wanted) as found:
        for worker in found.there.values():
            await worker.rate(plan.size(1000, 100), AT_ONCE)
        for number in range(rounds):
            plan.say(f"long-poll, round {number + 1} of {rounds}")
            for name, worker in found.there.items():
                rates[name].append(await worker.rate(plan.size(2000, 300), AT_ONCE))
                delays = await worker.ask("notices", count=plan.size(50, 20), pause=20)
                notices[name].append(percentile(delays, 50))
    answer = Answer()
    for name in found.there:
        answer.figures.append(Figure(name, "commands/s", tuple(rates[name])))
        values = tuple(1e6 * delay for delay in notices[name])
        answer.figures.append(Figure(f"{name}, exit notice, idle p50", "us", values))
    if found.missing:
        missing = "; ".join(found.missing.values())
        answer.findings.append(Finding("long-poll over socket", missing=missing))
        return answer
    answer.findings = [
        Finding("start + wait over the socket's", ratios(rates[_POLL], rates[_SOCKET]), Bound(0.5)),
        Finding(
            "exit notice, idle p50 over the socket's",
            ratios(notices[_POLL], notices[_SOCKET]),
            Bound(3, at_least=False),
        ),
    ]
    return answer
