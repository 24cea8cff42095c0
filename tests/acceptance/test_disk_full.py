"""A state directory that fills up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import hopx_async as hopx

MEGABYTE = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "none", str(path)],
        check=False, capture_output=True,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no mount here: {mounted.stderr.decode()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


async def test_a_full_disk_holds_one_command_and_no_other(small_disk: Path) -> None:
    """The command that meets the full disk waits, others go on, and it recovers whole."""
    async with hopx.local(state_dir=small_disk / "state") as sandbox:
        quiet = await sandbox.commands.start("read x; echo never")
        waiting = await sandbox.commands.start(["sleep", "300"])
        ballast = small_disk / "ballast"
        free = os.statvfs(small_disk)
        ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - 6 * MEGABYTE)))
        loud = await sandbox.commands.start("head -c 12000000 /dev/zero; echo done >&2")
        with anyio.move_on_after(1.0) as scope:
            await loud.wait()
        assert scope.cancelled_caught, "12 MB do not fit into 6"
        assert (await quiet.wait()).ok
        with pytest.raises(hopx.AgentFault) as caught:
            for _ in range(1000):
                await sandbox.commands.start("true")
        assert caught.value.status == 507
        assert (await waiting.kill()).reason == "killed", "an end has its reserve"
        ballast.unlink()
        result = await loud.result()
        assert (len(result.stdout_bytes), result.stderr, result.ok) == (12_000_000, "done\n", True)
        assert (await sandbox.commands.run("echo again")).stdout == "again\n"
