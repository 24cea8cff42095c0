"""Many commands at once on a real agent; with the mark `soak` in the sizes that were promised."""

from __future__ import annotations

import asyncio
import os
import resource
from collections import Counter
from pathlib import Path

import anyio
import pytest

import hopx_async as hopx

soak = pytest.mark.soak
# Of this run only: another one may be under way.
MARK = f"of-the-map-{os.getpid()}"


def alive(marker: str) -> int:
    """Return how many commands have this argument; a zombie has none.

    A command's leader is the leader of its session. What a shell forks has the shell's
    arguments until it executes something, and counts for no command.
    """
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes().split(b"\0"):
                count += os.getsid(int(path.parent.name)) == int(path.parent.name)
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
async def test_a_map_is_bounded(count: int, limit: int) -> None:
    """Never more commands alive than the limit, all results right, memory flat."""

    def echo(number: int) -> list[str]:
        return ["sh", "-c", 'sleep 0.05; echo "$0"', str(number), MARK]

    most, found, levels = 0, dict[int, str](), list[int]()
    async with hopx.local() as sandbox:
        async with sandbox.commands.map(echo, iter(range(count)), limit=limit) as results:
            async for number, result in results:
                found[number] = result.stdout
                most = max(most, alive(MARK))
                levels.append(resident())
    assert found == {number: f"{number}\n" for number in range(count)}
    assert 1 < most <= limit
    assert levels[-1] - levels[count // 4] < 16 * 1024 * 1024
    grown = levels[-1] - levels[count // 4]
    print(f"{count} results, most alive {most} of {limit}, grew {grown}")  # noqa: T201  # a soak test reports


async def test_a_failure_among_fifty_ends_all() -> None:
    """One of fifty fails: the others end within the grace, nothing is left, the error names it."""
    async with hopx.local() as sandbox:
        with pytest.raises(hopx.CommandFailed) as caught:
            async with sandbox.commands.group(limit=50, grace=5) as group:
                handles = [group.start_soon(["sleep", f"3600.{os.getpid()}"]) for _ in range(49)]
                await asyncio.gather(*(handle.info() for handle in handles))
                assert alive(f"3600.{os.getpid()}") == 49
                group.start_soon("echo sorry; exit 4", name="the culprit")
        assert alive(f"3600.{os.getpid()}") == 0
        assert caught.value.name == "the culprit"
        assert "sorry" in str(caught.value)
        ended = await sandbox.commands.list(status="killed")
        assert len(ended) == 49
        assert {info.exit.signal for info in ended if info.exit} == {"SIGTERM"}


@pytest.mark.parametrize(
    ("count", "lines"), [(40, 500), pytest.param(500, 1000, marks=[soak, pytest.mark.timeout(600)])]
)
async def test_a_merge_loses_nothing_and_starves_none(count: int, lines: int) -> None:
    """One consumer, slow now and then, sees everything of many chatty commands, in order."""
    command = f"for i in $(seq {lines}); do echo line $i of this command; done"
    wanted = b"".join(b"line %d of this command\n" % (n + 1) for n in range(lines))
    output: dict[str, bytearray] = {}
    read: Counter[str] = Counter()
    ended: set[str] = set()
    largest = held = events = 0
    async with hopx.local() as sandbox:
        handles = await asyncio.gather(*(sandbox.commands.start(command) for _ in range(count)))
        waits: Counter[str] = Counter()
        async for event in hopx.merge(handles):
            events += 1
            largest = max(largest, events - waits[event.process_id])
            waits[event.process_id] = events
            if isinstance(event, hopx.Stdout):
                output.setdefault(event.process_id, bytearray()).extend(event.data)
                read[event.process_id] += 1
            elif isinstance(event, hopx.Exited):
                ended.add(event.process_id)
            if events % 500 == 0:
                held = max(held, sandbox._client.statistics()["buffered_bytes"])
                await anyio.sleep(0.01)
    assert len(ended) == count
    assert all(data == wanted for data in output.values())
    assert len(output) == count
    assert held <= 8 * 1024 * 1024
    print(f"{events} events of {count}, largest gap {largest}, held {held} bytes")  # noqa: T201  # a soak test reports
