"""The answers as a page, as JSON, and on a terminal."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from benchmarks.rows import Row
from benchmarks.verdict import Answer, Figure, Finding, spread

__all__ = ["as_json", "machine", "page", "table"]

_PACKAGES = (
    "hopx-async",
    "aiohttp",
    "anyio",
    "asyncssh",
    "hopx-ai",
    "msgspec",
    "swe-rex",
    "websockets",
)


def machine() -> dict[str, str]:
    """Return what the figures depend on: processor, memory, system, versions."""
    facts = {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{_memory() / 2**30:.0f} GiB",
        "system": f"Linux {platform.release()}",
        "Python": platform.python_version(),
    }
    for name in _PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _spread(values: tuple[float, ...], unit: str = "") -> str:
    found = spread(values)
    middle = f"{_number(found.median)} {unit}".rstrip()
    if found.low == found.high:
        return middle
    return f"{middle} ({_number(found.low)} .. {_number(found.high)})"


def _finding(finding: Finding) -> str:
    value = _spread(finding.values, finding.unit) if finding.values else finding.missing
    value = value.replace("|", "/")
    bound = "" if finding.bound is None else str(finding.bound)
    verdict = finding.verdict
    shown = f"**{verdict}**" if verdict in {"missed", "NOT MEASURED"} else verdict
    return f"| {finding.text} | {value} | {bound} | {shown} |"


def table(answer: Answer) -> list[str]:
    """Return the findings as the lines of a table."""
    head = ["| what | median (lowest .. highest round) | bound | verdict |", "|---|---|---|---|"]
    return head + [_finding(finding) for finding in answer.findings]


def _figures(figures: list[Figure]) -> list[str]:
    head = ["| figure | median (lowest .. highest round) |", "|---|---|"]
    return head + [f"| {one.name} | {_spread(one.values, one.unit)} |" for one in figures]


_WHY_NOT = (
    "Why a bound is missed, and what the profile shows: "
    "[what is not reached](../docs/explanation/performance.md#what-is-not-reached)."
)


def page(answers: Mapping[str, tuple[Row, Answer]], *, date: str, minutes: float) -> str:
    """Return the whole page of results."""
    facts = "; ".join(f"{name} {value}" for name, value in machine().items())
    lines = [
        "# Results",
        "",
        f"Made by `make bench` on {date}, in {minutes:.0f} minutes. [What it means](README.md).",
        "",
        f"{facts}.",
        "",
    ]
    for name, (row, answer) in answers.items():
        lines += [f"## {row.TITLE}", "", row.ABOUT, "", *table(answer), ""]
        missed = any(one.verdict == "missed" for one in answer.findings)
        notes = [*answer.notes, _WHY_NOT] if missed else answer.notes
        lines += [line for note in notes for line in (note, "")]
        if answer.figures:
            lines += [*_figures(answer.figures), ""]
        if answer.figures or answer.lines:
            lines += [f"![{row.TITLE}](pictures/{name}.png)", ""]
    return "\n".join(lines)


def as_json(answers: Mapping[str, tuple[Row, Answer]], *, date: str) -> dict[str, Any]:
    """Return everything as JSON can hold it."""
    return {
        "date": date,
        "machine": machine(),
        "answers": {name: attrs.asdict(answer) for name, (_, answer) in answers.items()},
    }
