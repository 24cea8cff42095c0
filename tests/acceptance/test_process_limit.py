"""The limit of processes: kept where a cgroup counts them, refused where none does."""

from __future__ import annotations

import sys

import pytest

import hopx_async as hopx
from hopx_async.errors import Unsupported
from tests.support.cgroups import REAL, needs_pids
from tests.support.namespaces import needs_isolation

_FORKS = """
import os, time
made = 0
try:
    while made < 20:
        if os.fork() == 0:
            time.sleep(300)
        made += 1
except OSError:
    os._exit(made)
"""


@needs_pids
async def test_no_more_processes_than_asked_for() -> None:
    """A command that may be four forks three times, and a kill reaches all of them."""
    async with hopx.local() as sandbox:
        assert sandbox.capabilities.process_limit
        limits = hopx.Limits(processes=4)
        handle = await sandbox.commands.start([sys.executable, "-c", _FORKS], limits=limits)
        end = await handle.wait()
        assert (end.exit_code, end.survivors) == (3, 3)
        await handle.kill(grace=0)
        # Others are not concerned.
        assert (await sandbox.commands.run("true & true & true & true & wait")).ok


@pytest.mark.skipif(REAL.counts, reason="a cgroup counts processes here")
async def test_a_limit_that_cannot_be_kept_is_refused() -> None:
    """Where no cgroup counts, nothing is started."""
    async with hopx.local() as sandbox:
        await refused(sandbox)


@needs_isolation
async def test_no_cgroup_is_made_inside_of_namespaces() -> None:
    """With isolation the hierarchies are read-only: the limit is refused, and told so."""
    async with hopx.local(isolation="namespace") as sandbox:
        await refused(sandbox)


async def refused(sandbox: hopx.Sandbox) -> None:
    """Expect that a limit of processes is not to be had."""
    assert not sandbox.capabilities.process_limit
    with pytest.raises(Unsupported, match="cgroup"):
        await sandbox.commands.start("true", limits=hopx.Limits(processes=4), process_id="none")
    assert await sandbox.commands.list() == []
