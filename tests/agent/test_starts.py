"""Tests of hopx_async.agent.starts, on an agent around a keeper's double."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent import starts as module
from hopx_async.agent.board import Command
from hopx_async.agent.starts import same_again
from hopx_async.errors import (
    AgentFault,
    ConflictError,
    InvalidArgument,
    RateLimited,
    SpawnError,
    Unsupported,
)
from tests.agent.harness import serving
from tests.agent.keeper_double import FakeLog, full_spec, public

if TYPE_CHECKING:
    from pathlib import Path

BAD: list[tuple[dict[str, Any], str]] = [
    ({"command": ""}, "command"),
    ({"command": []}, "command"),
    ({"command": ["a\0b"]}, r"command\[0\]"),
    ({"command": "x" * 131072}, "command"),
    ({"env": {"A": "hush\0"}}, "env"),
    ({"env": {"": "b"}}, "env"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": True}, "timeout"),
    ({"process_id": "../x"}, "process_id"),
    ({"working_dir": "\0"}, "working_dir"),
    ({"bogus": True}, "bogus"),
    ({"mask_secrets": 1}, "mask_secrets"),
    ({"mask_secrets": True}, "mask_secrets"),
    ({"mask_secrets": True, "env": {"A": "hush-hush"}}, "mask_secrets"),
    ({"mask_secrets": True, "env": {"A": "hush!"}, "secrets": ["A"]}, "env"),
    ({"mask_secrets": True, "env": {"A": None}, "secrets": ["A"]}, "secrets"),
]


@pytest.mark.parametrize(("changes", "parameter"), BAD)
async def test_bad_specs_start_nothing(
    tmp_path: Path, changes: dict[str, Any], parameter: str
) -> None:
    """A spec that breaks a rule is refused before the keeper hears of it, secrets unshown."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        with pytest.raises(InvalidArgument, match=parameter) as caught:
            await client.call("start", **full_spec(**changes))

        assert "hush" not in str(caught.value)
        assert server.keeper.requests == []


async def test_the_keeper_is_told_what_to_run(tmp_path: Path) -> None:
    """Environment and directory reach the keeper resolved; the public spec has names only."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        env = {"B": "geheim", "A": "1", "LANG": None, "NOT": None, "HOME": "/elsewhere"}
        await client.call("start", **full_spec("a", env=env, working_dir="sub/dir"))
        await client.call("start", **full_spec("b", working_dir="/abs"))
        await client.call("start", **full_spec("c"))
        first, second, third = server.keeper.requests
        workspace = str(tmp_path / "s" / "workspace")

        assert first["env"] == {"PATH": "/bin", "HOME": "/elsewhere", "A": "1", "B": "geheim"}
        assert second["env"] == {"PATH": "/bin", "HOME": "/home", "LANG": "C"}
        assert [first["working_dir"], second["working_dir"], third["working_dir"]] == [
            f"{workspace}/sub/dir", "/abs", workspace,
        ]  # fmt: skip
        assert first["public"]["working_dir"] == "sub/dir"
        assert first["public"]["env_names"] == ["A", "B", "HOME", "LANG", "NOT"]
        assert "geheim" not in str(first["public"])
        assert "geheim" not in str(await client.call("list"))


async def test_equal_starts_at_once_share_one(tmp_path: Path) -> None:
    """Many equal starts make one request and one info; only one of them created it."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.silent = True
        asked = [asyncio.create_task(client.call("start", **full_spec())) for _ in range(5)]
        request = await server.keeper.asked(1)
        with pytest.raises(ConflictError):
            await client.call("start", **full_spec(command="other"))
        server.keeper.answer(request)
        answers = await asyncio.gather(*asked)

        assert sorted(answer["created"] for answer in answers) == [False] * 4 + [True]
        assert all(answer["info"] == answers[0]["info"] for answer in answers)
        assert len(server.keeper.requests) == 1


async def test_a_start_survives_who_asked(tmp_path: Path) -> None:
    """A start whose asker has gone goes on, and asking again finds it."""
    async with serving(tmp_path / "s") as server:
        server.keeper.silent = True
        async with server.link() as client:
            asked = asyncio.create_task(client.call("start", **full_spec()))
            request = await server.keeper.asked(1)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        async with server.link() as client:
            again = asyncio.create_task(client.call("start", **full_spec()))
            await client.call("statistics")
            server.keeper.answer(request)

            assert (await again)["info"]["pid"] is not None
            assert len(server.keeper.requests) == 1


async def test_a_start_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """A new agent knows the spec of an old one's command: same, or in conflict."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        first = await client.call("start", **full_spec(env={"A": "b"}))
        keeper = server.keeper
    async with serving(tmp_path / "s", logs=keeper) as server, server.link() as client:
        again = await client.call("start", **full_spec(env={"A": "b"}))
        with pytest.raises(ConflictError):
            await client.call("start", **full_spec(env={"A": "c"}))

        assert (again["created"], again["info"]) == (False, first["info"])
        assert server.keeper.requests == []


@pytest.mark.parametrize("known_by", ["reply", "news", "log"])
async def test_a_failed_spawn_is_told_again(tmp_path: Path, known_by: str) -> None:
    """The same start fails alike again, told by the reply, the news, or the claim's log alone."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        keeper = server.keeper
        refusal = {"code": "spawn_failed", "errno": 2, "filename": "/nope", "message": "?"}
        keeper.refusals.append(refusal)
        with pytest.raises(SpawnError) as first:
            await client.call("start", **full_spec())
        if known_by == "reply":
            keeper.refusals.append(refusal)
        else:
            spec = keeper.requests[0]["public"]
            log = FakeLog(keeper.state_dir / "logs", "one", spec)
            log.finish(exit_code=None, reason="spawn_failed", errno=2, filename="/nope")
            if known_by == "news":
                keeper.tell(log, spec=spec)
        with pytest.raises(SpawnError) as second:
            await client.call("start", **full_spec())

        assert str(first.value) == str(second.value)
        assert (second.value.errno, second.value.filename) == (2, "/nope")
        if known_by != "reply":
            with pytest.raises(ConflictError):
                await client.call("start", **full_spec(command="other"))


async def test_a_claim_that_nobody_can_read_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id whose log has no end and no keeper is refused, not started twice."""
    monkeypatch.setattr(module, "_NEWS_TIME", 0.1)
    async with serving(tmp_path / "s") as server, server.link() as client:
        FakeLog(server.keeper.state_dir / "logs", "one", public())
        with pytest.raises(AgentFault, match="'one'"):
            await client.call("start", **full_spec())


async def test_a_full_disk_leaves_no_claim(tmp_path: Path) -> None:
    """A start refused for the disk is 507, and may be tried again."""
    async with serving(tmp_path / "s") as server:
        server.keeper.refusals.append({"code": "disk_full", "message": "no room"})
        status, answer = await server.ask("PUT", "/v1/commands/one", json=full_spec())
        assert (status, answer["error"]["message"]) == (507, "no room")
        assert (await server.ask("PUT", "/v1/commands/one", json=full_spec()))[0] == 201


async def test_running_commands_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command too many is refused; one that exists already is not."""
    monkeypatch.setattr(module, "MAX_LIVE", 1)
    async with serving(tmp_path / "s") as server, server.link() as client:
        await client.call("start", **full_spec("a"))
        with pytest.raises(RateLimited):
            await client.call("start", **full_spec("b"))
        await client.call("start", **full_spec("a"))
        server.keeper.finish("a")
        await client.exit("a")

        server.keeper.silent = True
        under_way = asyncio.create_task(client.call("start", **full_spec("b")))
        request = await server.keeper.asked(2)
        with pytest.raises(RateLimited):
            await client.call("start", **full_spec("c"))
        server.keeper.answer(request)
        await under_way


async def test_a_stop_waits_for_no_start(tmp_path: Path) -> None:
    """A keeper that does not answer holds up no stop, and leaves no task."""
    async with serving(tmp_path / "s") as server:
        server.keeper.silent = True
        asked = asyncio.create_task(server.ask("PUT", "/v1/commands/a", json=full_spec("a")))
        await server.keeper.asked(1)
        await server.agent.aclose()
        await asyncio.gather(asked, return_exceptions=True)


def test_same_again_compares() -> None:
    """A command is the same to one with its digest, a conflict to others."""
    command = Command("a", b'{"spec_digest":"' + b"0" * 64 + b'"}')

    assert same_again(command, "0" * 64) is command
    with pytest.raises(ConflictError, match="'a'"):
        same_again(command, "1" * 64)


async def test_limit_of_processes_needs_somebody_who_counts(tmp_path: Path) -> None:
    """Without a cgroup it is refused before the start; other limits reach the keeper."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        with pytest.raises(Unsupported, match="processes"):
            await client.call("start", **full_spec(limits={"processes": 5}))
        assert server.keeper.requests == []
        limits = {"nice": 5, "open_files": None, "file_size_bytes": 0}
        info = (await client.call("start", **full_spec(limits=limits)))["info"]
        assert info["spec"]["limits"] == {"nice": 5, "file_size_bytes": 0}


async def test_terminal_implies_the_rest(tmp_path: Path) -> None:
    """A terminal has stdin and one output, and a TERM unless the command has its own."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        info = (await client.call("start", **full_spec("a", pty=[2, 3])))["info"]
        await client.call("start", **full_spec("b", pty=[2, 3], env={"TERM": "dumb"}))
        terms = [request["env"]["TERM"] for request in server.keeper.requests]
        assert terms == ["xterm-256color", "dumb"]
        assert (info["spec"]["stdin"], info["spec"]["merge_stderr"]) == (True, True)
        assert info["spec"]["pty"] == [2, 3]


async def test_a_plain_start_takes_no_task(tmp_path: Path) -> None:
    """`begin` starts what nobody has asked for, and leaves the rest to `start`."""
    told: list[tuple[Command | None, Exception | None]] = []

    def tell(command: Command | None, error: Exception | None) -> None:
        told.append((command, error))
        heard.set()

    heard = asyncio.Event()
    async with serving(tmp_path / "s") as server:
        starts = server.agent._starts
        assert starts.begin(full_spec(), tell)
        assert not starts.begin(full_spec(), tell)  # it is under way: its answer is shared
        shared, created = await starts.start(full_spec())
        await heard.wait()
        assert told == [(shared, None)]
        assert not created
        assert not starts.begin(full_spec(), tell)  # it is known
        assert len(told) == 1
