"""Commands that keep a copy of what they write, and processes of an agent to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hopx_async as hopx
from hopx_async.keeper import proc

if TYPE_CHECKING:
    from tests.support.agents import RunningAgent

__all__ = ["ESCAPED", "Writers", "kill_now_and_then", "marked", "processes", "until"]

#: A child that hides from everything but its mark and its ancestry; it stops for nothing.
ESCAPED = "env -i setsid sh -c 'trap \"\" TERM HUP PIPE; sleep 300; sleep 300' & "
# A pause without a process: nobody ever writes into that pipe.
_WRITER = """
exec 9<> <(:)
for ((i = 0; i < {lines}; i++)); do
  line="$i of {number} $RANDOM"
  echo "$line" >> {copy}
  echo "$line"
  read -t 0.$((RANDOM % 10))$((RANDOM % 10)) -u 9
done
exit {code}
"""


class Writers:
    """Commands that write numbered lines with random pauses, each with a code of its own.

    Between two lines up to a second goes by.

    Args:
        sandbox: Where they run.
        directory: Where they keep their copies.
        lines: How many each writes.
    """

    def __init__(self, sandbox: hopx.Sandbox, directory: Path, *, lines: int) -> None:
        self._sandbox = sandbox
        self._directory = directory
        self._lines = lines
        self._events: dict[str, asyncio.Task[list[hopx.Event]]] = {}
        self._codes: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        """The ids of all that were started."""
        return list(self._codes)

    async def start(self, number: int) -> None:
        """Start one more and follow it."""
        name, code = f"w{number}", number % 256
        script = _WRITER.format(
            lines=self._lines,
            number=number,
            copy=self._copy(name),
            code=code,
        )
        handle = await self._sandbox.commands.start(script, process_id=name)
        self._codes[name] = code
        self._events[name] = asyncio.create_task(_follow(handle))

    def stop(self) -> None:
        """Follow them no more."""
        for task in self._events.values():
            task.cancel()

    async def ends(self) -> dict[str, hopx.Exit]:
        """Wait for all ends, and check every stream against its copy.

        What was lost is to be a prefix; what ended by itself is to be whole, with its code.
        """
        found = {}
        for name, task in self._events.items():
            found[name] = self.check(name, await task)
        return found

    def check(self, name: str, events: list[hopx.Event]) -> hopx.Exit:
        """Check one command's events; return its exit."""
        *before, last = events
        assert isinstance(last, hopx.Exited | hopx.Lost), last
        assert not any(isinstance(event, hopx.Exited | hopx.Lost) for event in before)
        assert not any(isinstance(event, hopx.Truncated) for event in before)
        written = b"".join(event.data for event in before if isinstance(event, hopx.Stdout))
        copy = self._copy(name).read_bytes() if self._copy(name).exists() else b""
        if last.exit.reason == "exited":
            assert written == copy
            assert written.count(b"\n") == self._lines
            assert last.exit.exit_code == self._codes[name]
        else:
            assert copy.startswith(written)
            assert last.exit.exit_code is None
        return last.exit

    def _copy(self, name: str) -> Path:
        return self._directory / f"{name}.copy"


async def _follow(handle: hopx.CommandHandle) -> list[hopx.Event]:
    return [event async for event in handle.events()]


def processes(agent: RunningAgent, module: str) -> list[int]:
    """Return the root's children that run a module of ours, ``agent.server`` for instance."""
    found = []
    for pid in proc.children(agent.pid):
        with contextlib.suppress(OSError):
            if f"hopx_async.{module}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


async def kill_now_and_then(
    agent: RunningAgent, module: str, *, kills: int, pause: float, seed: int
) -> None:
    """Kill -9 one of the root's children, again and again, at random moments."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.0, pause))
        while not (pids := processes(agent, module)):
            await asyncio.sleep(0.01)  # the next one is not there yet
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)


async def until(sandbox: hopx.Sandbox, number: int, **wanted: Any) -> dict[str, Any]:
    """Wait until the statistics list a keeper, and tell this of it; return all they tell."""
    while True:
        figures = await sandbox.statistics()
        for keeper in figures["agent"]["keepers"]:
            if keeper["number"] == number and wanted.items() <= keeper.items():
                return dict(keeper)
        await asyncio.sleep(0.02)


def marked(sandbox_id: str, process_ids: list[str]) -> list[int]:
    """Return the processes that carry the mark of one of these commands, zombies left out."""
    outer = os.environ.get(proc.SCOPE, "")
    scopes = [proc.scope_value(outer, sandbox_id, process_id) for process_id in process_ids]
    marks = set(map(proc.mark_of, scopes))
    found = [pid for pid in proc.pids() if proc.read_mark(pid) in marks]
    stats = {pid: proc.read_stat(pid) for pid in found}
    return [pid for pid, stat in stats.items() if stat is not None and not stat.dead]
