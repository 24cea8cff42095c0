"""Output: whole, in order, from every kind of script, over every kind of accident."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
from pathlib import Path

import anyio
import pytest

import hopx_async as hopx
from hopx_async.testing import FaultProxy
from tests.support.agents import running_agent

SIZE = 200_000_000
BOUND = 64 * 1024 * 1024


def resident() -> int:
    """Return this process's peak resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def digest_of(handle: hopx.CommandHandle, cut: FaultProxy | None = None) -> tuple[str, int]:
    """Return SHA-256 and length of what events delivers; cut the connection twenty times."""
    digest = hashlib.sha256()
    length = 0
    async for event in handle.events():
        if isinstance(event, hopx.Stdout):
            digest.update(event.data)
            length += len(event.data)
            if cut is not None and length > (cut.cuts + 1) * SIZE // 22:
                cut.cut()
        assert not isinstance(event, hopx.Truncated)
    return digest.hexdigest(), length


@pytest.fixture
def random_file(tmp_path: Path) -> tuple[Path, str]:
    """Return a file of random bytes, and its SHA-256."""
    digest = hashlib.sha256()
    path = tmp_path / "random"
    with path.open("wb") as file:
        for _ in range(SIZE // 1_000_000):
            piece = os.urandom(1_000_000)
            digest.update(piece)
            file.write(piece)
    return path, digest.hexdigest()


async def test_200_megabytes_arrive_whole(random_file: tuple[Path, str]) -> None:
    """events delivers 200 MB of random bytes as they were, in bounded memory."""
    path, expected = random_file
    async with hopx.local() as sandbox:
        await sandbox.commands.run(["true"])
        idle = resident()
        handle = await sandbox.commands.start(["cat", str(path)])
        assert await digest_of(handle) == (expected, SIZE)
        assert resident() - idle < BOUND


async def test_200_megabytes_arrive_over_a_cut_connection(
    random_file: tuple[Path, str], tmp_path: Path
) -> None:
    """The same holds while the socket is cut twenty times in between."""
    path, expected = random_file
    async with FaultProxy() as proxy:
        async with running_agent(tmp_path / "state", allow_hosts=[proxy.host]) as agent:
            proxy.target = agent.url
            async with hopx.remote(proxy.url, token=agent.token) as sandbox:
                await sandbox.commands.run(["true"])
                idle = resident()
                handle = await sandbox.commands.start(["cat", str(path)])
                assert await digest_of(handle, proxy) == (expected, SIZE)
                assert proxy.cuts >= 20
                assert resident() - idle < BOUND


async def test_the_tail_of_a_tee_is_not_lost() -> None:
    """What a process substitution prints after the leader's exit arrives, a hundred times."""
    async with hopx.local() as sandbox:
        for number in range(100):
            result = await sandbox.commands.run("exec > >(tee x); echo head; echo tail")
            assert result.stdout == "head\ntail\n", f"run {number}"


async def test_writing_to_dev_stderr_truncates_nothing() -> None:
    """Scripts that open /dev/stderr anew lose no line."""
    async with hopx.local() as sandbox:
        result = await sandbox.commands.run(
            "echo a; echo b > /dev/stderr; echo c | tee /dev/stderr; echo d"
        )
    assert result.stdout == "a\nc\nd\n"
    assert result.stderr == "b\nc\n"


async def test_merged_streams_keep_their_order() -> None:
    """With merge_stderr both streams come as one, in the order they were written."""
    async with hopx.local() as sandbox:
        result = await sandbox.commands.run(
            "for i in 1 2 3; do echo out $i; echo err $i >&2; done", merge_stderr=True
        )
    assert result.stdout == "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
    assert result.stderr == ""


async def test_an_agent_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    """kill -9 of the agent, five times while commands print: nothing lost, nothing repeated."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    script = f"i=0; while read -r line; do i=$((i+1)); echo $i $line; done < {fifo}; exit 7"
    async with running_agent(tmp_path / "state") as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            handle = await sandbox.commands.start(script)
            events = handle.events()
            seen = b""
            pids = set()
            with fifo.open("wb", buffering=0) as feed:
                for turn in range(5):
                    feed.write(b"".join(b"%d.%d\n" % (turn, n) for n in range(1000)))
                    seen = await _read_until(events, seen, (turn + 1) * 1000 - 500)
                    pid = (await sandbox.statistics())["agent"]["pid"]
                    pids.add(pid)
                    os.kill(pid, signal.SIGKILL)
            async for event in events:
                if isinstance(event, hopx.Stdout):
                    seen += event.data
                elif isinstance(event, hopx.Exited):
                    assert event.exit.exit_code == 7
            assert (await handle.wait()).exit_code == 7
    expected = [b"%d %d.%d" % (t * 1000 + n + 1, t, n) for t in range(5) for n in range(1000)]
    assert seen.splitlines() == expected
    assert len(pids) == 5


async def _read_until(events: hopx.EventStream, seen: bytes, lines: int) -> bytes:
    while seen.count(b"\n") < lines:
        event = await anext(events)
        if isinstance(event, hopx.Stdout):
            seen += event.data
    return seen


async def test_a_reader_that_never_reads_holds_back_nobody() -> None:
    """A stream that is never read delays neither its command nor another handle's events."""
    async with hopx.local() as sandbox:
        loud = await sandbox.commands.start("head -c 50000000 /dev/zero")
        idle = loud.events()
        assert (await loud.wait()).ok
        result = await sandbox.commands.run("echo hi")
        assert result.stdout == "hi\n"
        assert sandbox._client._pump.buffered <= 256 * 1024
        length = 0
        async for event in idle:
            if isinstance(event, hopx.Stdout):
                length += len(event.data)
        assert length == 50_000_000


async def test_retention_is_told_exactly() -> None:
    """A reader too late for retention gets the head, one exact Truncated, and the tail."""
    async with hopx.local(retention_bytes=1024 * 1024) as sandbox:
        handle = await sandbox.commands.start("seq 1 2000000")
        fate = await handle.wait()
        events = [event async for event in handle.events()]
    assert fate.ok
    kept = b"".join(event.data for event in events if isinstance(event, hopx.Stdout))
    cuts = [event for event in events if isinstance(event, hopx.Truncated)]
    whole = b"".join(b"%d\n" % number for number in range(1, 2_000_001))
    assert len(cuts) == 1
    assert cuts[0].stderr_bytes == 0
    assert len(kept) + cuts[0].stdout_bytes == len(whole)
    head = b""
    for event in events:
        if isinstance(event, hopx.Truncated):
            break
        if isinstance(event, hopx.Stdout):
            head += event.data
    assert whole.startswith(head)
    assert whole.endswith(kept[len(head) :])


async def test_two_feeds_of_one_output_are_equal() -> None:
    """Two streams of one handle, one of them slow, deliver the same events."""
    async with hopx.local() as sandbox:
        handle = await sandbox.commands.start("seq 1 200000")
        seen: list[list[hopx.Event]] = [[], []]

        async def read(index: int, *, slow: bool) -> None:
            async for event in handle.events():
                seen[index].append(event)
                if slow:
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: read(0, slow=False))
            group.start_soon(lambda: read(1, slow=True))
    assert seen[0] == seen[1]
