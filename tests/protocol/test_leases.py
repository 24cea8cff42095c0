"""Leases: whoever reads on loses nothing, whoever stops holds nothing back for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hopx_async.protocol.leases import LEASE_STEP, Hold, Leases
from hopx_async.protocol.lifecycle import LEASE_SECONDS

KEPT = 64 * LEASE_STEP
LOOK = LEASE_SECONDS / 4


def test_a_reader_holds_from_where_it_stands() -> None:
    """The writer is told of the first reader, then only when it has moved enough or time went."""
    leases = Leases(KEPT)
    leases.join("a", 100, 0.0)

    assert leases.due(0.0) == Hold(100, LEASE_SECONDS)
    leases.moved("a", 200, 10**9, 0.1)
    assert leases.due(0.1) is None
    leases.moved("a", 100 + LEASE_STEP, 10**9, 0.2)
    assert leases.due(0.2) == Hold(100 + LEASE_STEP, LEASE_SECONDS)


def test_who_does_not_move_holds_nothing_for_long() -> None:
    """A lease runs out; steps that are too small do not renew it; then the writer is told once."""
    leases = Leases(KEPT)
    leases.join("a", 0, 0.0)
    leases.due(0.0)
    leases.moved("a", 10, 10**9, LEASE_SECONDS - 1)
    leases.look(10**9, LEASE_SECONDS - 1)

    assert leases.due(LEASE_SECONDS + 0.1) == Hold(0, 0.0)
    assert leases.due(LEASE_SECONDS + 0.2) is None


def test_who_has_read_everything_keeps_its_lease() -> None:
    """A reader at the end waits for output as long as it likes."""
    leases = Leases(KEPT)
    leases.join("a", 0, 0.0)
    leases.moved("a", 500, 500, 0.0)
    now = 0.0
    for _ in range(50):
        now += LOOK
        leases.look(500, now)
        leases.due(now)

    leases.moved("a", 500, 10**9, now)
    assert leases.due(now + 1) is None or leases.due(now + 1) == Hold(500, LEASE_SECONDS)


def test_the_slowest_counts_until_it_leaves() -> None:
    """Of several readers the one farthest back decides; when it goes, the next one does."""
    leases = Leases(KEPT)
    leases.join("slow", 0, 0.0)
    leases.join("fast", 50 * LEASE_STEP, 0.0)

    assert leases.due(0.0) == Hold(0, LEASE_SECONDS)
    leases.leave("slow")
    assert leases.due(0.0) == Hold(50 * LEASE_STEP, LEASE_SECONDS)
    leases.leave("fast")
    assert leases.due(0.0) == Hold(0, 0.0)
    assert len(leases) == 0


class _Writer:
    """A log whose writer keeps what it is told, and stops where it has no room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.end = 0
        self.freed = 0
        self.pin: int | None = None
        self.until = 0.0

    def told(self, hold: Hold | None, now: float) -> None:
        if hold is not None:
            self.pin = hold.offset if hold.seconds > 0 else None
            self.until = now + hold.seconds

    def write(self, size: int, now: float) -> None:
        if self.pin is not None and now >= self.until:
            self.pin = None
        if self.pin is not None:
            size = max(0, min(size, self.pin + self.room - self.end))
        self.end += size
        most = self.end if self.pin is None else self.pin
        self.freed = max(self.freed, min(self.end - self.room, most))

    @property
    def stopped(self) -> bool:
        return self.pin is not None and self.end - self.pin >= self.room


@given(
    kept=st.sampled_from([8 * 1024, KEPT // 8, KEPT]),
    steps=st.lists(
        st.tuples(st.floats(0.0, LOOK), st.floats(0.0, 2.0), st.floats(0.05, 1.0), st.booleans()),
        max_size=60,
    ),
)
def test_who_reads_on_loses_nothing_and_nobody_holds_for_ever(
    kept: int, steps: list[tuple[float, float, float, bool]]
) -> None:
    """Whatever is written and when, a steady reader finds all; a stopped one lets the writer go."""
    writer = _Writer(kept // 2)
    leases = Leases(kept)
    now, steady, lazy = 0.0, 0, 0
    leases.join("steady", 0, now)
    writer.told(leases.due(now), now)
    leases.join("lazy", 0, now)
    for pause, size, share, lazy_reads in steps:
        now += pause
        writer.write(int(size * kept), now)
        assert writer.freed <= steady
        assert writer.end - writer.freed <= writer.room or writer.pin is not None
        # It reads at least an eighth of what is kept, or all that there is.
        steady = min(writer.end, steady + max(kept // 8, int(share * kept)))
        leases.moved("steady", steady, writer.end, now)
        if lazy_reads:
            lazy = min(writer.end, max(lazy, writer.freed) + 1)
            leases.moved("lazy", lazy, writer.end, now)
        leases.look(writer.end, now)
        writer.told(leases.due(now), now)

    # Both stop reading; there is more than they have read.
    leases.moved("steady", steady, writer.end + 1, now)
    writer.write(10 * kept, now)
    now += LEASE_SECONDS
    writer.write(kept, now)
    assert not writer.stopped
