"""Tests of retries."""

from __future__ import annotations

from hopx_async.protocol.backoff import GIVE_UP_AFTER, Backoff


def test_the_first_retry_is_immediate_and_later_ones_double() -> None:
    """Failed returns no delay first, then delays that double up to the last."""
    backoff = Backoff(first=1.0, last=5.0)

    assert [backoff.failed(0.0, 1.0) for _ in range(6)] == [0.0, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.failures == 6


def test_chance_takes_up_to_half() -> None:
    """A delay is spread between half of it and all of it."""
    backoff = Backoff(first=1.0)
    backoff.failed(0.0, 0.0)

    assert backoff.failed(0.0, 0.0) == 0.5


def test_it_gives_up_after_its_time() -> None:
    """Failed returns the time left at most, and None once it is over."""
    backoff = Backoff(first=8.0, last=8.0, give_up_after=10.0)

    assert backoff.failed(100.0, 1.0) == 0.0
    assert backoff.failed(100.0, 1.0) == 8.0
    assert backoff.failed(108.0, 1.0) == 2.0
    assert backoff.failed(110.0, 1.0) is None


def test_a_success_forgets_the_failures() -> None:
    """After a success the next failure is the first again."""
    backoff = Backoff()
    backoff.failed(0.0, 1.0)
    backoff.succeeded()

    assert backoff.failures == 0
    assert backoff.failed(GIVE_UP_AFTER + 1, 1.0) == 0.0


def test_many_failures_do_not_overflow() -> None:
    """Failed returns the longest delay however many failures there were."""
    backoff = Backoff(last=2.0, give_up_after=float("inf"))

    assert {backoff.failed(0.0, 1.0) for _ in range(2_000)} >= {0.0, 2.0}
