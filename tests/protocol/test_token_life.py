"""When tokens are renewed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hopx_async.protocol.token_life import LEAST_LIFE, MOST_MARGIN, TokenLife

TIMES = st.floats(0, 1e9)


def test_a_token_of_a_day_is_renewed_minutes_before_its_end() -> None:
    """It is due when so much of it is left as the margin says."""
    life = TokenLife.of(1000.0 + 86400, wall=1000.0, now=5.0)

    assert not life.is_due(5.0 + 86400 - MOST_MARGIN - 1)
    assert life.is_due(5.0 + 86400 - MOST_MARGIN)


def test_a_token_of_minutes_is_not_renewed_at_once() -> None:
    """One that lives for less than the margin is used for nine tenths of its life."""
    life = TokenLife.of(100.0, wall=0.0, now=0.0)

    assert not life.is_due(89.0)
    assert life.is_due(90.0)


def test_one_that_cannot_be_renewed_is_used_to_its_end() -> None:
    """A failure puts the next try off; behind its end the token is worth nothing."""
    life = TokenLife.of(1000.0, wall=0.0, now=0.0)
    assert life.failed(950.0)
    assert not life.is_due(960.0)
    assert life.is_due(980.0)
    assert not life.failed(1000.0)


@given(wall=TIMES, skew=st.floats(-1e6, 1e6), now=TIMES)
def test_a_wrong_clock_makes_no_storm(wall: float, skew: float, now: float) -> None:
    """However the clocks differ, a token that has just come is not due, nor for a while."""
    life = TokenLife.of(wall + skew, wall=wall, now=now)

    assert not life.is_due(now + LEAST_LIFE / 2)


def test_a_token_without_an_end_is_renewed_when_it_is_refused() -> None:
    """No time, or one in the past, says nothing."""
    for ends in (None, -50.0, LEAST_LIFE - 1):
        life = TokenLife.of(ends, wall=0.0, now=0.0)
        assert not life.is_due(1e9)
        assert not life.failed(0.0)
