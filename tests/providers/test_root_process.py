"""The root process as its parent holds it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hopx_async.errors import AgentFault, InvalidArgument
from hopx_async.providers import root_process
from hopx_async.providers.root_process import RootProcess, stop_by_pid


async def test_stop_is_prompt_and_repeatable(tmp_path: Path) -> None:
    """stop ends the root; again it does nothing."""
    root = await RootProcess.start(tmp_path / "state", {})
    said = await root.announced()
    assert Path(f"/proc/{said['pid']}").exists()
    await root.stop(0.0)
    await root.stop(0.0)
    assert not Path(f"/proc/{said['pid']}").exists()


async def test_a_root_that_dies_at_once_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root that says nothing is AgentFault with its status."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    root = await RootProcess.start(tmp_path / "state", {})
    with pytest.raises(AgentFault, match="status 1"):
        await root.announced()
    await root.stop(0.0)


async def test_what_the_root_does_not_know_is_told(tmp_path: Path) -> None:
    """A word of the configuration that the root does not know is refused by name."""
    root = await RootProcess.start(tmp_path / "state", {"nonsense": 1})
    with pytest.raises(InvalidArgument, match="nonsense"):
        await root.announced()
    await root.stop(0.0)


@pytest.mark.leaves_orphans
async def test_stop_by_pid_ends_it(tmp_path: Path) -> None:
    """A root that is no child of ours is ended by its pid; one that is gone is no error."""
    root = await RootProcess.start(tmp_path / "state", {})
    said = await root.announced()
    await stop_by_pid(said["pid"], grace=0.0)
    await root.stop(0.0)
    await stop_by_pid(said["pid"], grace=0.0)


async def test_who_does_not_hear_sigterm_has_ended_when_stop_by_pid_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is killed, and not only told so."""
    monkeypatch.setattr(root_process, "_STOP_SECONDS", 0.05)
    deaf = "trap '' TERM; echo ready; while :; do read -r line; done"
    with subprocess.Popen(  # noqa: ASYNC220  # only its pid is used
        ["bash", "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        await stop_by_pid(process.pid, grace=0.0)
        # What a process is that has ended, and that its parent has not asked for.
        ended = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert ended == "Z"


@pytest.mark.leaves_orphans
async def test_a_root_that_is_killed_is_noticed(tmp_path: Path) -> None:
    """After kill -9 of the root, stop returns, and keeper and agent are gone."""
    root = await RootProcess.start(tmp_path / "state", {})
    said = await root.announced()
    os.kill(said["pid"], signal.SIGKILL)
    await root.stop(0.0)
    assert not Path(f"/proc/{said['pid']}").exists()
