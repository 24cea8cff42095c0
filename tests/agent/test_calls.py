"""Tests of hopx_async.agent.calls, over the link."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent import calls as module
from hopx_async.agent.calls import fault
from hopx_async.errors import (
    AgentFault,
    CommandNotFound,
    HopxError,
    InvalidArgument,
    NotFoundError,
    SurvivorsLeft,
)
from hopx_async.protocol import lifecycle
from tests.agent.harness import serving
from tests.agent.keeper_double import full_spec

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("method", "params", "parameter"),
    [
        ("info", {"process_id": "$(x)"}, "process_id"),
        ("info", {}, "process_id"),
        ("info", {"process_id": "one", "more": 1}, "more"),
        ("list", {"after": 1}, "after"),
        ("list", {"status": "dead"}, "status"),
        ("list", {"status": ["running"]}, "status"),
        ("list", {"name": 1}, "name"),
        ("list", {"tags": ["a"]}, "tags"),
        ("list", {"tags": {"a": 1}}, "tags"),
        ("list", {"limit": 1}, "limit"),
        ("signal", {"process_id": "one", "signal_id": "s", "name": "KILL"}, "name"),
        ("signal", {"process_id": "one", "signal_id": "s", "name": 9}, "name"),
        ("signal", {"process_id": "one", "signal_id": "s", "name": ["SIGHUP"]}, "name"),
        ("signal", {"process_id": "one", "signal_id": "", "name": "SIGHUP"}, "signal_id"),
        ("signal", {"process_id": "one", "name": "SIGHUP"}, "signal_id"),
        (
            "signal",
            {"process_id": "one", "signal_id": "s", "name": "SIGHUP", "cause": "x"},
            "cause",
        ),
        ("kill", {"process_id": "one", "grace": -1}, "grace"),
        ("kill", {"process_id": "one", "grace": "1"}, "grace"),
        ("kill", {"process_id": "one", "grace": None}, "grace"),
        ("kill", {"process_id": "one", "force": True}, "force"),
        ("wait_port", {"process_id": "one", "port": 0}, "port"),
        ("wait_port", {"process_id": "one", "port": 80, "path": "x"}, "path"),
        ("wait_port", {"process_id": "one", "port": 80, "hang": 1}, "hang"),
        ("statistics", {"x": 1}, "x"),
    ],
)
async def test_bad_arguments_are_named(
    tmp_path: Path, method: str, params: dict[str, Any], parameter: str
) -> None:
    """An argument that breaks a rule is named, and nothing reaches the keeper."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("one")
        with pytest.raises(InvalidArgument) as caught:
            await client.call(method, **params)

        assert caught.value.parameter == parameter
        assert server.keeper.requests == []


async def test_unknown_methods_and_commands_are_not_found(tmp_path: Path) -> None:
    """A method or command that is not there is said so."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        with pytest.raises(NotFoundError, match="no method 'dance'"):
            await client.call("dance")
        for method, params in (
            ("info", {}),
            ("kill", {}),
            ("signal", {"signal_id": "s", "name": "SIGHUP"}),
        ):
            with pytest.raises(CommandNotFound) as caught:
                await client.call(method, process_id="nobody", **params)
            assert caught.value.process_id == "nobody"


async def test_a_kill_answers_with_the_exit(tmp_path: Path) -> None:
    """A proven kill answers when the exit is known, though it comes after the keeper's answer."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        keeper = server.keeper
        keeper.running("one")
        keeper.silent = True
        killing = asyncio.create_task(client.call("kill", process_id="one"))
        request = await keeper.asked(1)
        assert request["grace"] == lifecycle.GRACE
        keeper.send({"re": request["rid"], "ok": {"survivors": [], "means": "ancestry"}})
        await client.call("statistics")
        assert not killing.done()
        keeper.finish("one", exit_code=None, signal="SIGTERM", reason="killed")
        answer = await killing

        assert (answer["exit"]["reason"], answer["survivors"]) == ("killed", [])
        assert answer["means"] == "ancestry"


async def test_a_kill_of_an_ended_command_is_no_error(tmp_path: Path) -> None:
    """The keeper is asked all the same, and the exit stays what it was."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("one")
        server.keeper.finish("one", exit_code=7)
        await client.exit("one")
        answer = await client.call("kill", process_id="one", grace=0)

        assert answer["exit"]["exit_code"] == 7
        assert len(server.keeper.requests) == 1


async def test_a_kill_whose_exit_stays_out_answers_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead command whose log cannot take its end is answered with no exit."""
    monkeypatch.setattr(module, "_END_TIME", 0.0)
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("one")
        server.keeper.silent = True
        killing = asyncio.create_task(client.call("kill", process_id="one"))
        request = await server.keeper.asked(1)
        server.keeper.send({"re": request["rid"], "ok": {"survivors": [], "means": "ancestry"}})

        assert (await killing)["exit"] is None


async def test_survivors_are_told(tmp_path: Path) -> None:
    """A kill that could not be proven raises SurvivorsLeft with who is left."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("one")
        server.keeper.survivors = [(77, "hung")]
        with pytest.raises(SurvivorsLeft) as caught:
            await client.call("kill", process_id="one", grace=0)

        assert caught.value.survivors == ((77, "hung"),)
        assert (caught.value.process_id, caught.value.means) == ("one", "ancestry")


async def test_a_signal_to_an_ended_command_is_not_delivered(tmp_path: Path) -> None:
    """The keeper's word that a command has ended is an answer, its other refusals are errors."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("one")
        server.keeper.refusals.append({"code": "command_ended"})
        server.keeper.refusals.append({"code": "stopping", "message": "stopping"})
        params = {"process_id": "one", "signal_id": "s", "name": "SIGHUP", "cause": "killed"}

        assert await client.call("signal", **params) == {"delivered": False}
        with pytest.raises(AgentFault, match="stopping"):
            await client.call("signal", **params)
        assert await client.call("signal", **params) == {"delivered": True}
        assert server.keeper.requests[0]["cause"] == "killed"


async def test_lists_go_by_pages(tmp_path: Path) -> None:
    """Each page says where the next begins, the last says null."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        spec = full_spec("", command="x" * 120_000)
        for n in range(10):
            await client.call("start", **{**spec, "process_id": f"c{n}"})
        first = await client.call("list")
        second = await client.call("list", after=first["next"])
        third = await client.call("list", after=second["next"])

        pages = [first, second, third]
        ids = [info["spec"]["process_id"] for page in pages for info in page["infos"]]
        assert ids == [f"c{n}" for n in range(10)]
        assert third["next"] is None
        filtered = await client.call("list", status="failed", name="n", tags={"a": "b"}, after=None)
        assert filtered == {"infos": [], "next": None}


async def test_a_bug_of_ours_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected exception in a call is answered as a fault, and the link goes on."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        monkeypatch.setattr(server.agent._board, "page", lambda **_: 1 / 0)
        with pytest.raises(AgentFault, match="stderr"):
            await client.call("list")
        await client.call("statistics")

        assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_fault_hides_the_inside(capsys: pytest.CaptureFixture[str]) -> None:
    """fault prints the exception and returns an error without it."""
    error: HopxError = fault(ValueError("inside"))

    assert "inside" not in str(error)
    assert "inside" in capsys.readouterr().err
