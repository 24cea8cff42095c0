"""Tests of hopx_async.agent.dialect.processes."""

from __future__ import annotations

import os
import sys

import pytest

from hopx_async.agent.dialect.answers import Refused
from hopx_async.agent.dialect.processes import system_processes


async def test_this_process_is_there() -> None:
    """A row has what clients format, nothing of it null."""
    rows = {row["pid"]: row for row in await system_processes()}
    own = rows[os.getpid()]

    assert "python" in own["command"]
    assert own["memory_mb"] > 1
    assert all(value is not None for row in rows.values() for value in row.values())


async def test_without_psutil_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where psutil is missing, the answer says how to get it."""
    monkeypatch.setitem(sys.modules, "psutil", None)

    with pytest.raises(Refused, match=r"hopx-async\[serve\]"):
        await system_processes()
