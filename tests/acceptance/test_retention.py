"""What is kept and what is forgotten, end to end: readers are told, and no id runs twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hopx_async as hopx
from hopx_async.protocol.cursor import parse_cursor

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024
#: Numbers that make some four times the log that is kept here.
LINES = 600_000


def _size(state: Path) -> int:
    """Return the size of all logs; those that go while they are counted have none."""
    size = 0
    for path in (state / "logs").iterdir():
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


async def test_forgotten_commands_are_told_and_never_run_again(tmp_path: Path) -> None:
    """Beyond the count a command is not found and its id is refused, by the next agent too."""
    async with hopx.local(keep_commands=3, workspace=tmp_path) as sandbox:
        for number in range(6):
            await sandbox.commands.run("echo x >> ran", process_id=f"c{number}", check=True)
        for _ in range(2):
            assert [info.process_id for info in await sandbox.commands.list()] == ["c3", "c4", "c5"]
            with pytest.raises(hopx.CommandNotFound, match="nothing of it is kept"):
                await sandbox.commands.get("c0")
            with pytest.raises(hopx.ConflictError, match="forgotten"):
                await sandbox.commands.start("echo x >> ran", process_id="c0")
            figures = (await sandbox.statistics())["agent"]
            assert (figures["commands_ended"], figures["commands_forgotten"]) == (3, 3)
            os.kill(figures["pid"], signal.SIGKILL)
        assert (tmp_path / "ran").read_text() == "x\n" * 6


async def test_a_reader_of_a_forgotten_log_is_told() -> None:
    """A reader that is too slow for what is kept ends with Lost, not in silence."""
    async with hopx.local(keep_commands=1) as sandbox:
        handle = await sandbox.commands.start(f"head -c {40 * MIB} /dev/zero")
        events = handle.events()
        await anext(events)
        assert (await (await sandbox.commands.get(handle.ref)).wait()).ok
        await sandbox.commands.run("true")
        await sandbox.commands.run("true")
        last = [event async for event in events][-1]
        assert isinstance(last, hopx.Lost)


async def test_a_command_that_prints_without_end_is_bounded(tmp_path: Path) -> None:
    """While yes prints, its log stays below its bound, and a late reader misses an exact part."""
    state = tmp_path / "state"
    bound = 8 * MIB
    async with hopx.local(state_dir=state, retention_bytes=bound) as sandbox:
        handle = await sandbox.commands.start("yes")
        read = 0
        async with handle.events() as events:
            async for event in events:
                read += len(event.data) if isinstance(event, hopx.Stdout) else 0
                kept = _size(state)
                # Two mebibytes are a segment of so small a log.
                assert kept <= bound + 2 * MIB
                if read > 8 * bound:
                    break
        gaps: list[int] = []
        printed = 0
        data = b""
        async with handle.events() as events:
            async for event in events:
                if isinstance(event, hopx.Truncated):
                    gaps.append(event.stdout_bytes)
                elif isinstance(event, hopx.Stdout):
                    printed += len(event.data)
                    data = event.data
                    if gaps and printed > MIB:
                        break
        assert gaps
        # Of "y\n" each second byte is a y: where a stream goes on is told to the byte.
        before = sum(gaps) + printed - len(data)
        assert data[:2] == (b"y\n" if before % 2 == 0 else b"\ny")


@pytest.mark.parametrize(
    "seconds", [1, pytest.param(10, marks=[pytest.mark.soak, pytest.mark.timeout(300)])]
)
async def test_memory_stays_flat_while_yes_prints(
    tmp_path: Path, seconds: int, record_property: Callable[[str, object], None]
) -> None:
    """Agent, keeper, client keep their size, the disk its bound; who comes late misses one part."""
    state, bound = tmp_path / "state", 64 * MIB
    async with hopx.local(state_dir=state, retention_bytes=bound) as sandbox:
        handle = await sandbox.commands.start(["yes", "0123456789abcde"])
        figures = (await sandbox.statistics())["agent"]
        pids = [os.getpid(), figures["pid"], figures["keepers"][0]["pid"]]
        sizes: list[list[int]] = []
        logs: list[int] = []
        printed = 0
        begun = time.monotonic()
        async with handle.events() as events:
            async for event in events:
                printed += len(event.data) if isinstance(event, hopx.Stdout) else 0
                if printed > (len(sizes) + 1) * bound / 2:
                    sizes.append([_resident(pid) for pid in pids])
                    logs.append(_size(state))
                    if len(sizes) >= 6 and time.monotonic() - begun > seconds:
                        break
        # Until everything is there once, it may grow: buffers, the pages of a big pipe.
        grown = [max(column) - column[1] for column in zip(*sizes[1:], strict=True)]
        record_property("printed, grown, most of the disk", [printed, grown, max(logs)])
        assert max(grown) < 16 * MIB
        assert max(logs) <= bound + 16 * MIB
        await handle.send_signal("SIGSTOP")
        end = None
        while end != (end := (await handle.info()).log_end):
            await asyncio.sleep(0.1)
        position, gaps, data = 0, [], b""
        async with handle.events() as events:
            async for event in events:
                if isinstance(event, hopx.Truncated):
                    gaps.append(event.stdout_bytes)
                elif isinstance(event, hopx.Stdout):
                    assert event.data[:16] == _line_at(position + sum(gaps), event.data)
                    position, data = position + len(event.data), event.data
                if parse_cursor(handle.process_id, event.cursor).offset == end:
                    break
            assert len(gaps) == 1
            await handle.send_signal("SIGCONT")
            following = await anext(events)
        assert isinstance(following, hopx.Stdout)
        assert data
        assert following.data[:16] == _line_at(position + sum(gaps), following.data)


def _line_at(offset: int, data: bytes) -> bytes:
    """Return how *data* begins if it stands there: of lines of 16 bytes each place tells itself."""
    return (b"0123456789abcde\n" * 2)[offset % 16 :][: min(16, len(data))]


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def test_the_whole_sandbox_is_bounded(tmp_path: Path) -> None:
    """All commands together keep to one bound; the oldest that have ended go first."""
    state = tmp_path / "state"
    async with hopx.local(state_dir=state, sandbox_retention_bytes=6 * MIB) as sandbox:
        for number in range(5):
            command = f"head -c {2 * MIB} /dev/zero"
            await sandbox.commands.run(command, process_id=f"c{number}", check=True)
        infos = await sandbox.commands.list()
        assert [info.process_id for info in infos] == ["c3", "c4"]
        assert _size(state) <= 6 * MIB
        assert (await sandbox.statistics())["agent"]["log_bytes"] == _size(state)


@pytest.mark.parametrize(
    "arguments",
    [{"keep_commands": 0}, {"keep_seconds": -1}, {"sandbox_retention_bytes": "much"}],
    ids=str,
)
def test_bounds_that_are_none_are_refused(arguments: dict[str, int]) -> None:
    """A bound is a whole number above its least, an age a number of seconds."""
    with pytest.raises(hopx.InvalidArgument, match=next(iter(arguments))):
        hopx.local(**arguments)  # type: ignore[arg-type]


async def test_a_command_waits_for_a_reader_that_goes_on() -> None:
    """With overflow="wait" a slow reader gets everything, many times what is kept."""
    async with hopx.local(retention_bytes=MIB) as sandbox:
        handle = await sandbox.commands.start(f"seq {LINES}", overflow="wait")
        expected = 0
        async for line in handle.lines():
            expected += 1
            assert (int(line.text), line.lost_before) == (expected, 0)
        assert expected == LINES
        assert (await handle.wait()).ok


async def test_a_reader_that_leaves_holds_nothing_back() -> None:
    """Nobody reads any more: the command goes on at once, and its oldest output goes."""
    async with hopx.local(retention_bytes=MIB) as sandbox:
        handle = await sandbox.commands.start(f"seq {LINES}", overflow="wait")
        async with handle.events() as events:
            await anext(events)
        assert (await handle.wait()).ok
        assert (await handle.result()).lost_bytes > 0


async def test_an_unknown_overflow_is_refused() -> None:
    """overflow is one of two words."""
    async with hopx.local() as sandbox:
        with pytest.raises(hopx.InvalidArgument, match="overflow"):
            sandbox.commands.start("true", overflow="block")  # type: ignore[arg-type]
