"""The questions, each a module: ``TITLE``, ``ABOUT`` and ``measure(plan)``."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from benchmarks.harness import Plan
from benchmarks.verdict import Answer

__all__ = ["NAMES", "QUICK", "Row", "row"]

#: In the order of the page.
NAMES = (
    "start-wait",
    "exit-notice",
    "output",
    "handles",
    "catch-up",
    "long-poll",
    "markers",
    "cold-start",
    "memory",
)
#: Those with a guard against regressions.
QUICK = ("start-wait", "exit-notice", "output")


class Row(Protocol):
    """A module of this package."""

    TITLE: str
    ABOUT: str

    async def measure(self, plan: Plan) -> Answer:
        """Measure, and judge what was measured."""
        ...


def row(name: str) -> Row:
    """Return the row that is called *name*."""
    return cast("Row", importlib.import_module(f"benchmarks.rows.{name.replace('-', '_')}"))
