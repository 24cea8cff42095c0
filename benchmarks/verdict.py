"""What is made of the figures: ratios, spread, bounds and verdicts. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

import attrs

__all__ = [
    "SLACK",
    "Answer",
    "Bound",
    "Figure",
    "Finding",
    "Line",
    "Spread",
    "Verdict",
    "percentile",
    "ratios",
    "spread",
]

#: A guard fails when the best round is worse than so much of a bound.
SLACK = 0.7

Verdict = Literal["reached", "stretch", "missed", "told", "NOT MEASURED"]


@attrs.frozen
class Spread:
    """The middle one of some values, and the two at the ends."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return median and extremes of *values*, of which there is at least one."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Return ours over theirs, round by round: what shook one round shook both."""
    return tuple(a / b for a, b in zip(ours, theirs, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that *percent* of *values* do not exceed (the nearest one there is)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@attrs.frozen
class Bound:
    """What a finding has to reach.

    Attributes:
        limit: The bound.
        at_least: Whether more is better.
        stretch: What would be better still, None for nothing.
    """

    limit: float
    at_least: bool = True
    stretch: float | None = None

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        more = "" if self.stretch is None else f" (stretch {self.stretch:g})"
        return f"{sign} {self.limit:g}{more}"

    def holds(self, value: float, limit: float | None = None) -> bool:
        """Tell whether *value* is within the bound, or within another *limit*."""
        limit = self.limit if limit is None else limit
        return value >= limit if self.at_least else value <= limit


@attrs.frozen
class Figure:
    """Something measured, one value a round.

    Attributes:
        name: Who, and of what.
        unit: Of the values.
        values: One a round.
    """

    name: str
    unit: str
    values: tuple[float, ...]


@attrs.frozen
class Finding:
    """One line of the answer: a ratio, or a figure that has a bound of its own.

    Attributes:
        text: What it is.
        values: One a round; empty if it could not be measured.
        bound: What it has to reach, None if it is only told.
        unit: Of the values, "" for a ratio.
        guarded: Whether the quick form fails on it.
        missing: Why it could not be measured.
    """

    text: str
    values: tuple[float, ...] = ()
    bound: Bound | None = None
    unit: str = ""
    guarded: bool = False
    missing: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the median says of the bound."""
        if not self.values:
            return "NOT MEASURED"
        if self.bound is None:
            return "told"
        median = spread(self.values).median
        if self.bound.stretch is not None and self.bound.holds(median, self.bound.stretch):
            return "stretch"
        return "reached" if self.bound.holds(median) else "missed"

    @property
    def alarm(self) -> str | None:
        """Why the quick form fails on it, None if it does not: it is no timed test."""
        if not self.guarded or self.bound is None:
            return None
        if not self.values:
            return f"{self.text}: not measured: {self.missing}"
        best = max(self.values) if self.bound.at_least else min(self.values)
        limit = self.bound.limit * (SLACK if self.bound.at_least else 1 / SLACK)
        if self.bound.holds(best, limit):
            return None
        return f"{self.text}: {best:.3g}{self.unit} in the best round, alarm at {limit:.3g}"


@attrs.frozen
class Line:
    """One line of a picture: values over a growing number."""

    name: str
    points: tuple[tuple[float, float], ...]


@attrs.define
class Answer:
    """What was found on one question.

    Attributes:
        figures: What was measured.
        findings: What that says.
        notes: What a reader should know, a sentence each.
        lines: By unit: what grows, or does not, over the number in `over`.
        over: What the lines are drawn over.
    """

    figures: list[Figure] = attrs.field(factory=list)
    findings: list[Finding] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    lines: dict[str, list[Line]] = attrs.field(factory=dict)
    over: str = "live handles"
