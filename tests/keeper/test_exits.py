"""The payloads of ends, and what they do not invent."""

from __future__ import annotations

import pytest

from hopx_async.keeper.exits import failed_exit, lost_exit


@pytest.mark.parametrize(("started_at", "duration"), [(None, 0.0), (10.0, 5.0)])
def test_exits_without_a_leader(started_at: float | None, duration: float) -> None:
    """lost_exit and failed_exit invent neither code nor usage."""
    lost = lost_exit(started_at, 15.0)
    failed = failed_exit(2, "nope")

    assert (lost["reason"], lost["duration"], lost["ended_at"]) == ("lost", duration, 15.0)
    assert (failed["reason"], failed["errno"], failed["filename"]) == ("spawn_failed", 2, "nope")
    assert lost["exit_code"] is failed["exit_code"] is lost["usage"] is None
