"""What is made of figures, on made-up ones."""

from __future__ import annotations

import pytest

from benchmarks.verdict import Bound, Finding, Spread, percentile, ratios, spread

AT_LEAST = Bound(2.0, stretch=2.5)
AT_MOST = Bound(3.0, at_least=False, stretch=2.0)


def test_ratios_are_taken_round_by_round() -> None:
    """A round that was slow for both gives the same ratio as the others."""
    assert ratios([100.0, 10.0], [50.0, 5.0]) == (2.0, 2.0)


def test_ratios_refuse_rounds_that_do_not_match() -> None:
    """A round that one of them lacks is an error, not a shorter answer."""
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_spread_is_the_median_and_the_extremes() -> None:
    """One wild round does not move the median."""
    assert spread([1.0, 99.0, 2.0]) == Spread(2.0, 1.0, 99.0)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 51), (99, 100), (100, 100)])
def test_percentiles(percent: float, value: float) -> None:
    """A percentile is one of the values, the last one at most."""
    assert percentile([float(number) for number in range(1, 101)], percent) == value


@pytest.mark.parametrize(
    ("bound", "values", "verdict"),
    [
        (AT_LEAST, (1.0, 1.9, 9.0), "missed"),
        (AT_LEAST, (1.0, 2.0, 9.0), "reached"),
        (AT_LEAST, (1.0, 2.5, 9.0), "stretch"),
        (AT_MOST, (0.1, 3.1, 9.0), "missed"),
        (AT_MOST, (0.1, 3.0, 9.0), "reached"),
        (AT_MOST, (0.1, 2.0, 9.0), "stretch"),
        (None, (1.0,), "told"),
        (AT_MOST, (), "NOT MEASURED"),
    ],
)
def test_the_median_decides(bound: Bound | None, values: tuple[float, ...], verdict: str) -> None:
    """A verdict follows the median, never the best round; no value is no verdict."""
    assert Finding("x", values, bound).verdict == verdict


@pytest.mark.parametrize(
    ("bound", "values", "alarm"),
    [
        (AT_LEAST, (0.1, 1.4), False),  # 0.7 of the bound, in the best round
        (AT_LEAST, (0.1, 1.39), True),
        (AT_MOST, (99.0, 4.28), False),
        (AT_MOST, (99.0, 4.29), True),
        (None, (0.0,), False),
    ],
)
def test_an_alarm_looks_at_the_best_round(
    bound: Bound | None, values: tuple[float, ...], *, alarm: bool
) -> None:
    """Only what no round of a busy machine explains any more is an alarm."""
    assert (Finding("x", values, bound, guarded=True).alarm is not None) == alarm


def test_only_what_is_guarded_gives_an_alarm() -> None:
    """A row that is too noisy for a guard is told, and alarms nobody."""
    assert Finding("x", (0.1,), AT_LEAST).alarm is None


def test_what_is_guarded_and_not_measured_gives_an_alarm() -> None:
    """A guard that cannot be measured does not pass in silence."""
    alarm = Finding("x", (), AT_LEAST, guarded=True, missing="no compiler").alarm
    assert alarm is not None
    assert "no compiler" in alarm


def test_a_bound_says_what_it_asks() -> None:
    """Bounds print with their sign, and the stretch where there is one."""
    assert (str(AT_LEAST), str(Bound(1, at_least=False))) == ("≥ 2 (stretch 2.5)", "≤ 1")
