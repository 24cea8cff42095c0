"""Tombstones: for a day, and not too many."""

from __future__ import annotations

import time

import pytest

from hopx_async.agent.tombstones import Tombstones
from hopx_async.protocol import records


def test_an_id_is_remembered_for_a_day() -> None:
    """A forgotten id is known until its time is over."""
    stones = Tombstones()
    now = time.time()
    stones.fill({"young": now - 10, "old": now - records.TOMBSTONE_SECONDS - 10})

    assert "young" in stones
    assert "old" not in stones
    assert None not in stones
    assert len(stones) == 1


def test_the_oldest_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many the youngest are kept, in whichever order they were told."""
    monkeypatch.setattr(records, "MAX_TOMBSTONES", 3)
    stones = Tombstones()
    now = time.time()
    stones.fill({str(age): now - age for age in range(10)})

    assert [name for name in map(str, range(10)) if name in stones] == ["0", "1", "2"]
