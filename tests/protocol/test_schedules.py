"""Random schedules prove the link, and seeded bugs prove the schedules.

Each kind of schedule is tested alone: whatever heals (a reconnect, a second feed)
also hides, so a bug that one kind misses another must catch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hopx_async.protocol import link as links
from hopx_async.protocol import peer as peers
from hopx_async.protocol import records
from hopx_async.protocol import subscription as subscriptions
from hopx_async.protocol.budget import PATIENCE, Holders
from hopx_async.protocol.cursor import parse_cursor
from hopx_async.protocol.events import EventReader, Truncated
from hopx_async.protocol.link import Link
from hopx_async.protocol.peer import Peer
from hopx_async.testing.memory_log import MemoryLog
from tests.protocol.pair import Pair
from tests.protocol.schedules import KINDS, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from hopx_async.protocol.records import Record
    from hopx_async.protocol.subscription import Subscription

SEEDS = st.integers(0, 2**32 - 1)
#: Schedules of one kind within which a seeded bug must show.
_SEEDED = 400
_SOAK = 1_000


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200)
@given(seed=SEEDS)
def test_every_reader_gets_everything_once_and_in_order(kind: str, seed: int) -> None:
    """Whatever the schedule does, streams are exact, bounds hold and nobody starves."""
    run(kind, seed)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_schedules(kind: str) -> None:
    """A long run of the same, with longer schedules."""
    for seed in range(_SOAK):
        run(kind, seed, steps=1_000)


# Seeded bugs. Each is a change of one place, as a slip would be.


def credit_is_never_renewed(patch: pytest.MonkeyPatch) -> None:
    """The client forgets to grant."""
    patch.setattr(Link, "_grant", lambda *_: None)


def stale_cursor_on_asking_again(patch: pytest.MonkeyPatch) -> None:
    """The client asks from where it began, not from where it is."""
    ask = Link._ask

    def stale(link: Link, subscription: Subscription, feed: int) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(EventReader, "fed", subscription._start)
            ask(link, subscription, feed)

    patch.setattr(Link, "_ask", stale)


def duplicates_are_not_dropped(patch: pytest.MonkeyPatch) -> None:
    """The client takes in whatever comes."""

    def feed(reader: EventReader, _offset: int, data: bytes) -> int:
        reader._reader.feed(data)
        return len(data)

    patch.setattr(EventReader, "feed", feed)


def credit_ignores_what_is_buffered(patch: pytest.MonkeyPatch) -> None:
    """The client grants a whole window on each asking."""
    ask = Link._ask

    def forgetful(link: Link, subscription: Subscription, feed: int) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(EventReader, "pending", 0)
            ask(link, subscription, feed)

    patch.setattr(Link, "_ask", forgetful)


def end_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """The client goes on waiting behind the last event."""
    patch.setattr(EventReader, "ended", property(lambda _: False))


def dropped_buffer_rings_nobody(patch: pytest.MonkeyPatch) -> None:
    """A reader that waits is not told that its buffer is gone."""
    keep = Link._keep_budget
    patch.setattr(Link, "_keep_budget", lambda link, _: keep(link, links.News({}, [])))


def oldest_gives_way(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits longest for the rest of a record is thrown back."""

    def give_way(holders: Holders[Any]) -> Any:
        holder = next(iter(holders._held), None)
        holders.remove(holder)
        return holder

    patch.setattr(Holders, "give_way", give_way)


def agent_ignores_credit(patch: pytest.MonkeyPatch) -> None:
    """The agent sends whatever there is."""
    patch.setattr(peers._Asked, "total", property(lambda _: 1 << 60, lambda *_: None), raising=True)


def agent_forgets_to_go_on(patch: pytest.MonkeyPatch) -> None:
    """The agent gives an asking no second turn without news."""
    patch.setattr(Peer, "_settle", lambda _peer, asked, offset, size: _sent(asked, offset, size))


def _sent(asked: Any, offset: int, size: int) -> None:
    asked.offset = offset
    asked.sent += size


def agent_skips_a_byte(patch: pytest.MonkeyPatch) -> None:
    """The agent moves on by one byte too many."""
    settle = Peer._settle
    patch.setattr(
        Peer, "_settle", lambda peer, asked, offset, size: settle(peer, asked, offset + 1, size)
    )


def truncated_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    """The client counts a lost byte too many."""
    base = EventReader._base

    def wrong(reader: EventReader, record: Record) -> Truncated | None:
        event = base(reader, record)
        if event is None:
            return None
        return Truncated(
            process_id=event.process_id,
            cursor=event.cursor,
            at=event.at,
            stdout_bytes=event.stdout_bytes + 1,
            stderr_bytes=event.stderr_bytes,
        )

    patch.setattr(EventReader, "_base", wrong)


def base_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    """The log's segments count a byte too many."""
    begin = MemoryLog._open_segment

    def wrong(log: MemoryLog, at: float) -> None:
        if log.end:
            log._counts[records.STDOUT] += 1
        begin(log, at)

    patch.setattr(MemoryLog, "_open_segment", wrong)


def caught(kind: str) -> bool:
    """Return whether schedules of a kind notice that something is wrong."""
    for seed in range(_SEEDED):
        try:
            run(kind, seed)
        except Exception:  # noqa: BLE001  # whatever the bug does
            return True
    return False


@pytest.mark.parametrize(
    ("bug", "kinds"),
    [
        (credit_is_never_renewed, ["quiet"]),
        (stale_cursor_on_asking_again, ["drops"]),
        (duplicates_are_not_dropped, ["overlapped"]),
        (credit_ignores_what_is_buffered, ["drops", "restarts"]),
        (end_is_not_noticed, ["quiet", "drops", "overlapped", "restarts"]),
        (dropped_buffer_rings_nobody, ["quiet"]),
        (oldest_gives_way, ["quiet"]),
        (agent_ignores_credit, ["quiet", "drops"]),
        (agent_forgets_to_go_on, ["quiet"]),
        (agent_skips_a_byte, ["quiet", "drops", "overlapped", "restarts"]),
        (truncated_is_off_by_one, ["quiet", "drops"]),
        (base_is_off_by_one, ["quiet", "drops"]),
    ],
)
def test_a_seeded_bug_is_caught(
    bug: Callable[[pytest.MonkeyPatch], None], kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in either half makes the kinds of schedule fail that are made to find it."""
    bug(monkeypatch)

    assert [kind for kind in kinds if caught(kind)] == kinds


# What random schedules are too small for.


def frames_of_the_live_one(stuck: int) -> int:
    """Return after how many frames a live reader among stuck ones has read 2 MB."""
    pair = Pair(budget=1 << 20)
    pair.connect()
    busy, live = pair.start(), pair.start()
    pair.write(busy, "stdout", b"x" * 20_000)
    for _ in range(stuck):
        # Readers that never look, as the link sees them: too many for the harness to check.
        pair.link.subscribe(busy.process_id)
    pair.check = lambda: None  # type: ignore[method-assign]
    pair.settle()
    before = pair.frames
    reader = pair.read(live)
    for _ in range(20):
        pair.write(busy, "stdout", b"x" * 1_000)
        pair.write(live, "stdout", b"y" * 100_000)
        pair.settle()
    pair.end(live)
    pair.settle()
    reader.check_complete()
    return pair.frames - before


def test_a_live_reader_among_ten_thousand_stuck_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stuck readers cost a live one next to nothing, however many they are.

    All it ever costs are the frames in which they are not yet known to be stuck.
    """
    monkeypatch.setattr(subscriptions, "FIRST_WINDOW", 1024)
    alone = frames_of_the_live_one(0)

    assert frames_of_the_live_one(1_000) <= alone + PATIENCE
    assert frames_of_the_live_one(10_000) <= alone + PATIENCE


def frames_of_the_short_one() -> int:
    """Return after how many frames a short log is read beside long ones with much credit."""
    pair = Pair()
    pair.connect()
    for _ in range(5):
        pair.read(pair.start())
    for command in pair.commands:
        pair.write(command, "stdout", b"x" * 3_000_000)
    for _ in range(10):
        pair.round()
    short = pair.start()
    pair.end(short)
    reader = pair.read(short)
    before = pair.frames
    while not reader.done:
        assert pair.round()
    return pair.frames - before


def test_a_short_log_waits_for_no_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short log comes within few frames; were turns unfair, it would not."""
    assert frames_of_the_short_one() <= 4
    settle = Peer._settle

    def greedy(peer: Peer, asked: Any, offset: int, size: int) -> None:
        settle(peer, asked, offset, size)
        peer._turns.rotate(asked.queued)

    monkeypatch.setattr(Peer, "_settle", greedy)
    assert frames_of_the_short_one() > 4


def test_every_cursor_yields_the_exact_rest() -> None:
    """Whoever resumes from any event's cursor gets what follows it, and nothing else."""
    pair = Pair()
    pair.connect()
    command = pair.start(spec_size=1000)
    for number in range(30):
        stream = "stderr" if number % 3 == 0 else "stdout"
        pair.write(command, stream, bytes([number]) * (number * 997))
    pair.logs[command.process_id].retain(200_000)
    first = pair.read(command)
    pair.finish()
    for number, event in enumerate(first.events):
        again = pair.read(command, parse_cursor(event.process_id, event.cursor))
        pair.settle()
        again.check_complete()
        assert again.events == first.events[number + 1 :]
