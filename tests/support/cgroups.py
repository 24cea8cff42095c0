"""Cgroups made of plain files, and whether real ones can be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from hopx_async.keeper.cgroup import Group, Places, find_places

__all__ = ["REAL", "fake_places", "needs_cgroups", "needs_memory", "needs_pids"]

#: What this machine has.
REAL = find_places()

#: Skips a test, and says why, where no cgroup can be made.
needs_cgroups = pytest.mark.skipif(REAL.unified is None, reason="no cgroup v2 is writable here")
#: The same where processes cannot be counted.
needs_pids = pytest.mark.skipif(not REAL.counts, reason="no cgroup here counts processes")
#: The same where no memory of version 1 can be limited.
needs_memory = pytest.mark.skipif(
    REAL.memory is None or REAL.pids is None, reason="no cgroup v1 limits memory here"
)


def fake_places(place: Path, *, cheap: bool = False) -> Places:
    """Return places whose hierarchy of version 2 is a directory of plain files."""
    (place / "cgroup.procs").write_text("")
    (place / "cgroup.subtree_control").write_text("memory pids\n")
    return _FilePlaces(str(place), None, cheap=cheap)


class _FilePlaces(Places):
    """Makes the file that the kernel would."""

    def make(self, parent: str, name: str) -> Group:
        group = super().make(parent, name)
        Path(f"{self.unified}/{parent}/{name}/cgroup.procs").write_text("")
        return group
