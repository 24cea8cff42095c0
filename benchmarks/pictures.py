"""One picture a question: bars with their spread, and lines where something grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.verdict import Answer, Figure, Line, spread

__all__ = ["draw"]

_BAR_INCHES = 0.36
_WIDE = 8.0
_LINES_HIGH = 3.6
_OURS = "#1f6fb2"
_THEIRS = "#9aa5b1"


def draw(answer: Answer, title: str, path: Path) -> None:
    """Draw the figures and lines of an answer into a file; nothing if it has none."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    units = list(dict.fromkeys(figure.unit for figure in answer.figures))
    bars = [[one for one in answer.figures if one.unit == unit] for unit in units]
    heights = [0.9 + _BAR_INCHES * len(group) for group in bars]
    heights += [_LINES_HIGH] * len(answer.lines)
    if not heights:
        return
    figure, axes = plt.subplots(
        len(heights),
        figsize=(_WIDE, sum(heights) + 0.4),
        squeeze=False,
        height_ratios=heights,
        layout="constrained",
    )
    places: list[Any] = [row[0] for row in axes]
    for group, unit in zip(bars, units, strict=True):
        _bars(places.pop(0), group, unit)
    for unit, lines in answer.lines.items():
        _lines(places.pop(0), lines, unit, answer.over)
    figure.suptitle(title)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _bars(axes: Any, figures: list[Figure], unit: str) -> None:
    found = [spread(figure.values) for figure in figures]
    middle = [one.median for one in found]
    reach = [[one.median - one.low for one in found], [one.high - one.median for one in found]]
    names = [figure.name for figure in figures]
    colours = [_OURS if name.startswith("hopx_async") else _THEIRS for name in names]
    axes.barh(names, middle, xerr=reach, color=colours, ecolor="#333333", capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel(f"{unit}: median, lowest and highest round")


def _lines(axes: Any, lines: list[Line], unit: str, over: str) -> None:
    for line in lines:
        axes.plot(*zip(*line.points, strict=True), marker="o", label=line.name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(over)
    axes.set_ylabel(unit)
    axes.legend()
    axes.grid(visible=True, alpha=0.3)
