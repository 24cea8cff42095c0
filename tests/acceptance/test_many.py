"""Many commands at once on a real agent; with the mark `soak` in the sizes that were promised."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import Counter
from pathlib import Path

import anyio
import pytest

import hopx_async as hopx

soak = pytest.mark.soak
# Of this run only: another one may be under way.
MARK = f"of-the-map-{os.getpid()}"


def alive(marker: str, *, leaders: bool = True) -> int:
    """Return how many commands have this argument, or how many processes; a zombie has none.

    A command's leader is the leader of its session. What a shell forks has the shell's
    arguments until it executes something, and counts for no command.
    """
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes().split(b"\0"):
                pid = int(path.parent.name)
                count += not leaders or os.getsid(pid) == pid
        except OSError:
            continue  # it ended meanwhile
    return count


def resident() -> int:
    """Return how many bytes of memory this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(
    ("count", "limit"),
    [(150, 16), pytest.param(2000, 64, marks=[soak, pytest.mark.timeout(600)])],
)
async def test_a_map_is_bounded(count: int, limit: int, tmp_path: Path) -> None:
    """Never more commands alive than the limit, which is reached; results right, memory flat."""
    gate = tmp_path / "gate"
    # The first ones wait until as many as may be are seen to be alive.
    program = 'while [ ! -e "$2" ]; do sleep 0.1; done; echo "$0"'

    def echo(number: int) -> list[str]:
        return ["sh", "-c", program, str(number), MARK, str(gate)]

    samples, found, levels = [0], dict[int, str](), list[int]()

    async def watch() -> None:
        while True:
            samples.append(alive(MARK))
            if max(samples) >= limit:
                gate.touch()
            await anyio.sleep(0.02)

    async with hopx.local() as sandbox, anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        async with sandbox.commands.map(echo, iter(range(count)), limit=limit) as results:
            async for number, result in results:
                found[number] = result.stdout
                samples.append(alive(MARK))
                levels.append(resident())
        tasks.cancel_scope.cancel()
    assert found == {number: f"{number}\n" for number in range(count)}
    assert max(samples) == limit
    grown = levels[-1] - levels[count // 4]
    assert grown < 16 * 1024 * 1024
    print(f"{count} results, {max(samples)} alive at most in {len(samples)} looks, grew {grown}")  # noqa: T201  # a soak test reports


@pytest.mark.parametrize("stubborn", [0, 7])
async def test_a_failure_among_fifty_ends_all(stubborn: int) -> None:
    """One of fifty fails: the others end within the grace, nothing is left, the error names it."""
    mark = f"3600.{os.getpid()}"
    # With a child each, which is to go as well; some of both do not hear TERM.
    calm, deaf = 'sleep "$0" & wait', 'trap \'\' TERM; sleep "$0" & wait; sleep "$0"'
    async with hopx.local() as sandbox:
        with pytest.raises(hopx.CommandFailed) as caught:
            async with sandbox.commands.group(limit=50, grace=1) as group:
                handles = [
                    group.start_soon(["sh", "-c", deaf if number < stubborn else calm, mark])
                    for number in range(49)
                ]
                await asyncio.gather(*(handle.info() for handle in handles))
                while alive(mark, leaders=False) < 2 * 49:
                    await anyio.sleep(0.02)
                group.start_soon("echo sorry; exit 4", name="the culprit")
        assert alive(mark, leaders=False) == 0
        assert caught.value.name == "the culprit"
        assert "sorry" in str(caught.value)
        ended = await sandbox.commands.list(status="killed")
        signals = Counter(info.exit.signal for info in ended if info.exit)
        # Who hears TERM has ended by it: before the grace was over.
        assert signals == Counter(SIGTERM=49 - stubborn, SIGKILL=stubborn)


@pytest.mark.parametrize(
    ("count", "lines"), [(40, 20), pytest.param(500, 60, marks=[soak, pytest.mark.timeout(600)])]
)
async def test_a_merge_loses_nothing_and_starves_none(count: int, lines: int) -> None:
    """One consumer, slow now and then, sees everything of many chatty commands, in order."""
    # They go on printing while they are read. A pause without a process: nobody writes there.
    command = f"exec 9<> <(:); for ((i = 1; i <= {lines}; i++)); do echo line $i of this command; "
    command += "read -t 0.$((RANDOM % 9))$((RANDOM % 9)) -u 9; done; true"
    wanted = b"".join(b"line %d of this command\n" % (n + 1) for n in range(lines))
    output: dict[str, bytearray] = {}
    lags: dict[str, float] = {}
    ended: set[str] = set()
    held = events = 0
    async with hopx.local() as sandbox:
        handles = await asyncio.gather(*(sandbox.commands.start(command) for _ in range(count)))
        async for event in hopx.merge(handles):
            events += 1
            if isinstance(event, hopx.Stdout):
                output.setdefault(event.process_id, bytearray()).extend(event.data)
                lag = time.time() - event.at
                lags[event.process_id] = max(lag, lags.get(event.process_id, 0.0))
            elif isinstance(event, hopx.Exited):
                ended.add(event.process_id)
            if events % 500 == 0:
                held = max(held, sandbox._client.statistics()["buffered_bytes"])
                await anyio.sleep(0.2)
    assert len(ended) == count
    assert all(data == wanted for data in output.values())
    assert len(output) == count
    assert held <= 8 * 1024 * 1024
    worst, typical = max(lags.values()), sorted(lags.values())[count // 2]
    told = f"largest lag {worst:.2f} s, of the typical command {typical:.2f} s"
    print(f"{events} events of {count}, {told}, held {held} bytes")  # noqa: T201  # a soak test reports
    # All are in the same boat. One that starved would be read when the others have ended.
    assert worst < 3 * typical + 5
