"""Every end reason that a host without further rights can tell, as a caller sees it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import hopx_async as hopx

#: What is run, and the fate it must have: reason, code, signal, status.
_BY_ITSELF: list[tuple[str, dict[str, Any], tuple[str, int | None, str | None, str]]] = [
    ("exit 0", {}, ("exited", 0, None, "completed")),
    ("exit 3", {}, ("exited", 3, None, "failed")),
    ("kill -9 $$", {}, ("signaled", None, "SIGKILL", "failed")),
    ("kill -TERM $$", {}, ("signaled", None, "SIGTERM", "failed")),
    ("exec sleep 300", {"timeout": 0.1}, ("timed_out", None, "SIGTERM", "failed")),
]


def fate(end: hopx.Exit) -> tuple[str, int | None, str | None, str]:
    """Return what an end says of itself."""
    return end.reason, end.exit_code, end.signal, end.status


@pytest.mark.parametrize(("command", "options", "expected"), _BY_ITSELF)
async def test_ends_of_a_commands_own_or_of_its_limits(
    command: str, options: dict[str, Any], expected: tuple[str, int | None, str | None, str]
) -> None:
    """Exit, signal and time limit are told apart."""
    async with hopx.local() as sandbox:
        handle = await sandbox.commands.start(command, **options)
        assert fate(await handle.wait()) == expected


async def test_ends_by_others() -> None:
    """A kill is killed; a signal by its name, or from outside, is signaled."""
    async with hopx.local() as sandbox:
        start = sandbox.commands.start
        killed, asked, shot = [await start("exec sleep 300") for _ in range(3)]
        assert fate(await killed.kill(grace=0)) == ("killed", None, "SIGKILL", "killed")
        await asked.send_signal("SIGKILL")
        assert fate(await asked.wait()) == ("signaled", None, "SIGKILL", "failed")
        assert shot.pid is not None
        os.kill(shot.pid, signal.SIGKILL)
        assert fate(await shot.wait()) == ("signaled", None, "SIGKILL", "failed")


async def test_the_sandboxs_end_is_in_the_log(tmp_path: Any) -> None:
    """What ends with its sandbox says so to whoever opens its state later."""
    async with hopx.local(state_dir=tmp_path / "state") as sandbox:
        await sandbox.commands.start("exec sleep 300", process_id="last")
    async with hopx.local(state_dir=tmp_path / "state") as sandbox:
        end = await (await sandbox.commands.get("last")).wait()
    assert fate(end) == ("sandbox_stopped", None, "SIGTERM", "killed")


async def test_a_program_that_is_not_there_cannot_be_started() -> None:
    """The start says so, and so does the command's info for good."""
    async with hopx.local() as sandbox:
        with pytest.raises(hopx.SpawnError):
            await sandbox.commands.start(["/nowhere/x"], process_id="none")
        info = await (await sandbox.commands.get("none")).info()
        assert info.exit is not None
        assert fate(info.exit) == ("spawn_failed", None, None, "failed")
