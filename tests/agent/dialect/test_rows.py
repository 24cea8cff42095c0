"""Tests of hopx_async.agent.dialect.rows, through an agent that runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hopx_async.agent.dialect import rows as module
from hopx_async.agent.dialect.rows import Rows
from tests.agent.dialect.served import served
from tests.agent.harness import serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.dialect.served import Asked


async def test_a_row_has_every_name(tmp_path: Path) -> None:
    """Ids, times and durations stand under each of the names that clients read."""
    async with served(tmp_path) as agent:
        process_id = await agent.background("echo out; echo err >&2; exit 2", name="n")
        await agent.ok("POST", f"/v1/commands/{process_id}/kill", json={})
        row = (await agent.rows())[process_id]

        assert row["processId"] == row["process_id"]
        assert row["execution_id"] == process_id.replace("cmd_", "exec_")
        assert row["start_time"] == row["started_at"]
        assert row["end_time"] == row["completed_at"]
        assert row["duration"] == row["execution_time"]
        assert (row["name"], row["language"]) == ("n", "shell")
        assert row["command"] == "echo out; echo err >&2; exit 2"
        never_null = ("pid", "name", "command", "language", "start_time", "cpu_percent")
        assert all(row[key] is not None for key in never_null)


async def test_both_listings_have_the_rows(tmp_path: Path) -> None:
    """Running and ended rows are in both; the system's other processes in one."""
    async with served(tmp_path) as agent:
        one = await agent.background("sleep 60")
        two = await agent.ok("POST", "/execute/background", json={"code": "print(1)"})
        ids = {one, two["process_id"]}

        assert (await agent.rows()).keys() == ids
        assert (await agent.rows("/processes")).keys() == ids
        everything = (await agent.ok("GET", "/processes"))["processes"]
        assert [row["process_id"] for row in everything[:2]] == sorted(ids, key=len)[::-1]
        pids = [row["pid"] for row in everything]
        assert pids.count((await agent.rows())[one]["pid"]) == 1
        assert len(everything) > 2


async def test_what_was_waited_for_is_not_kept(tmp_path: Path) -> None:
    """A command of one request has a row only while it runs."""
    async with served(tmp_path) as agent:
        await agent.ok("POST", "/commands/run", json={"command": "true"})

        assert await agent.rows() == {}


async def test_rows_hold_the_end_of_the_output(tmp_path: Path) -> None:
    """Much output is told by its end, and said to be cut; little is whole."""
    async with served(tmp_path) as agent:
        text = "head -c 1000000 /dev/zero | tr '\\0' x; echo end; echo e >&2"
        big = await agent.background(text)
        small = await agent.background("echo a; echo b >&2")
        for process_id in (big, small):
            await _ended(agent, process_id)
        rows = await agent.rows()

        assert len(rows[big]["stdout"]) == module.TAIL_BYTES
        assert rows[big]["stdout"].endswith("xxxend\n")
        assert rows[big]["stdout_truncated"]
        assert (rows[small]["stdout"], rows[small]["stderr"]) == ("a\n", "b\n")
        assert not rows[small]["stdout_truncated"]
        # What has ended is told from memory the second time.
        assert await agent.rows() == rows


async def test_listings_at_once_count_what_they_keep_once(tmp_path: Path) -> None:
    """However many ask at once, as many bytes are kept as are counted."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("one")
        server.keeper.logs["one"].write(b"0123456789")
        server.keeper.finish("one")
        await client.events("one")
        rows = Rows(server.agent._board, server.agent._followers)
        await asyncio.gather(*(rows.all() for _ in range(3)))

        assert rows._kept_bytes == 10


async def _ended(agent: Asked, process_id: str) -> None:
    while (await agent.rows())[process_id]["status"] == "running":
        pass
