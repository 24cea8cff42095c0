"""Programs of the emulated stock agent: no shell, one name for the directory, Go's words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from hopx_async.testing import stock_commands
from hopx_async.testing.stock_commands import Programs, StockRefusal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation needs Linux")


@asynccontextmanager
async def programs(path: Path) -> AsyncGenerator[Programs]:
    """Run programs with a workspace."""
    run = Programs(path, {"PATH": "/usr/bin:/bin", "A": "agent"})
    try:
        yield run
    finally:
        await run.aclose()


async def refused(run: Programs, **body: Any) -> StockRefusal:
    """Return how a program is refused."""
    with pytest.raises(StockRefusal) as caught:
        await run.run(body)
    return caught.value


async def test_a_program_runs_to_its_end(tmp_path: Path) -> None:
    """Output, code and time are told; what is not UTF-8 is replaced; a code is no error."""
    async with programs(tmp_path) as run:
        ran = await run.run(
            {"command": "bash", "args": ["-c", r"printf 'a\xff'; echo b >&2; exit 3"]}
        )
        assert (ran["stdout"], ran["stderr"], ran["exit_code"]) == ("a\ufffd", "b\n", 3)
        assert ran["success"] is False
        assert (await run.run({"command": "bash", "args": ["-c", "kill -9 $$"]}))["exit_code"] == -1


async def test_there_is_no_shell(tmp_path: Path) -> None:
    """A line is taken for the name of a program, and the error is Go's."""
    async with programs(tmp_path) as run:
        error = await refused(run, command="echo hello")
        assert error.message == 'exec: "echo hello": executable file not found in $PATH'
        assert (error.status, error.word) == (500, "COMMAND_FAILED")
        # Looked up in the agent's own PATH.
        (tmp_path / "own").write_text("#!/bin/sh\n")
        (tmp_path / "own").chmod(0o755)
        await refused(run, command="own", env={"PATH": str(tmp_path)})
        (tmp_path / "own").write_text("#!/no/such/interpreter\n")
        error = await refused(run, command=str(tmp_path / "own"))
        assert error.message == f"fork/exec {tmp_path}/own: no such file or directory"


async def test_one_name_of_the_directory_counts(tmp_path: Path) -> None:
    """``workdir`` does, ``working_dir`` is ignored, and the default is the root."""
    (tmp_path / "sub").mkdir()
    async with programs(tmp_path) as run:

        async def where(**body: Any) -> str:
            return str((await run.run({"command": "pwd", **body}))["stdout"]).strip()

        assert await where() == "/"
        assert await where(working_dir="/workspace") == "/"
        assert await where(workdir="/workspace") == str(tmp_path)
        assert await where(workdir="/workspace/sub") == str(tmp_path / "sub")
        assert await where(workdir="/usr") == "/usr"
        error = await refused(run, command="pwd", workdir="/workspace/no")
        assert error.message == "chdir /workspace/no: no such file or directory"


async def test_variables_of_the_request_count_most(tmp_path: Path) -> None:
    """Then those of ``/env``, then those of the agent."""
    async with programs(tmp_path) as run:
        command = {"command": "bash", "args": ["-c", "echo $A"]}
        assert (await run.run(command))["stdout"] == "agent\n"
        run.variables["A"] = "global"
        assert (await run.run(command))["stdout"] == "global\n"
        assert (await run.run({**command, "env": {"A": "own"}}))["stdout"] == "own\n"


async def test_a_time_limit_ends_the_program_alone(tmp_path: Path) -> None:
    """The answer is 408; what it has started goes on, as with Go's CommandContext."""
    async with programs(tmp_path) as run:
        text = "sleep 4011 & echo $! > child; wait"
        body = {"command": "bash", "args": ["-c", text], "timeout": 1, "workdir": "/workspace"}
        error = await refused(run, **body)
        assert (error.status, error.word) == (408, "EXECUTION_TIMEOUT")
        child = int((tmp_path / "child").read_text())
        os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


async def test_a_program_in_the_background_leaves_no_output(tmp_path: Path) -> None:
    """It is known by an id, runs, ends, and what it printed is nowhere."""
    async with programs(tmp_path) as run:
        text = "echo out; echo x > ran; exit 3"
        body = {"command": "bash", "args": ["-c", text], "workdir": "/workspace"}
        known = await run.start(body)
        while known.status == "running":
            await asyncio.sleep(0.01)
        assert (known.status, known.exit_code) == ("failed", 3)
        assert known.process_id.startswith("cmd_")
        assert (tmp_path / "ran").exists()
        late = await run.start({"command": "sleep", "args": ["4012"], "timeout": 1})
        while late.status == "running":
            await asyncio.sleep(0.01)
        assert late.exit_code == -signal.SIGKILL


async def test_the_signal_that_ends_a_program_is_told(tmp_path: Path) -> None:
    """However quickly a program dies of its time limit, its end is the signal, not 255."""
    async with programs(tmp_path) as run:
        for _ in range(30):
            process = await run._spawn({"command": "sleep", "args": ["4013"]}, subprocess.DEVNULL)
            await stock_commands._end(process)
            assert process.returncode == -signal.SIGKILL


async def test_waiting_can_be_cancelled(tmp_path: Path) -> None:
    """Whoever asked has gone: the program is left to itself, as there."""
    async with programs(tmp_path) as run:
        os.mkfifo(tmp_path / "gate")
        body = {
            "command": "bash",
            "args": ["-c", "read x < gate; echo $x > done"],
            "workdir": "/workspace",
        }
        with anyio.move_on_after(0.2):
            await run.run(body)
        (tmp_path / "gate").write_text("through\n")
        while not (tmp_path / "done").exists() or not (tmp_path / "done").read_text():
            await asyncio.sleep(0.01)
