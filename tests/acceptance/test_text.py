"""Text and lines of a real agent: whole from every kind of output, in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import hopx_async as hopx
from hopx_async.protocol.text import MAX_LINE_BYTES
from tests.acceptance import far_reader
from tests.support.agents import RunningAgent, running_agent

MEGABYTE = 1024 * 1024
#: What a reader may grow by, whatever it reads: windows, frames, the log's pieces.
SMALL = 12 * MEGABYTE
#: ... and with a line as long as they get, which is there as bytes and as text.
LARGE = SMALL + 4 * MAX_LINE_BYTES
#: A million writes of one byte, of which every tenth is a newline.
ONE_BY_ONE = "import os\nfor n in range(1_000_000): os.write(1, b'x' if n % 10 else b'\\n')"


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncGenerator[RunningAgent]:
    """Run an agent."""
    async with running_agent(tmp_path / "state") as running:
        yield running


async def far(agent: RunningAgent, job: hopx.CommandHandle, view: str, cursors: Any = ()) -> Any:
    """Let another process read."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, far_reader.__file__, agent.url, job.process_id,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    task = {"token": agent.token, "view": view, "cursors": list(cursors)}
    said, _ = await process.communicate(json.dumps(task).encode())
    assert process.returncode == 0
    return json.loads(said)


@pytest.mark.parametrize(
    ("command", "expected", "pieces", "bound"),
    [
        pytest.param(
            "head -c 10000000 /dev/zero | tr '\\0' x", b"x" * 10_000_000, 0, LARGE, id="10-MB"
        ),
        pytest.param(
            "head -c 40000000 /dev/zero | tr '\\0' x", b"x" * 40_000_000, 2, LARGE, id="40-MB"
        ),
        pytest.param(
            [sys.executable, "-c", ONE_BY_ONE], b"\nxxxxxxxxx" * 100_000, 0, SMALL, id="1-by-1"
        ),
    ],
)
async def test_odd_writes_are_whole_in_bounded_memory(
    agent: RunningAgent, command: str | list[str], expected: bytes, pieces: int, bound: int
) -> None:
    """Endless lines and tiny writes are the same in every view, and cost no more memory."""
    async with hopx.remote(agent.url, token=agent.token) as sandbox:
        job = await sandbox.commands.start(command)
        assert (await job.wait()).ok
        for view in ("events", "text", "lines"):
            read = await far(agent, job, view)
            whole = expected + b"\n" * (view == "lines")
            assert read["digest"] == hashlib.sha256(whole).hexdigest(), view
            assert read["partial"] == (pieces if view == "lines" else 0)
            assert read["grown"] < (bound if view == "lines" else SMALL), view


async def test_bytes_that_are_no_text_are_replaced(agent: RunningAgent, tmp_path: Path) -> None:
    """Random bytes arrive as they are, as text and as lines each decoded as a whole."""
    data = random.Random(1).randbytes(2_000_000)  # noqa: S311  # the same each time
    (tmp_path / "random").write_bytes(data)
    text = data.decode(errors="replace")
    async with hopx.remote(agent.url, token=agent.token) as sandbox:
        job = await sandbox.commands.start(["cat", str(tmp_path / "random")])
        assert (await job.result()).stdout_bytes == data
        assert "".join([piece.text async for piece in job.text()]) == text
        assert [line.text async for line in job.lines()] == text.split("\n")


async def test_characters_are_whole_across_chunks(agent: RunningAgent, tmp_path: Path) -> None:
    """Characters of two to four bytes, each byte a chunk of its own, are whole in both views."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    raw = "äö€😀\nß".encode()
    async with hopx.remote(agent.url, token=agent.token) as sandbox:
        job = await sandbox.commands.start(["cat", str(fifo)])
        chunks = []
        with fifo.open("wb", buffering=0) as feed:
            async for event in job.events():
                if isinstance(event, hopx.Stdout):
                    chunks.append(event.data)
                if len(chunks) < len(raw):
                    feed.write(raw[len(chunks) : len(chunks) + 1])
                else:
                    break
        assert chunks == [bytes([byte]) for byte in raw]
        assert [piece.text async for piece in job.text()] == [*"äö€😀\nß"]
        assert [line.text async for line in job.lines()] == ["äö€😀", "ß"]


# Resuming by line.

#: Both streams always have an unfinished line: no write ends with a newline.
UNFINISHED = """
import os
for n in range(300):
    os.write(1, b"end of out %d\\nbegin of out %d, " % (n, n + 1) * (1 + n % 3))
    os.write(2, b"end of err %d\\nbegin of err %d, " % (n, n + 1))
"""
Plain = list[tuple[str, str]]


def streams(lines: Plain) -> tuple[Plain, Plain]:
    """Return the lines of each stream, in their order."""
    return [line for line in lines if line[0] == "stdout"], [
        line for line in lines if line[0] == "stderr"
    ]


async def test_resuming_by_line_anywhere_makes_the_whole(agent: RunningAgent) -> None:
    """Behind 1,000 random lines, some of them in another process, come exactly the others."""
    chance = random.Random(2)  # noqa: S311  # the same each time
    async with hopx.remote(agent.url, token=agent.token) as sandbox:
        job = await sandbox.commands.start([sys.executable, "-c", UNFINISHED])
        lines = [line async for line in job.lines()]
        result = await job.result()
        whole: Plain = [(line.stream, line.text) for line in lines]
        expected = ([("stdout", text) for text in result.stdout.split("\n")],
                    [("stderr", text) for text in result.stderr.split("\n")])  # fmt: skip
        assert streams(whole) == expected
        for _ in range(1_000):
            index = chance.randrange(len(lines))
            again = await sandbox.commands.get(job.ref)
            rest: Plain = [(x.stream, x.text) async for x in again.lines(after=lines[index].cursor)]
            assert streams(whole[: index + 1] + rest) == expected, index
        points = chance.sample(range(len(lines)), 50)
        rests: list[Plain] = await far(
            agent, job, "cursors", [lines[index].cursor for index in points]
        )
        for index, rest in zip(points, rests, strict=True):
            assert streams(whole[: index + 1] + [(s, t) for s, t in rest]) == expected, index


async def test_a_chain_of_readers_makes_the_whole(agent: RunningAgent) -> None:
    """One reader after the other, each for a few lines while the command runs, sees it all once."""
    chance = random.Random(3)  # noqa: S311  # the same each time
    found: Plain = []
    cursor: str | None = None
    async with hopx.remote(agent.url, token=agent.token) as sandbox:
        job = await sandbox.commands.start([sys.executable, "-c", UNFINISHED])
        go_on = True
        while go_on:
            left, go_on = chance.randrange(1, 8), False
            async for line in job.lines(after=cursor):
                found.append((line.stream, line.text))
                cursor = line.cursor
                left -= 1
                if not left:
                    go_on = True
                    break
        result = await job.result()
    assert streams(found) == (
        [("stdout", text) for text in result.stdout.split("\n")],
        [("stderr", text) for text in result.stderr.split("\n")],
    )
