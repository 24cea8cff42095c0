"""What do very many live handles take, and what do they slow down?"""

from __future__ import annotations

from typing import Any

from benchmarks.harness import Plan, Worker, contenders, opened
from benchmarks.verdict import Answer, Bound, Figure, Finding, Line, percentile, spread

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "handles"
ABOUT = (
    "`sleep` commands on one sandbox, all alive, all of them waited for by one task. Memory is "
    "what is the processes' own (RssAnon), less what they had without commands. "
    "Start + wait and exit notice are measured at each number, beside the C floor at 64 at once."
)
AT_ONCE = 64
_NUMBERS = (1, 10, 100, 1_000, 10_000)
_SIDES = ("root", "keepers", "agent")
_IDLE_SECONDS = 20.0
_SETTLE_SECONDS = 2.0
# Heartbeats: a ping of the client each 15 s, one of the agent each 30 s, and their answers.
_HEARTBEAT = 10.0
_OURS, _FLOOR = "hopx_async", "C floor"
_WHY = (
    "Memory is linear: a handle is a few objects and a place in tables, on both sides. The exit "
    "notice is flat: nothing looks at commands that do nothing. Start + wait falls with the "
    "commands of one keeper, of which there are so many that each has at most a few thousand: for "
    "each spawn the kernel copies its table of descriptors and closes the copies again, and at "
    "each exit it looks through its children for who has ended."
)


async def measure(plan: Plan) -> Answer:
    """Measure memory first, in a sandbox that does nothing else; then what slows down."""
    numbers = [number for number in _NUMBERS if number <= plan.size(_NUMBERS[-1], 100)]
    answer = Answer()
    async with opened("many") as worker:
        await _memory(plan, worker, numbers, answer)
    await _growth(plan, numbers, answer)
    answer.notes.append(_WHY)
    return answer


async def _memory(plan: Plan, worker: Worker, numbers: list[int], answer: Answer) -> None:
    await worker.rate(plan.size(500, 50), AT_ONCE)
    base = await worker.ask("holds")
    client: list[tuple[float, float]] = []
    sides: list[tuple[float, float]] = []
    begun = 0
    for number in numbers:
        plan.say(f"handles, memory of {number}")
        await worker.ask("start_idle", count=number - begun)
        begun = number
        held = await worker.ask("holds")
        client.append((number, _grown(base, held, "client")))
        sides.append((number, sum(_grown(base, held, side) for side in _SIDES)))
    held = await worker.ask("holds")
    await worker.ask("watch")
    watched = await worker.ask("holds")
    await worker.ask("idle_bytes", seconds=_SETTLE_SECONDS)
    idle = await worker.ask("idle_bytes", seconds=_IDLE_SECONDS)
    answer.lines["KiB in all"] = [
        Line("client", tuple(client)),
        Line("root, keepers and agent", tuple(sides)),
    ]
    answer.findings += _memory_findings(numbers[-1], base, held, watched, idle)


def _grown(base: dict[str, Any], held: dict[str, Any], side: str, what: str = "kib") -> float:
    return float(held[side][what] - base[side][what])


def _memory_findings(
    count: int, base: dict[str, Any], held: dict[str, Any], watched: dict[str, Any], idle: float
) -> list[Finding]:
    def each(side: str, what: str, now: dict[str, Any] = watched) -> float:
        return _grown(base, now, side, what) / count

    few = f"of {count:,} live handles"
    server = sum(each(side, "kib") for side in _SIDES)
    more = max(_grown(base, watched, side, "threads") for side in ("client", "agent"))
    return [
        Finding(
            f"client, {few}, held",
            (each("client", "kib", held),),
            Bound(1.5, at_least=False, stretch=1),
            "KiB each",
        ),
        Finding(f"client, {few}, held and waited for", (each("client", "kib"),), None, "KiB each"),
        Finding(
            f"root, keepers and agent, {few}",
            (server,),
            Bound(4, at_least=False, stretch=2),
            "KiB each",
        ),
        Finding(
            f"client, {few}",
            (each("client", "descriptors"),),
            Bound(0.01, at_least=False),
            "descriptors each",
        ),
        Finding(
            f"agent, {few}",
            (each("agent", "descriptors"),),
            Bound(0.01, at_least=False),
            "descriptors each",
        ),
        Finding(
            f"keepers, {few}",
            (each("keepers", "descriptors"),),
            Bound(3, at_least=False),
            "descriptors each",
        ),
        Finding(f"client and agent, {few}", (more,), Bound(0, at_least=False), "threads more"),
        Finding(
            f"over the client's connections, {few}, idle (heartbeat only)",
            (idle,),
            Bound(_HEARTBEAT, at_least=False),
            "bytes/s",
        ),
    ]


async def _growth(plan: Plan, numbers: list[int], answer: Answer) -> None:
    rates: list[tuple[float, float]] = []
    floors: list[tuple[float, float]] = []
    notices: list[tuple[float, float]] = []
    unloaded: tuple[float, ...] = ()
    loaded: tuple[float, ...] = ()
    async with contenders({_OURS: ("many", {}), _FLOOR: ("floor", {})}) as found:
        ours, counts = found.there[_OURS], dict.fromkeys(found.there, plan.size(1000, 100))
        await ours.rate(plan.size(3000, 200), AT_ONCE)
        begun = 0
        for number in (0, *numbers):
            plan.say(f"handles, rates beside {number}")
            await ours.ask("start_idle", count=number - begun)
            begun = number
            rounds = [await found.rates(counts, AT_ONCE) for _ in range(plan.rounds(3))]
            loaded = tuple(one[_OURS] for one in rounds)
            delays = await ours.ask("notices", count=plan.size(50, 10), pause=20)
            if number == 0:
                unloaded = loaded
                continue
            rates.append((number, spread(loaded).median))
            if _FLOOR in found.there:
                floors.append((number, spread([one[_FLOOR] for one in rounds]).median))
            notices.append((number, 1e6 * percentile(delays, 50)))
    answer.lines["commands/s"] = [Line(_OURS, tuple(rates))]
    if floors:
        answer.lines["commands/s"].append(Line(_FLOOR, tuple(floors)))
    answer.lines["us, exit notice, idle p50"] = [Line(_OURS, tuple(notices))]
    answer.figures += [
        Figure(f"{_OURS}, nothing else alive", "commands/s", unloaded),
        Figure(f"{_OURS}, {numbers[-1]:,} alive", "commands/s", loaded),
    ]
    middle = spread(unloaded).median
    answer.findings.append(
        Finding(
            f"start + wait while {numbers[-1]:,} are alive, over its own unloaded rate",
            tuple(rate / middle for rate in loaded),
            Bound(0.6, stretch=0.75),
        )
    )
