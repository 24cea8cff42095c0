"""Tests of hopx_async.agent.keeper_link."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent.board import Board
from hopx_async.agent.keeper_link import KeeperGone, KeeperLink, Refusal, spawn_error
from hopx_async.errors import AgentFault, CommandNotFound, HopxError, InvalidArgument, SpawnError
from hopx_async.protocol import wire
from tests.agent.keeper_double import PATIENCE, PID, STARTED_AT, FakeKeeper, make_state, public

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


class Linked:
    """A link, the keeper's double at its other end, and what the link has told."""

    def __init__(self, state: Path) -> None:
        self.board = Board()
        self.news: list[list[str]] = []
        self.ends: list[str] = []
        self.arrived = asyncio.Event()
        self.link = KeeperLink(self.board, self.take, self.end)
        self.ours, its = socket.socketpair()
        self.keeper = FakeKeeper(state, its)

    def take(self, ids: Any) -> None:
        self.news.append(list(ids))
        self.arrived.set()

    def end(self, reason: str) -> None:
        self.ends.append(reason)
        self.arrived.set()

    async def until_told(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.arrived.wait()
        self.arrived.clear()


@asynccontextmanager
async def linked(tmp_path: Path, *, open_: bool = True) -> AsyncGenerator[Linked]:
    linked = Linked(make_state(tmp_path / "state"))
    try:
        if open_:
            await linked.keeper.introduce()
            await linked.link.open(linked.ours)
            linked.link.go_on()
        yield linked
    finally:
        linked.link.close()
        await linked.keeper.aclose()
        await asyncio.sleep(0)


async def test_the_snapshot_comes_before_the_news(tmp_path: Path) -> None:
    """News behind the snapshot reach the board only after go_on, in the same read or not."""
    async with linked(tmp_path, open_=False) as it:
        log = it.keeper.log("one")
        await it.keeper.introduce(index="x" * 7)
        it.keeper.running("two")
        snapshot = await it.link.open(it.ours)
        it.keeper.running("three")
        [news] = snapshot.commands

        assert (news.id, news.end, news.pid, snapshot.index_bytes) == ("one", log.end, PID, 7)
        assert len(it.board) == 0
        it.link.go_on()
        while len(it.board) < 2:
            await it.until_told()
        assert it.news == [["two"], ["three"]]


async def test_a_broken_index_is_told(tmp_path: Path) -> None:
    """A keeper whose index is broken says so with null."""
    async with linked(tmp_path, open_=False) as it:
        await it.keeper.introduce(index=None)

        assert (await it.link.open(it.ours)).index_bytes is None


async def test_requests_meet_their_answers(tmp_path: Path) -> None:
    """Answers go to those who asked, in whatever order they come."""
    async with linked(tmp_path) as it:
        it.keeper.silent = True
        env = {"A": "b"}
        start = asyncio.create_task(it.link.start(json.dumps(public()).encode(), env, "/w"))
        kill = asyncio.create_task(it.link.kill("one", 0.5))
        signal = asyncio.create_task(it.link.signal("one", "s1", "SIGHUP", "killed"))
        await it.keeper.asked(3)
        first, second, third = it.keeper.requests
        assert first["public"] == public()
        assert (first["op"], first["env"], first["working_dir"]) == ("start", env, "/w")
        assert (second["op"], second["id"], second["grace"]) == ("kill", "one", 0.5)
        assert (third["name"], third["signal_id"], third["cause"]) == ("SIGHUP", "s1", "killed")
        assert it.link.pending == 3

        it.keeper.send({"re": third["rid"], "ok": {"delivered": False}})
        left = {"survivors": [[7, "sh"]], "means": "ancestry"}
        it.keeper.send({"re": second["rid"], "ok": left})
        it.keeper.send({"re": 999, "ok": {}})
        ok = {"pid": PID, "started_at": STARTED_AT, "created": True}
        it.keeper.send({"re": first["rid"], "ok": ok})

        assert (await start).pid == PID
        assert (await kill).survivors == [(7, "sh")]
        assert not (await signal).delivered
        assert it.link.pending == 0


async def test_a_cancelled_request_leaves_nothing(tmp_path: Path) -> None:
    """Cancelling a request forgets it; its late answer is dropped, the next one is served."""
    async with linked(tmp_path) as it:
        it.keeper.silent = True
        asked = asyncio.create_task(it.link.kill("one", 0))
        request = await it.keeper.asked(1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert it.link.pending == 0

        it.keeper.silent = False
        it.keeper.send({"re": request["rid"], "ok": {}})
        assert (await it.link.signal("one", "s", "SIGHUP", None)).delivered


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "spawn_failed", "errno": 2, "filename": "x"}, spawn_error(2, "x")),
        ({"code": "disk_full", "message": "full"}, AgentFault("full", status=507)),
        ({"code": "stopping"}, AgentFault("stopping", status=503)),
        ({"code": "new"}, AgentFault("new")),
        ({"code": "command_not_found"}, CommandNotFound("one")),
        (
            {"code": "invalid_argument", "parameter": "p", "value": "v", "rule": "r"},
            InvalidArgument("p", "v", "r"),
        ),
    ],
)
async def test_refusals_become_errors(
    tmp_path: Path, error: dict[str, Any], expected: HopxError
) -> None:
    """What the keeper refuses is told to clients as an error of its kind."""
    async with linked(tmp_path) as it:
        it.keeper.refusals.append(error)
        with pytest.raises(Refusal) as caught:
            await it.link.kill("one", 0)

        told = caught.value.error("one")
        assert wire.error_to_dict(told) == wire.error_to_dict(expected)


def test_a_failed_spawn_is_always_told_alike() -> None:
    """The sentence is made of errno and name, not of what the keeper says at the moment."""
    errors = [spawn_error(13, "/x", message) for message in ("a", "b")]

    assert str(errors[0]) == str(errors[1]) == "'/x' could not be started: Permission denied"
    assert isinstance(errors[0], SpawnError)


@pytest.mark.parametrize("waiting_for", ["snapshot", "answer"])
async def test_the_end_of_the_keeper_reaches_everybody(tmp_path: Path, waiting_for: str) -> None:
    """When the keeper goes, whoever waits is told, and the owner once."""
    async with linked(tmp_path, open_=waiting_for == "answer") as it:
        it.keeper.silent = True
        if waiting_for == "snapshot":
            waiting: asyncio.Task[Any] = asyncio.create_task(it.link.open(it.ours))
            await asyncio.sleep(0)
        else:
            waiting = asyncio.create_task(it.link.kill("one", 0))
            await it.keeper.asked(1)
        await it.keeper.aclose()
        await it.until_told()
        result = (await asyncio.gather(waiting, return_exceptions=True))[0]

        assert isinstance(result, (asyncio.CancelledError, AgentFault))
        assert len(it.ends) == 1
        assert "gone" in it.ends[0]


async def test_a_keeper_that_breaks_the_agreement_is_left(tmp_path: Path) -> None:
    """A line that is no message, or a terminal record that is none, ends the link."""
    async with linked(tmp_path) as it:
        log = it.keeper.running("one")
        await it.until_told()
        it.keeper.send({"news": [{"id": "one", "end": log.end, "last": "AAAA"}]})
        await it.until_told()

        assert len(it.ends) == 1
        assert it.board.require("one").exit is None


async def test_requests_that_wait_to_be_sent_fail_with_the_keeper(tmp_path: Path) -> None:
    """A keeper that reads nothing any more and goes takes along what could not be sent to it."""
    linked = Linked(make_state(tmp_path / "state"))
    theirs = linked.keeper._sock
    opening = asyncio.create_task(linked.link.open(linked.ours))
    theirs.sendall(b'{"ready":true,"index":0}\n')
    await opening
    big = {"BIG": "x" * 100_000}
    asked = [
        asyncio.create_task(linked.link.start(json.dumps(public(f"a{n}")).encode(), big, "/"))
        for n in range(40)
    ]
    while linked.link._channel.has_room:
        await asyncio.sleep(0)
    late = asyncio.create_task(linked.link.signal("a0", "s", "SIGTERM", None))
    await asyncio.sleep(0)
    assert linked.link.pending < 41
    linked.link.go_on()
    theirs.close()
    async with asyncio.timeout(PATIENCE):
        told = await asyncio.gather(*asked, late, return_exceptions=True)

    assert {type(one) for one in told} == {KeeperGone}
