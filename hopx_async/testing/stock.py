"""One emulated stock sandbox as a process: ``python -m hopx_async.testing.stock``. Linux only.

It is told and asked like the root of our own agent, so that a local server can hold either.
The process itself serves nothing: it adopts every orphan, and ends all of them at its own
end. A child of it is the agent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hopx_async.protocol.markers import marker_root
from hopx_async.testing.stock_agent import REQUESTS_PER_MINUTE, StockAgent, StockSettings

if TYPE_CHECKING:
    from hopx_async.keeper.options import Options
    from hopx_async.keeper.state import StateDir

__all__ = ["main"]

_STEP_SECONDS = 0.02


def main(arguments: Sequence[str] | None = None) -> int:
    """Be a sandbox until told to stop; return the exit status.

    Args:
        arguments: The command line, None for the process's own.
    """
    if sys.platform != "linux":
        sys.stderr.write(f"hopx_async.testing.stock needs Linux, this is {sys.platform}\n")
        return 1
    from hopx_async.keeper.options import Options, RootError, parse_arguments, read_config
    from hopx_async.keeper.supervisor import say

    settings, rest = _settings(sys.argv[1:] if arguments is None else arguments)
    options = Options()
    try:
        options = parse_arguments(rest)
        said = b""
        if options.parent_fd is not None:
            config = read_config(options.parent_fd)
            if config is None:
                return 0
            options.take_config(config[0])
            said = config[1]
            if options.detached and os.fork():
                os._exit(0)
        options.check()
        return _hold(options, settings, said)
    except RootError as error:
        if options.announce:
            say(json.dumps(error.to_dict()))
        else:
            sys.stderr.write(f"hopx_async.testing.stock: {error}\n")
        return 1


def _settings(arguments: Sequence[str]) -> tuple[StockSettings, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m hopx_async.testing.stock", add_help=False)
    parser.add_argument("--requests-per-minute", type=int, default=REQUESTS_PER_MINUTE)
    parser.add_argument("--fault-rate", type=float, default=0.0)
    known, rest = parser.parse_known_args(arguments)
    most, rate = known.requests_per_minute, known.fault_rate
    return StockSettings(requests_per_minute=most, fault_rate=rate), rest


def _hold(options: Options, settings: StockSettings, said: bytes) -> int:
    from hopx_async.keeper.root import listen
    from hopx_async.keeper.state import StateDir
    from hopx_async.keeper.subreaper import become_subreaper
    from hopx_async.keeper.supervisor import say, url_host

    state = StateDir(options.state_dir)
    workspace = Path(options.workspace or state.file("workspace"))
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    with listen(options.host, options.port) as sock:
        become_subreaper()
        url = f"http://{url_host(options.host)}:{sock.getsockname()[1]}"
        sandbox_id = options.sandbox_id or state.default_sandbox_id
        lifeline, end = os.pipe()
        agent = os.fork()
        if not agent:
            os.close(end)
            if options.parent_fd is not None:
                os.close(options.parent_fd)
            _be_agent(_agent(workspace, sandbox_id, state, options, settings), sock, lifeline)
    os.close(lifeline)
    holder = _Holder(agent, options)
    state.tell(url, os.getpid())
    facts = {"url": url, "token": state.token, "pid": os.getpid(), "agent_pid": agent}
    say(json.dumps(facts) if options.announce else f"emulated stock agent at {url}")
    try:
        return holder.run(said)
    finally:
        state.untell()
        os.close(end)
        # It is in this machine's own directory, which outlives the sandbox.
        shutil.rmtree(marker_root(sandbox_id), ignore_errors=True)


def _agent(
    workspace: Path, sandbox_id: str, state: StateDir, options: Options, settings: StockSettings
) -> StockAgent:
    from hopx_async.agent.tokens import verifier

    return StockAgent(
        workspace,
        sandbox_id=sandbox_id,
        token=state.token,
        verify=verifier(options.token_secret, sandbox_id),
        # What a sandbox is created with does not get here: HopX's does not get there, either.
        env=_environment(workspace),
        settings=settings,
        freeze=_freeze,
    )


def _be_agent(agent: StockAgent, sock: socket.socket, lifeline: int) -> None:
    """Serve until the end of the process that holds this one; never return."""

    async def serve() -> None:
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(lifeline, gone.set)
        await agent.open_on(sock)
        await gone.wait()

    try:
        asyncio.run(serve())
    except BaseException:  # noqa: BLE001  # the end of this process, whatever it was
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _environment(workspace: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOPX_SCOPE") if name in os.environ}
    return {"PATH": os.defpath, "HOME": str(workspace), "LANG": "C.UTF-8", **kept}


def _freeze(stop: bool) -> None:
    """Stop all programs of this sandbox, or let them go on."""
    from hopx_async.keeper import proc

    for pid in proc.descendants(os.getppid()):
        if pid != os.getpid():
            _signal(pid, signal.SIGSTOP if stop else signal.SIGCONT)


class _Holder:
    """Waits for the end, and sees to it that nothing is left then."""

    def __init__(self, agent: int, options: Options) -> None:
        self._agent = agent
        self._options = options
        self._lifeline = options.parent_fd
        self._line = b""
        self._grace: float | None = None

    def run(self, said: bytes) -> int:
        """Wait until told to stop, or the agent ends; then end everything."""
        wake, ring = os.pipe()
        os.set_blocking(ring, False)
        signal.set_wakeup_fd(ring)
        stops = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        for number in (*stops, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._take(said)
        alive = True
        while self._grace is None and alive:
            watched = [fd for fd in (wake, self._lifeline) if fd is not None]
            ready, _, _ = select.select(watched, [], [])
            if wake in ready and set(os.read(wake, 512)) & set(stops):
                self._grace = self._options.grace
            if self._lifeline is not None and self._lifeline in ready:
                self._listen(self._lifeline)
            alive = self._reap()
        self._end(self._grace or 0.0)
        return 0 if alive else 1

    def _listen(self, fd: int) -> None:
        data = os.read(fd, 65536)
        if data:
            self._take(data)
            return
        os.close(fd)
        self._lifeline = None
        if not self._options.detached and self._grace is None:
            self._grace = self._options.grace

    def _take(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._grace = float(json.loads(line)["stop"]["grace"])

    def _end(self, grace: float) -> None:
        """TERM, grace, KILL, until nothing descends from this process any more."""
        until = time.monotonic() + grace
        for pid in self._programs():
            _signal(pid, signal.SIGTERM)
        while self._programs() and time.monotonic() < until:
            time.sleep(_STEP_SECONDS)
            self._reap()
        while left := self._programs() or self._everybody():
            for pid in left:
                _signal(pid, signal.SIGKILL)
            time.sleep(_STEP_SECONDS)
            self._reap()

    def _everybody(self) -> list[int]:
        from hopx_async.keeper import proc

        return [*proc.descendants(os.getpid())]

    def _programs(self) -> list[int]:
        return [pid for pid in self._everybody() if pid != self._agent]

    def _reap(self) -> bool:
        """Reap whoever has ended; return whether the agent was not among them."""
        with contextlib.suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                if pid == self._agent:
                    return False
        return True


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main())
