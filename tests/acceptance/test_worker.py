"""The crash-safe worker of the examples, killed again and again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "crash_safe_worker.py"


@pytest.mark.leaves_orphans
@pytest.mark.parametrize(
    ("crashes", "count"),
    [(3, 300), pytest.param(10, 5000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
)
async def test_what_workers_handle_before_and_after_crashes_is_exact(
    crashes: int, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Killed with -9 while they consume, workers together handle each line exactly once."""
    spec = importlib.util.spec_from_file_location("crash_safe_worker", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    await example.main(crashes=crashes, count=count)
    assert capfd.readouterr().out.endswith(f"{crashes} crashes, {count} items, each once\n")
