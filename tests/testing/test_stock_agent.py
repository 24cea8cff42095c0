"""The emulated stock agent: each of its flaws is there, and nothing else is broken."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hopx_async.protocol.file_answers import is_catch_all
from hopx_async.testing.stock_agent import REQUESTS_PER_MINUTE, Quota, StockAgent, StockSettings
from tests.support.stock import TOKEN, UNLIMITED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation needs Linux")


class Asked:
    """An emulated agent, and what asks it."""

    def __init__(self, agent: StockAgent, http: aiohttp.ClientSession) -> None:
        self.agent = agent
        self.http = http

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Return status and JSON of one request."""
        async with self.http.request(method, path, **options) as response:
            assert response.headers["X-Request-ID"].startswith("req_")
            return response.status, await response.json()

    async def ok(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON of a request that is answered with 200."""
        status, answer = await self.ask(method, path, **options)
        assert status == 200, answer
        return answer

    async def run(self, *argv: str, **more: Any) -> Any:
        """Run a program."""
        return await self.ok(
            "POST", "/commands/run", json={"command": argv[0], "args": argv[1:], **more}
        )


@asynccontextmanager
async def asked(
    path: Path, settings: StockSettings = UNLIMITED, token: str = TOKEN
) -> AsyncGenerator[Asked]:
    """Let an agent listen, and ask it with a token."""
    agent = StockAgent(
        path, sandbox_id="1x", token=TOKEN, env={"PATH": "/usr/bin:/bin"}, settings=settings
    )
    await agent.open()
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with aiohttp.ClientSession(agent.url, headers=headers) as http:
            yield Asked(agent, http)
    finally:
        await agent.aclose()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/execute/kill/cmd_1"),
        ("POST", "/execute/kill"),
        ("DELETE", "/execute/kill?process_id=cmd_1"),
        ("POST", "/processes/cmd_1/kill"),
        ("POST", "/execute/async"),
        ("GET", "/cache"),
        ("PUT", "/v1/commands/x"),
        ("POST", "/v1/pause"),
    ],
)
async def test_what_is_unknown_is_answered_with_success(
    method: str, path: str, tmp_path: Path
) -> None:
    """Every unknown path, kills among them, gets 200 and a text about the agent."""
    async with asked(tmp_path) as there:
        answer = await there.ok(method, path, json={"process_id": "cmd_1"})
        assert is_catch_all(answer)
        assert answer["message"] == "success"


async def test_a_kill_that_reports_success_does_nothing(tmp_path: Path) -> None:
    """The command goes on, and its output is nowhere."""
    async with asked(tmp_path) as there:
        body = {"command": "bash", "args": ["-c", "echo gone; exec sleep 4000"], "timeout": 60}
        told = await there.ok("POST", "/commands/background", json=body)
        name = told["process_id"]
        for method, path in (("POST", f"/execute/kill/{name}"), ("POST", "/execute/kill")):
            await there.ok(method, path, json={"process_id": name})
        [row] = (await there.ok("GET", "/execute/processes"))["processes"]
        assert (row["process_id"], row["status"]) == (name, "running")
        assert not {"stdout", "stderr"} & row.keys()
        await there.run("kill", "-9", str(row["pid"]))
        while (await there.ok("GET", "/execute/processes"))["processes"][0]["status"] == "running":
            pass


async def test_it_says_that_it_is_not_ours(tmp_path: Path) -> None:
    """Health and facts are told without a token, under HopX's name."""
    async with asked(tmp_path, token="") as there:
        assert (await there.ok("GET", "/health"))["status"] == "healthy"
        for path in ("/", "/ping", "/info", "/system"):
            assert (await there.ok("GET", path))["agent"] == "HopX VM Agent (Go)"
        status, answer = await there.ask("POST", "/commands/run", json={"command": "true"})
        assert (status, answer["message"]) == (401, "Invalid or expired token")
        assert "code" not in answer


async def test_values_under_some_names_are_masked(tmp_path: Path) -> None:
    """Variables count for programs; what looks like a secret is not shown again."""
    async with asked(tmp_path) as there:
        shown = await there.ok("PUT", "/env", json={"env_vars": {"API_KEY": "k", "MODE": "m"}})
        assert shown["env_vars"] == {"API_KEY": "***MASKED***", "MODE": "m"}
        await there.ok("PATCH", "/env", json={"env_vars": {"MODE": "n"}, "merge": True})
        ran = await there.run("bash", "-c", "echo $API_KEY $MODE $OWN", env={"OWN": "o"})
        assert ran["stdout"] == "k n o\n"
        assert (await there.ok("DELETE", "/env"))["count"] == 0


async def test_more_than_the_published_rate_is_refused(tmp_path: Path) -> None:
    """The refusal says in each of the places when to come back, and nothing has run."""
    async with asked(tmp_path, StockSettings(requests_per_minute=3)) as there:
        for _ in range(3):
            await there.run("true")
        async with there.http.post("/commands/run", json={"command": "touch"}) as response:
            answer = await response.json()
            headers = response.headers
        assert response.status == 429
        assert answer["code"] == "RATE_LIMIT_EXCEEDED"
        assert 0 < answer["retry_after"] == int(headers["Retry-After"]) <= 60
        assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("3", "0")
        await there.ok("GET", "/health")  # needs no token, and counts for nothing
        assert (there.agent.quota.highest, there.agent.quota.refused) == (3, 1)
        assert StockSettings().requests_per_minute == REQUESTS_PER_MINUTE == 300


def test_a_quota_is_that_of_every_minute() -> None:
    """What was taken a minute ago is free again."""
    quota = Quota(2)
    assert [quota.take(0.0), quota.take(10.0)] == [0.0, 0.0]
    assert quota.take(20.0) == 40.0
    assert quota.take(60.5) == 0.0
    assert quota.take(61.0) == 9.0
    assert (quota.highest, quota.refused, quota.left) == (2, 2, 0)


async def test_it_fails_as_often_as_it_is_told_to(tmp_path: Path) -> None:
    """Each fault is a 5xx; behind some of them the program has run."""
    async with asked(tmp_path, StockSettings(requests_per_minute=9999, fault_rate=1.0)) as there:
        body = {"command": "bash", "args": ["-c", "echo x >> ran"], "workdir": "/workspace"}
        told = [await there.ask("POST", "/commands/run", json=body) for _ in range(20)]
        assert {status for status, _ in told} == {500, 502, 503}
        assert all(answer["code"] == "INTERNAL_ERROR" for _, answer in told)
        assert 0 < (tmp_path / "ran").read_text().count("x") < 20


async def test_what_is_not_emulated_says_so(tmp_path: Path) -> None:
    """It claims no success for what HopX has and it has not."""
    async with asked(tmp_path) as there:
        status, answer = await there.ask("POST", "/execute", json={"code": "1"})
        assert (status, answer["code"]) == (501, "NOT_IMPLEMENTED")


async def test_a_bad_body_is_refused(tmp_path: Path) -> None:
    """No JSON, no command, wrong types: 400, and HopX's envelope without a message."""
    async with asked(tmp_path) as there:
        for data in (b"{", b'{"args": ["x"]}', b'{"command": 7}', b'{"command": "x\\u0000"}'):
            status, answer = await there.ask("POST", "/commands/run", data=data)
            assert status == 400
            assert answer["code"] in {"INVALID_JSON", "INVALID_REQUEST"}
            assert "message" not in answer
