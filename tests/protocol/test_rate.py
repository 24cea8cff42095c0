"""The rate of requests: a bucket that is never overdrawn, and a pace that slows down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hopx_async.protocol import rate
from hopx_async.protocol.rate import Pace, RateBudget

PAUSES = st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=200)


@given(PAUSES, st.floats(0.5, 50), st.integers(1, 30))
def test_no_window_holds_more_than_the_budget(
    pauses: list[float], per_second: float, burst: int
) -> None:
    """In any span of time there are at most the burst and what was refilled meanwhile."""
    budget = RateBudget(per_second=per_second, burst=burst)
    now, times = 0.0, []
    for pause in pauses:
        now += pause
        times.append(now + budget.take(now))
    for first in range(len(times)):
        for last in range(first, len(times)):
            made = last - first + 1
            assert made <= burst + 1 + (times[last] - times[first]) * per_second + 1e-6


def test_a_rested_budget_lets_a_burst_pass() -> None:
    """After a rest so many requests go at once, the next one waits."""
    budget = RateBudget(per_second=2, burst=3)
    assert [budget.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_a_refusal_closes_it_for_a_while() -> None:
    """Nothing passes before the far side wants to hear again; the longest wish counts."""
    budget = RateBudget(per_second=10, burst=1)
    budget.refused(5.0, 30.0)
    budget.refused(6.0, 1.0)
    assert budget.take(6.0) == 29.0
    assert budget.take(36.0) < 1.0


def test_polls_slow_down_and_hurry() -> None:
    """Each poll without news comes later, up to a bound; news bring it back."""
    pace = Pace()
    delays = [pace.after(news=False) for _ in range(20)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (rate.FIRST_TICK, rate.LAST_TICK)
    assert pace.after(news=True) == rate.FIRST_TICK
    pace.after(news=False)
    pace.hurry()
    assert pace.after(news=False) == rate.FIRST_TICK
