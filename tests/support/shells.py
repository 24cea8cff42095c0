"""Shells for tests of the markers: one that runs programs here, and loses answers on demand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from hopx_async.client import AgentClient
from hopx_async.errors import AgentFault, ConnectionLost, RateLimited
from hopx_async.keeper import proc
from hopx_async.model import Capabilities
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.protocol.rate import RateBudget
from hopx_async.sandbox import Sandbox
from hopx_async.transport.marker_calls import facts
from hopx_async.transport.markers import MarkerTransport
from hopx_async.transport.shell import Shell, ShellAnswer

__all__ = ["LocalShell", "Marked", "marked_sandbox", "quick", "reap", "supervisors_of"]


class LocalShell(Shell):
    """Runs programs on this machine, as an agent without a shell does.

    Attributes:
        requests: What was asked, without the program's own text.
        faults: How many of a hundred requests go wrong, each in one of five ways.
    """

    name = "here"

    def __init__(self, *, faults: int = 0, seed: int = 0) -> None:
        self.requests: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.answers: list[ShellAnswer] = []
        self.faults = faults
        self.closed = False
        self._chance = random.Random(seed)  # noqa: S311  # no secret

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        seconds: float,
        workdir: str | None = None,
    ) -> ShellAnswer:
        """Run it, unless this one goes wrong."""
        self.requests.append([one for one in argv if len(one) < 10_000])
        self.environments.append(dict(env or {}))
        fault = self._chance.choice(_FAULTS) if self._chance.randrange(100) < self.faults else ""
        if fault == "refused":
            raise RateLimited("too many requests", retry_after=0.01)
        if fault == "failed before":
            raise AgentFault("it failed", status=502)
        if fault == "delayed":
            await asyncio.sleep(0.2)
        if fault == "twice":
            await asyncio.gather(self._run(argv, env, workdir), self._run(argv, env, workdir))
        answer = await self._run(argv, env, workdir)
        if fault == "lost":
            raise ConnectionLost("the answer was lost")
        if fault == "failed after":
            raise AgentFault("it failed", status=503)
        self.answers.append(answer)
        return answer

    async def aclose(self) -> None:
        """Note that it was closed."""
        self.closed = True

    async def _run(
        self, argv: Sequence[str], env: Mapping[str, str] | None, workdir: str | None
    ) -> ShellAnswer:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **(env or {})},
            cwd=workdir or "/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            # As there: who asked has gone, what was asked for goes on.
            await asyncio.shield(process.communicate())
            raise
        return ShellAnswer(out.decode(), err.decode(), process.returncode or 0)


_FAULTS = ("refused", "failed before", "delayed", "twice", "lost", "failed after")


def quick() -> RateBudget:
    """Return a budget that lets everything pass at once."""
    return RateBudget(per_second=10_000, burst=10_000)


class Marked:
    """A sandbox whose commands are kept by markers, and what there is to look at."""

    def __init__(
        self,
        root: Path,
        workspace: Path,
        shell: LocalShell,
        budget: RateBudget,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> None:
        self.root = root
        self.shell = shell
        self.transport = MarkerTransport(
            shell, "sbx_marked", root=str(root), workspace=str(workspace), budget=budget
        )
        self.client = AgentClient(self.transport, "sbx_marked", give_up_after=give_up_after)
        capabilities = Capabilities(agent="stock", version="1", **facts()["capabilities"])
        self.sandbox = Sandbox(self.client, _Nothing(), capabilities)

    def supervisors(self) -> list[int]:
        """Return the supervisors that live."""
        return supervisors_of(self.root)


@asynccontextmanager
async def marked_sandbox(
    directory: Path,
    shell: LocalShell | None = None,
    *,
    budget: RateBudget | None = None,
    give_up_after: float = GIVE_UP_AFTER,
) -> AsyncGenerator[Marked]:
    """Open a sandbox by markers in a directory; in the end nothing of it is left."""
    marked = Marked(
        directory / "root", directory, shell or LocalShell(), budget or quick(), give_up_after
    )
    try:
        yield marked
    finally:
        marked.shell.faults = 0
        for info in await marked.sandbox.commands.list(status="running"):
            await marked.sandbox.commands.kill(info.process_id, 0.0)
        await marked.sandbox.aclose()
        await reap(marked.root)


def supervisors_of(root: Path) -> list[int]:
    """Return the supervisors of a directory of markers that live."""
    found = []
    for path in root.glob("c/*/sup"):
        pid, ticks, _ = path.read_text().split()
        stat = proc.read_stat(int(pid))
        if stat is not None and not stat.dead and stat.start_ticks == int(ticks):
            found.append(int(pid))
    return found


async def reap(root: Path) -> None:
    """Wait for the end of supervisors, and for those that became children of this process."""
    while supervisors_of(root):
        await asyncio.sleep(0.01)
    while mine := [pid for pid in proc.children(os.getpid()) if _is_supervisor(pid)]:
        for pid in mine:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        await asyncio.sleep(0.01)


def _is_supervisor(pid: int) -> bool:
    stat = proc.read_stat(pid)
    return stat is not None and stat.name == "hopx supervisor"


class _Nothing:
    async def release(self, grace: float | None) -> None:
        """Leave the commands alone."""

    async def kill(self) -> None:
        """Do nothing."""
