"""The root process of an embedded agent, as its parent holds it: lifeline, announcement, end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread

from hopx_async.errors import AgentFault, BusyError, HopxError, InvalidArgument, Unsupported

__all__ = ["OURS", "START_SECONDS", "RootProcess", "stop_by_pid"]

#: The root of our own agent.
OURS = ("hopx_async.agent",)

#: Seconds in which an agent is up.
START_SECONDS = 60.0
# Beyond the grace period: KILL, proof, closing sockets.
_STOP_SECONDS = 20.0
# ... and beyond SIGKILL.
_KILLED_SECONDS = 20.0
_MAX_LINE = 64 * 1024


class RootProcess:
    """A root process started by this one.

    Its lifeline is a pipe: what it is told, and when its end closes, by whatever
    cause, the root ends its commands and goes.
    """

    def __init__(self, process: subprocess.Popen[bytes], lifeline: int, *, detached: bool) -> None:
        self._process = process
        self._lifeline: int | None = lifeline
        self._detached = detached
        # The root itself: a detached one is not the process that was started, nor is one
        # in namespaces, which that process waits for.
        self._pidfd: int | None = None

    @classmethod
    async def start(
        cls,
        state: Path,
        config: dict[str, Any],
        log: Path | None = None,
        program: Sequence[str] = OURS,
    ) -> Self:
        """Start a root on a state directory. Cancelling it leaves nothing behind.

        Args:
            state: The directory.
            config: What it is told.
            log: Where it complains; None for where this process does.
            program: The module that is run, and its first arguments.
        """
        spawned: list[Self] = []
        with anyio.CancelScope(shield=True):  # a spawn takes milliseconds
            spawned.append(await anyio.to_thread.run_sync(cls._spawn, state, config, log, program))
        return spawned[0]

    @classmethod
    def _spawn(
        cls, state: Path, config: dict[str, Any], log: Path | None, program: Sequence[str]
    ) -> Self:
        # Whoever outlives this process does not hold its terminal, or a pipe of its parent's.
        stderr = None if log is None else log.open("ab")
        theirs, ours = os.pipe()
        try:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", *program, "--announce"),
                    *("--state-dir", str(state), "--parent-fd", str(theirs)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_environment(),
                pass_fds=(theirs,),
                start_new_session=True,  # the terminal's Ctrl-C reaches the client alone
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            if stderr is not None:
                stderr.close()
        root = cls(process, ours, detached=bool(config.get("detached")))
        root._tell(config)
        return root

    async def announced(self) -> dict[str, Any]:
        """Return what the root says once it is ready: url, token, pid, agent_pid.

        Raises:
            BusyError: If another agent holds the state directory.
            InvalidArgument: If the state directory is not safe to use.
            AgentFault: If the root ended, or said nothing for too long.
        """
        stdout = self._process.stdout
        if stdout is None:
            raise AssertionError("stdout was asked for as a pipe")
        reader = asyncio.StreamReader(limit=_MAX_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), stdout
        )
        line = b""
        try:
            with anyio.fail_after(START_SECONDS):
                line = await reader.readline()
            said = json.loads(line) if line else None
        except TimeoutError:
            raise AgentFault(f"the local agent was not up in {START_SECONDS:g} s") from None
        except ValueError:
            raise AgentFault(f"the local agent said {line[:80]!r}") from None
        finally:
            transport.close()
        if not isinstance(said, dict) or "error" in said:
            await self._exited()
            raise self._refusal(said)
        if self._detached:
            await self._exited()
        # Its pid cannot have changed hands: whoever waits for it goes after it.
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(int(said["pid"]))
        return said

    def leave(self) -> None:
        """Let go: a detached root goes on without this process, one that is gone is forgotten."""
        self._close()

    async def stop(self, grace: float) -> None:
        """End it: commands first, then itself; killed if it does not end in time.

        Shielded: a task that is cancelled meanwhile (a second Ctrl-C does that) loses patience,
        no grace is left, and the cancellation gets through once it has ended. Called again while
        it ends, the new *grace* counts from then on.
        """
        cancelled: asyncio.CancelledError | None = None
        while True:
            self._tell({"stop": {"grace": grace}})
            try:
                await self._ended_within(grace + _STOP_SECONDS)
                break
            except asyncio.CancelledError as error:
                # asyncio's own cancellations know no shield.
                cancelled, grace = cancelled or error, 0.0
        self._close()
        if cancelled is not None:
            raise cancelled

    async def _ended_within(self, seconds: float) -> None:
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(seconds) as scope:
                await self._ended()
            if scope.cancelled_caught:
                # The keeper sees its end and ends its commands itself.
                self._kill()
                await self._ended()

    async def _ended(self) -> None:
        await self._exited()
        if self._pidfd is not None:
            # Its own copy: a loop knows one waiter of a descriptor, and stop() may run twice.
            await _wait_for_pidfd(os.dup(self._pidfd))

    def _kill(self) -> None:
        if self._pidfd is None:
            self._process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def _exited(self) -> int:
        if self._process.poll() is None:
            await _wait_for_pid(self._process.pid)
        return self._process.wait()

    def _tell(self, message: dict[str, Any]) -> None:
        if self._lifeline is None:
            return
        # If it is gone, its announcement or its status says why.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._lifeline, json.dumps(message).encode() + b"\n")

    def _close(self) -> None:
        for fd in (self._lifeline, self._pidfd):
            if fd is not None:
                os.close(fd)
        self._lifeline = self._pidfd = None

    def _refusal(self, said: Any) -> HopxError:
        error = said["error"] if isinstance(said, dict) else {}
        message = str(error.get("message", "it said nothing"))
        if error.get("code") == "state_dir_held":
            return BusyError(message)
        if error.get("code") == "unsupported":
            return Unsupported(message)
        if error.get("code") in {"state_dir_unsafe", "invalid_argument"}:
            parameter = str(error.get("parameter", "state_dir"))
            rule = str(error.get("rule", message))
            return InvalidArgument(parameter, str(error.get("value", "?")), rule)
        status = self._process.returncode
        return AgentFault(f"the local agent could not start (status {status}): {message}")


async def stop_by_pid(pid: int, *, grace: float) -> None:
    """End the root *pid*, which is no child of ours, by SIGTERM; SIGKILL if it does not end.

    Returns when it has ended. Shielded and bounded.

    Raises:
        AgentFault: If not even SIGKILL has ended it.
    """
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    with anyio.CancelScope(shield=True):
        if await _ends_within(pid, grace + _STOP_SECONDS):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if not await _ends_within(pid, _KILLED_SECONDS):
            raise AgentFault(f"the root process {pid} did not even end by SIGKILL")


async def _ends_within(pid: int, seconds: float) -> bool:
    with anyio.move_on_after(seconds) as scope:
        await _wait_for_pid(pid)
    return not scope.cancelled_caught


async def _wait_for_pid(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    await _wait_for_pidfd(pidfd)


async def _wait_for_pidfd(pidfd: int) -> None:
    loop = asyncio.get_running_loop()
    ended = anyio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _environment() -> dict[str, str]:
    # The agent's environment is readable by its commands: nothing of ours goes there,
    # but for the scopes that this process itself runs in.
    return {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "HOPX_SCOPE", "TMPDIR", "USER"}
        or name.startswith("LC_")
    }
