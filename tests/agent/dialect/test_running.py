"""Tests of hopx_async.agent.dialect.running, on an agent around a keeper's double."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent import board
from hopx_async.agent.dialect import running as module
from hopx_async.agent.dialect.asks import execution_id
from hopx_async.agent.dialect.running import Running, code_of
from hopx_async.errors import CommandNotFound
from hopx_async.model import Exit
from hopx_async.protocol import records
from tests.agent.harness import Serving, serving
from tests.agent.keeper_double import STARTED_AT, full_spec

if TYPE_CHECKING:
    from pathlib import Path


def running(server: Serving) -> Running:
    return server.agent._dialect._running


@pytest.mark.parametrize(
    ("exit_", "code"),
    [
        ({"reason": "exited", "exit_code": 3}, 3),
        ({"reason": "timed_out", "signal": "SIGTERM"}, 124),
        ({"reason": "timed_out", "exit_code": 0}, 124),
        ({"reason": "killed", "signal": "SIGKILL"}, 137),
        ({"reason": "signaled", "signal": "SIGSEGV"}, 139),
        ({"reason": "signaled", "signal": "SIGRTMIN+6"}, 168),
        ({"reason": "spawn_failed"}, 127),
        ({"reason": "lost"}, 255),
    ],
)
def test_an_end_as_one_number(exit_: dict[str, Any], code: int) -> None:
    """Ends are told as a shell tells them."""
    assert code_of(Exit(**exit_)) == code


@pytest.mark.parametrize("silent", [True, False], ids=["while it starts", "while it runs"])
async def test_a_cancelled_run_ends_its_command(tmp_path: Path, silent: bool) -> None:
    """Whoever gives up while a command starts or runs leaves nothing that runs."""
    async with serving(tmp_path / "s") as server:
        server.keeper.silent = silent
        task = asyncio.create_task(running(server).finish(full_spec("one")))
        start = await server.keeper.asked(1)
        if not silent:
            while not server.agent._followers._open:
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if silent:
            server.keeper.silent = False
            server.keeper.answer(start)

        assert (await server.keeper.asked(2))["op"] == "kill"


async def test_much_output_keeps_head_and_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output over the bound is cut in the middle, and said to be."""
    monkeypatch.setattr(module, "MAX_OUTPUT_BYTES", 10)
    async with serving(tmp_path / "s") as server:
        task = asyncio.create_task(running(server).finish(full_spec("one")))
        await server.keeper.asked(1)
        log = server.keeper.logs["one"]
        log.write(b"0123456789abcdef")
        log.write(b"few", records.STDERR)
        server.keeper.finish("one")
        ended = await task

        assert ended.stdout == "01234\n[... 6 bytes cut ...]\nbcdef"
        assert (ended.stderr, ended.cut) == ("few", (True, False))


async def test_names_that_find_a_command(tmp_path: Path) -> None:
    """An id is found with each prefix and with none, and by the leader's pid while it runs."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("bg_7")
        await client.next(client.subscribe("bg_7"))
        names = ("bg_7", "7", "cmd_7", "proc_7", "exec_7", "4242")

        assert {running(server).find(name).process_id for name in names} == {"bg_7"}
        for name in ("8", "", None, "bg_", "../x"):
            with pytest.raises(CommandNotFound):
                running(server).find(name)


async def test_pids_among_very_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pid is found however many run, and a number that is too long for one finds nothing."""
    monkeypatch.setattr(board, "PAGE_LENGTH", 1)
    async with serving(tmp_path / "s") as server, server.link() as client:
        for process_id, pid in (("one", 11), ("two", 12)):
            log = server.keeper.log(process_id)
            server.keeper.tell(log, spec=log.spec, pid=pid, started_at=STARTED_AT)
            await client.next(client.subscribe(process_id))

        assert running(server).find("12").process_id == "two"
        with pytest.raises(CommandNotFound):
            running(server).find("1" * 5000)


async def test_an_id_of_another_form_has_a_second_name(tmp_path: Path) -> None:
    """Whatever form a command's id has, the execution_id of its row finds it and no other."""
    ids = ["my_job", "job", "cmd_other", "exec_one"]
    async with serving(tmp_path / "s") as server, server.link() as client:
        for process_id in ids:
            server.keeper.running(process_id)
            await client.next(client.subscribe(process_id))
        told = [execution_id(process_id) for process_id in ids]

        assert [running(server).find(name).process_id for name in told] == ids
