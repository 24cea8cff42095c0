"""A byte of a finished log is changed: its readers get an end, or an error that says so."""

from __future__ import annotations

import pytest
from hypothesis import example, given

from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol.cursor import START, Position
from hopx_async.protocol.events import Event, Exited, Lost
from hopx_async.protocol.link import Link
from hopx_async.protocol.peer import Peer
from hopx_async.protocol.subscription import Subscription
from tests.protocol.damaged import LAST_TOO_LARGE, DamagedLog, damages


def _read(
    log: DamagedLog, position: Position = START, *, output: bool = True
) -> tuple[list[Event], Subscription]:
    """Read all that there is over a link, until neither side has anything to say."""
    peer, link = Peer(log), Link()
    link.connected(1)
    subscription = link.subscribe(log.process_id, position, output=output)
    events: list[Event] = []
    moved = True
    while moved:
        moved = False
        while (said := link.data_to_send(1)) is not None:
            peer.receive(said)
            moved = True
        while (frame := peer.next_frame()) is not None:
            link.receive(1, frame)
            moved = True
        while (event := subscription.take()) is not None:
            events.append(event)
            moved = True
    return events, subscription


def _check(events: list[Event], subscription: Subscription) -> None:
    assert subscription.done, "it waits for ever"
    if subscription.error is None:
        assert isinstance(events[-1], Exited | Lost)
    else:
        assert isinstance(subscription.error, RemoteProtocolError)


@given(damages)
@example(LAST_TOO_LARGE)
def test_a_stream_ends_or_says_that_the_log_is_damaged(damage: tuple[int, int]) -> None:
    """Whatever byte is changed: events and an end, or RemoteProtocolError; no silence."""
    _check(*_read(DamagedLog(damage)))


@given(damages)
def test_a_wait_ends_or_says_that_the_log_is_damaged(damage: tuple[int, int]) -> None:
    """Who waits for the last record alone is told as well."""
    _check(*_read(DamagedLog(damage), output=False))


@pytest.mark.parametrize("delta", [-1, 1, 16])
def test_a_log_whose_end_is_swallowed_or_cut_is_damaged(delta: int) -> None:
    """A last record of another size than is left is no end."""
    log = DamagedLog((0, 0))
    start, last = log.last(log.process_id)
    size = int.from_bytes(last[4:8], "little") + delta
    log.change(start + 4, size.to_bytes(4, "little"))
    events, subscription = _read(log)
    _check(events, subscription)
    assert subscription.error is not None
    assert not any(isinstance(event, Exited) for event in events)


def test_a_record_that_swallows_the_last_one_is_told() -> None:
    """Where what is damaged ends just at the end, nothing is left over, and there is no end."""
    log = DamagedLog((0, 0))
    start, _ = log.last(log.process_id)
    log.swallow(start)
    events, subscription = _read(log)
    _check(events, subscription)
    assert "over without an end" in str(subscription.error)


def test_a_figure_that_became_infinite_is_told() -> None:
    """A number that no whole number can be made of is damage, not a bug."""
    log = DamagedLog((0, 0))
    log.change(log.find(b"1099999") + 1, b"e")
    events, subscription = _read(log)
    _check(events, subscription)
    assert "no usage" in str(subscription.error)


def test_who_has_read_the_end_is_told_nothing() -> None:
    """A reader behind the last record just ends, damaged or not."""
    log = DamagedLog((0, 0))
    events, subscription = _read(log, Position(log.end(log.process_id), 0, 0))
    assert (events, subscription.done, subscription.error) == ([], True, None)
