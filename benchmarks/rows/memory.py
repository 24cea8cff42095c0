"""How much memory do a client that streams and an agent with many readers take at most?"""

from __future__ import annotations

from benchmarks.harness import Plan, opened
from benchmarks.verdict import Answer, Bound, Finding

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "memory"
ABOUT = (
    "The peak of resident memory over what it was before, of a client that streams 1 GB, and of "
    "an agent whose log of 1 MB is read by 1,000 subscribers at once. Both begin with a process "
    "that has run some commands."
)
_BOUND = Bound(64, at_least=False)


async def measure(plan: Plan) -> Answer:
    """Measure each in a sandbox of its own, in rounds."""
    client: list[float] = []
    agent: list[float] = []
    rounds = plan.rounds(3)
    readers = plan.size(1000, 100)
    for number in range(rounds):
        plan.say(f"memory, round {number + 1} of {rounds}")
        async with opened("many") as worker:
            await worker.rate(plan.size(200, 50), 16)
            size = plan.size(1_000_000_000, 100_000_000)
            client.append(await worker.ask("client_peak", size=size))
        async with opened("many") as worker:
            await worker.rate(plan.size(200, 50), 16)
            agent.append(await worker.ask("agent_peak", readers=readers, size=1_000_000))
    text = f"of an agent that serves {readers:,} subscribers, peak over idle"
    return Answer(
        findings=[
            Finding("of a client that streams 1 GB, peak over idle", tuple(client), _BOUND, "MiB"),
            Finding(text, tuple(agent), _BOUND, "MiB"),
        ]
    )
