"""What does a stock agent cost, where none of ours runs?"""

from __future__ import annotations

import importlib.util

from benchmarks.harness import Plan
from benchmarks.verdict import Answer, Bound, Finding

__all__ = ["ABOUT", "TITLE", "measure"]

TITLE = "stock agent"
ABOUT = "Commands kept by markers on an emulated stock agent, one request a tick for all of them."
_EMULATION = "hopx_async.control.stock"


async def measure(plan: Plan) -> Answer:
    """Tell why there is nothing to tell yet."""
    plan.say("stock agent: looking for the emulation")
    known = importlib.util.find_spec(_EMULATION) is not None
    missing = f"no emulation of a stock agent in this tree ({_EMULATION}: {known})"
    texts = ("commands/s", "exit notice", "requests per handle")
    findings = [Finding(f"markers, {text}", missing=missing) for text in texts]
    findings.append(
        Finding(
            "requests a second, 100 handles over 1",
            bound=Bound(1.5, at_least=False),
            missing=missing,
        )
    )
    return Answer(findings=findings)
