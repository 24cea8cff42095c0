"""Tests of benchmarks.contenders.lagging_agent."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from benchmarks.contenders.lagging_agent import read_lags

if TYPE_CHECKING:
    from pathlib import Path


def test_lags_are_read_once_and_whole(tmp_path: Path) -> None:
    """What is being written while it is read is left for the next time."""
    file = tmp_path / "lags"
    written = struct.pack("3d", 0.5, 0.25, 0.125)
    file.write_bytes(written[:20])
    lags, offset = read_lags(tmp_path, 0)
    assert (lags, offset) == ([0.5, 0.25], 16)
    file.write_bytes(written)
    assert read_lags(tmp_path, offset) == ([0.125], 24)
