"""The page of results, of made-up answers."""

from __future__ import annotations

from benchmarks import report, rows
from benchmarks.verdict import Answer, Bound, Figure, Finding

ANSWER = Answer(
    figures=[Figure("hopx_async", "commands/s", (1500.0, 1600.0, 1234.0))],
    findings=[
        Finding("over the floor", (0.5, 0.8, 0.75), Bound(0.7)),
        Finding("over a peer", bound=Bound(2), missing="a | b is not installed"),
    ],
    notes=["Mind the gap."],
)


def test_the_page_has_every_line() -> None:
    """Medians, spread, bounds, verdicts, notes and the picture stand on the page."""
    one = rows.row("start-wait")
    page = report.page({"start-wait": (one, ANSWER)}, date="2026-01-02", minutes=19.6)

    assert "| over the floor | 0.75 (0.5 .. 0.8) | ≥ 0.7 | reached |" in page
    assert "| hopx_async | 1,500 commands/s (1,234 .. 1,600) |" in page
    assert "on 2026-01-02, in 20 minutes" in page
    assert "Mind the gap." in page
    assert "pictures/start-wait.png" in page


def test_a_missed_bound_leads_to_its_reasons() -> None:
    """Where every bound is reached there is nothing to explain."""
    one = rows.row("start-wait")
    pages = [
        report.page(
            {"start-wait": (one, Answer(findings=[Finding("over it", (value,), Bound(0.7))]))},
            date="2026-01-02",
            minutes=1,
        )
        for value in (0.6, 0.8)
    ]

    assert ["performance.md#what-is-not-reached" in page for page in pages] == [True, False]


def test_what_is_missing_is_told_loudly() -> None:
    """A row that could not be measured says so in capitals, and why, without breaking the table."""
    assert report.table(ANSWER)[-1] == (
        "| over a peer | a / b is not installed | ≥ 2 | **NOT MEASURED** |"
    )


def test_every_row_is_there() -> None:
    """Each name leads to a module with a title, a word about it, and a measurement."""
    found = [rows.row(name) for name in rows.NAMES]

    assert all(one.TITLE and one.ABOUT and callable(one.measure) for one in found)
    assert set(rows.QUICK) <= set(rows.NAMES)
