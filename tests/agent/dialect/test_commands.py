"""Tests of hopx_async.agent.dialect.commands, through an agent that runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.agent.dialect.served import served


async def test_commands_run_in_the_workspace(tmp_path: Path) -> None:
    """Output, code, directory and environment are those asked for."""
    async with served(tmp_path) as agent:
        body: dict[str, Any] = {"command": "echo $A; pwd; echo b >&2; exit 3", "env": {"A": "1"}}
        (agent.workspace / "sub").mkdir()
        told = await agent.ok("POST", "/commands/run", json={**body, "workdir": "/workspace/sub"})

        assert told["stdout"] == f"1\n{agent.workspace}/sub\n"
        assert (told["stderr"], told["exit_code"], told["success"]) == ("b\n", 3, False)
        assert told["pid"] > 0
        assert told["execution_time"] > 0
        assert not told["timed_out"]


async def test_shell_or_exec(tmp_path: Path) -> None:
    """Arguments are passed as they are; a text with a blank is for a shell, one word is not."""
    async with served(tmp_path) as agent:
        asked = [{"command": "echo", "args": ["$HOME  x"]}, {"command": "echo  a; echo b"}]
        told = [await agent.ok("POST", "/commands/run", json=body) for body in asked]
        told.append(await agent.ok("POST", "/commands/run", json={"command": "true"}))

        assert [one["stdout"] for one in told] == ["$HOME  x\n", "a\nb\n", ""]


async def test_what_fails_by_itself_is_no_fault(tmp_path: Path) -> None:
    """A time limit, a missing and a forbidden program are 200 with 124, 127 and 126."""
    async with served(tmp_path) as agent:
        (agent.workspace / "plain").write_text("x")
        asked = [
            {"command": "echo a; sleep 60", "timeout": 0.3},
            {"command": "nonesuch-program"},
            {"command": str(agent.workspace / "plain")},
        ]
        told = [await agent.ok("POST", "/commands/run", json=body) for body in asked]

        assert [one["exit_code"] for one in told] == [124, 127, 126]
        assert (told[0]["stdout"], told[0]["timed_out"]) == ("a\n", True)


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("run", b"{", "INVALID_JSON"),
        ("run", b"[]", "INVALID_JSON"),
        ("run", b"", "MISSING_PARAMETER"),
        ("background", b'{"command":""}', "MISSING_PARAMETER"),
        ("run", b'{"command":7}', "INVALID_REQUEST"),
        ("run", b'{"command":"a","args":[1]}', "INVALID_REQUEST"),
        ("run", b'{"command":"a","args":"b"}', "INVALID_REQUEST"),
        ("run", b'{"command":"a","timeout":0}', "INVALID_REQUEST"),
        ("background", b'{"command":"a","timeout":"1"}', "INVALID_REQUEST"),
        ("run", b'{"command":"a\\u0000b"}', "INVALID_REQUEST"),
        ("run", b'{"command":"a","env":{"A":1}}', "INVALID_REQUEST"),
        ("run", b'{"command":"a","env":{"A=B":"1"}}', "INVALID_REQUEST"),
        ("run", b'{"command":"a","workdir":7}', "INVALID_REQUEST"),
        ("run", b'{"command":"a","workdir":"/nowhere/at/all"}', "DIRECTORY_NOT_FOUND"),
        ("background", b'{"command":"a","name":7}', "INVALID_REQUEST"),
    ],
)
async def test_bad_bodies_start_nothing(tmp_path: Path, path: str, body: bytes, word: str) -> None:
    """What is wrong is refused with 400 and its code, and no command is there."""
    async with served(tmp_path) as agent:
        refused = await agent.refused("POST", f"/commands/{path}", data=body)

        assert refused == (400, word)
        assert (await agent.ok("GET", "/v1/commands"))["infos"] == []


async def test_code_runs_as_a_child(tmp_path: Path) -> None:
    """Each language that is here prints; a failing program is 200; unknown ones are refused."""
    async with served(tmp_path) as agent:
        python = await agent.ok("POST", "/execute", json={"code": "print(6 * 7)"})
        shell = await agent.ok("POST", "/execute", json={"code": "exit 4", "language": "sh"})
        cobol = await agent.refused("POST", "/execute", json={"code": "x", "language": "cobol"})
        rich = await agent.refused("POST", "/execute/rich", json={"code": "1"})

        assert (python["stdout"], python["language"]) == ("42\n", "python")
        assert (shell["exit_code"], shell["success"]) == (4, False)
        assert cobol == (400, "INVALID_REQUEST")
        assert rich == (501, "NOT_IMPLEMENTED")


async def test_go_where_it_is_installed(tmp_path: Path) -> None:
    """Its code is a file that ``go run`` is given, and that is gone afterwards."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text('#!/bin/sh\necho "$1 $2"; cat "$2"; exit 3\n')
    go.chmod(0o755)
    env = {"PATH": f"{go.parent}:{os.environ['PATH']}"}
    async with served(tmp_path, base_env=env) as agent:
        ran = await agent.ok("POST", "/execute", json={"code": "package main\n", "language": "go"})
        said, text = ran["stdout"].split("\n", 1)
        info = await agent.ok("GET", "/info")

        assert said.startswith("run ")
        assert said.endswith("main.go")
        assert text == "package main\n"
        assert ran["exit_code"] == 3
        assert not Path(said.split()[1]).parent.exists()
        assert "go" in info["features"]["languages"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/execute/kill?process_id={id}", None),
        ("DELETE", "/execute/kill", "process_id"),
        ("POST", "/execute/kill", "process_id"),
        ("POST", "/execute/kill", "execution_id"),
        ("POST", "/execute/kill/{id}", None),
        ("DELETE", "/execute/kill/{id}", None),
        ("POST", "/processes/{id}/kill", None),
        ("POST", "/execute/kill/{bare}", None),
        ("POST", "/execute/kill/proc_{bare}", None),
        ("POST", "/execute/kill/{pid}", None),
    ],
)
async def test_every_kill_kills(tmp_path: Path, method: str, path: str, body: str | None) -> None:
    """Each form ends the whole command, by each of its names; once more is no error."""
    async with served(tmp_path) as agent:
        process_id = await agent.background("sleep 60 & sleep 60")
        row = (await agent.rows())[process_id]
        names = {"id": process_id, "bare": process_id.removeprefix("cmd_"), "pid": row["pid"]}
        given = None if body is None else {body: row[body]}
        for _ in range(1 if "{pid}" in path else 2):
            told = await agent.ok(method, path.format(**names), json=given)
            assert (told["status"], told["success"]) == ("killed", True)
            assert told["process_id"] == process_id

        row = (await agent.rows())[process_id]
        assert (row["status"], row["exit_code"]) == ("killed", 143)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[null]", "INVALID_JSON"),
        (b"{", "INVALID_JSON"),
        (b'{"process_id": 7}', "INVALID_REQUEST"),
        (b'{"execution_id": {}}', "INVALID_REQUEST"),
    ],
)
async def test_a_kill_that_is_not_understood_kills_nobody(
    tmp_path: Path, body: bytes, code: str
) -> None:
    """A body that is wrong is refused, although the query names a command."""
    async with served(tmp_path) as agent:
        process_id = await agent.background("sleep 60")
        place = f"/execute/kill?process_id={process_id}"
        for method in ("POST", "DELETE"):
            assert await agent.refused(method, place, data=body) == (400, code)

        assert (await agent.rows())[process_id]["status"] == "running"


async def test_a_kill_of_nobody(tmp_path: Path) -> None:
    """An unknown id is 404 in words that no client takes for a lost file; none is 400."""
    async with served(tmp_path) as agent:
        status, answer = await agent.ask("POST", "/execute/kill/cmd_nobody")
        missing = await agent.refused("POST", "/execute/kill")

        assert (status, answer["code"]) == (404, "PROCESS_NOT_FOUND")
        assert "not found" not in answer["message"]
        assert missing == (400, "MISSING_PARAMETER")


async def test_a_background_command_that_cannot_start(tmp_path: Path) -> None:
    """It is answered with 200 and has a row that says how it failed."""
    async with served(tmp_path) as agent:
        body = {"command": "nonesuch-program"}
        told = await agent.ok("POST", "/commands/background", json=body)
        row = (await agent.rows())[told["process_id"]]

        assert (told["status"], told["success"]) == ("failed", False)
        assert (row["status"], row["exit_code"]) == ("failed", 127)
