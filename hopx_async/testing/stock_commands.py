"""Programs as HopX's own agent runs them: argv without a shell, real processes, real flaws."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from hopx_async.errors import ApiError

__all__ = ["Background", "Programs", "StockRefusal"]

_WORKSPACE = "/workspace"
_RUN_SECONDS, _BACKGROUND_SECONDS = 30.0, 300.0
# Seconds between two looks whether a program that was killed has ended.
_LOOK_SECONDS = 0.01


class StockRefusal(ApiError, code="stock_refusal"):
    """A no in the words of HopX's agent; *word* is its code."""

    def __init__(self, word: str, message: str, *, status: int) -> None:
        super().__init__(message, status=status)
        self.word = word


@attrs.define
class Background:
    """A background command: what little is known of it.

    Attributes:
        process_id: Its id, as it was told.
        pid: Its process.
        started_at: Unix time of its start.
        ended_at: Unix time of its end, None while it runs.
        exit_code: Its code, None while it runs.
    """

    process_id: str
    pid: int
    started_at: float
    ended_at: float | None = None
    exit_code: int | None = None

    @property
    def status(self) -> str:
        """HopX's word for it."""
        if self.exit_code is None:
            return "running"
        return "completed" if self.exit_code == 0 else "failed"


class Programs:
    """Runs programs.

    Args:
        workspace: What ``/workspace`` is.
        env: What every program gets.

    Attributes:
        variables: What ``/env`` has set: on top of *env*, below a request's own.
        background: Commands in the background, by id. They are kept, and never ended from here.
    """

    def __init__(self, workspace: Path, env: Mapping[str, str]) -> None:
        self._workspace = workspace
        self._env = dict(env)
        self._watching: set[asyncio.Task[None]] = set()
        self.variables: dict[str, str] = {}
        self.background: dict[str, Background] = {}

    async def run(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Run a program to its end, and return what it printed.

        Raises:
            StockRefusal: If it could not be started, or ran into its limit.
        """
        begun = time.monotonic()
        process = await self._spawn(body, asyncio.subprocess.PIPE)
        seconds = _seconds(body, _RUN_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                out, err = await process.communicate()
        except TimeoutError:
            # Go's CommandContext ends the program alone, not what it has started.
            await _end(process)
            message = f"command timed out after {seconds:g}s"
            raise StockRefusal("EXECUTION_TIMEOUT", message, status=408) from None
        code = process.returncode or 0
        return {
            # What is not UTF-8 becomes U+FFFD on its way through JSON.
            "stdout": out.decode(errors="replace"),
            "stderr": err.decode(errors="replace"),
            "exit_code": -1 if code < 0 else code,  # Go tells no signal
            "execution_time": time.monotonic() - begun,
            "success": code == 0,
            "command": body["command"],
            "pid": process.pid,
        }

    async def start(self, body: Mapping[str, Any]) -> Background:
        """Start a program in the background; what it prints is lost.

        Raises:
            StockRefusal: If it could not be started.
        """
        process = await self._spawn(body, asyncio.subprocess.DEVNULL)
        process_id = f"cmd_{time.time_ns()}{secrets.token_hex(2)}"
        known = Background(process_id, process.pid, time.time())
        self.background[process_id] = known
        task = asyncio.create_task(_watch(process, known, _seconds(body, _BACKGROUND_SECONDS)))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return known

    async def aclose(self) -> None:
        """Watch nothing any more; who runs goes on."""
        for task in [*self._watching]:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    async def _spawn(self, body: Mapping[str, Any], output: int) -> asyncio.subprocess.Process:
        program, arguments = body.get("command"), body.get("args") or []
        extra = body.get("env") or {}
        texts = [program, *arguments, *extra, *extra.values()]
        if not program or not all(isinstance(text, str) and "\0" not in text for text in texts):
            raise StockRefusal("INVALID_REQUEST", "command, args and env are texts", status=400)
        # Looked up in the agent's own PATH, not in that of the request.
        found = shutil.which(program, path=self._env.get("PATH", ""))
        if found is None:
            where = "no such file or directory" if "/" in program else "$PATH"
            text = f'exec: "{program}": executable file not found in {where}'
            raise StockRefusal("COMMAND_FAILED", text, status=500)
        try:
            return await asyncio.create_subprocess_exec(
                found,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory(body.get("workdir")),
                env={**self._env, **self.variables, **extra},
            )
        except OSError as error:
            why = os.strerror(error.errno or errno.EIO).lower()
            text = f"fork/exec {found}: {why}"
            raise StockRefusal("COMMAND_FAILED", text, status=500) from None

    def _directory(self, workdir: object) -> Path:
        """Return where a program runs: only this name counts, and the default is the root."""
        if not isinstance(workdir, str) or not workdir:
            return Path("/")
        if workdir == _WORKSPACE or workdir.startswith(f"{_WORKSPACE}/"):
            place = self._workspace / workdir.removeprefix(_WORKSPACE).lstrip("/")
        else:
            place = Path("/", workdir)
        if not place.is_dir():
            text = f"chdir {workdir}: no such file or directory"
            raise StockRefusal("COMMAND_FAILED", text, status=500)
        return place


async def _watch(process: asyncio.subprocess.Process, known: Background, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        await _end(process)
    known.exit_code, known.ended_at = process.returncode, time.time()


async def _end(process: asyncio.subprocess.Process) -> None:
    # Neither `kill` nor `close` of a process that ends just then: both look whether it has, and
    # so take its status away from asyncio, which makes up 255. Nor `wait` alone: whoever has
    # inherited a pipe of it would be waited for as well.
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
    while process.returncode is None:  # noqa: ASYNC110  # asyncio has no event for it
        await asyncio.sleep(_LOOK_SECONDS)
    transport: Any = process._transport  # type: ignore[attr-defined]  # noqa: SLF001
    transport.close()
    await process.wait()


def _seconds(body: Mapping[str, Any], default: float) -> float:
    given = body.get("timeout")
    return float(given) if isinstance(given, int) and given > 0 else default
