"""How many commands a second are started and waited for, 64 at once?"""

from __future__ import annotations

from benchmarks.harness import Contenders, Plan, Wanted, contenders
from benchmarks.verdict import Answer, Bound, Figure, Finding, ratios

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "start + wait"
ABOUT = (
    "`sh -c 'echo hi'`, 64 at once, its output kept, through the agent's own process. "
    "The floor is a C program that does nothing else; hopx-ai has no wait and only starts."
)
AT_ONCE = 64
_FLOOR, _SSH, _HOPX, _SWE = "C floor", "asyncssh", "hopx-ai (start only)", "SWE-ReX"
_OURS, _IN_PROCESS = "hopx_async", "asyncio, in process"


async def measure(plan: Plan) -> Answer:
    """Measure warm and cold, on a tmpfs and on a disk, beside the peers."""
    answer = Answer()
    await _warm(plan, answer)
    if not plan.quick:
        await _on_disk(plan, answer)
        for where in ("tmpfs", "disk"):
            await _first(plan, answer, where)
    return answer


async def _warm(plan: Plan, answer: Answer) -> None:
    wanted: Wanted = {
        _FLOOR: ("floor", {}),
        _OURS: ("ours", {}),
        _IN_PROCESS: ("inproc", {}),
        _SSH: ("ssh", {}),
        _HOPX: ("hopx", {}),
    }
    if not plan.quick:
        wanted[_SWE] = ("swe", {})
    counts = {
        _FLOOR: plan.size(3000, 800),
        _OURS: plan.size(3000, 800),
        _IN_PROCESS: plan.size(1500, 400),
        _SSH: plan.size(1000, 300),
        _HOPX: plan.size(500, 200),
        _SWE: plan.size(500, 200),
    }
    async with contenders(wanted) as found:
        await found.there[_OURS].rate(plan.size(3000, 800), AT_ONCE)
        await found.rates(dict.fromkeys(counts, plan.size(200, 50)), AT_ONCE)
        rates = await _rounds(plan, plan.rounds(7), found, counts, "warm")
    answer.figures += [Figure(name, "commands/s", values) for name, values in rates.items()]
    others: list[tuple[str, Bound | None, bool]] = [
        (_FLOOR, Bound(0.70, stretch=0.90), True),
        (_SSH, Bound(1.4, stretch=1.7), True),
        (_HOPX, Bound(3), True),
        (_IN_PROCESS, None, False),
    ]
    if not plan.quick:
        others.append((_SWE, None, False))
    for other, bound, guarded in others:
        answer.findings.append(_over(rates, other, bound, found, guarded=guarded))


def _over(
    rates: dict[str, tuple[float, ...]],
    other: str,
    bound: Bound | None,
    found: Contenders,
    *,
    guarded: bool,
) -> Finding:
    text = f"over {other}, warm, state on tmpfs"
    if other not in rates:
        return Finding(text, bound=bound, guarded=guarded, missing=found.missing[other])
    return Finding(text, ratios(rates[_OURS], rates[other]), bound, guarded=guarded)


async def _rounds(
    plan: Plan, rounds: int, found: Contenders, counts: dict[str, int], what: str
) -> dict[str, tuple[float, ...]]:
    rates: dict[str, list[float]] = {name: [] for name in found.there}
    for number in range(rounds):
        plan.say(f"start + wait, {what}, round {number + 1} of {rounds}")
        for name, rate in (await found.rates(counts, AT_ONCE)).items():
            rates[name].append(rate)
    return {name: tuple(values) for name, values in rates.items()}


async def _on_disk(plan: Plan, answer: Answer) -> None:
    wanted: Wanted = {_FLOOR: ("floor", {"where": "disk"}), _OURS: ("ours", {"where": "disk"})}
    counts = dict.fromkeys(wanted, plan.size(3000, 800))
    async with contenders(wanted) as found:
        await found.there[_OURS].rate(plan.size(3000, 800), AT_ONCE)
        rates = await _rounds(plan, plan.rounds(5), found, counts, "on disk")
    answer.figures += [
        Figure(f"{name}, on disk", "commands/s", values) for name, values in rates.items()
    ]
    values = ratios(rates[_OURS], rates[_FLOOR])
    answer.findings.append(
        Finding(f"over {_FLOOR}, warm, state on disk", values, Bound(0.70, stretch=0.90))
    )


async def _first(plan: Plan, answer: Answer, where: str) -> None:
    first: dict[str, list[float]] = {_FLOOR: [], _OURS: []}
    rounds = plan.rounds(3)
    for _ in range(rounds):
        wanted: Wanted = {_FLOOR: ("floor", {"where": where}), _OURS: ("ours", {"where": where})}
        async with contenders(wanted) as found:
            counts = dict.fromkeys(wanted, plan.size(3000, 800))
            once = await _rounds(plan, 1, found, counts, f"the first 3,000, {where}")
            for name, values in once.items():
                first[name] += values
    answer.figures.append(
        Figure(f"{_OURS}, the first 3,000, {where}", "commands/s", tuple(first[_OURS]))
    )
    values = ratios(first[_OURS], first[_FLOOR])
    answer.findings.append(Finding(f"over {_FLOOR}, the first 3,000, state on {where}", values))
