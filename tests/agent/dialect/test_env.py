"""Tests of hopx_async.agent.dialect.env, through an agent that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.agent.dialect.served import served

if TYPE_CHECKING:
    from pathlib import Path


async def test_variables_reach_commands(tmp_path: Path) -> None:
    """Set, merged, overruled by a request's own, deleted one by one, cleared."""
    async with served(tmp_path) as agent:

        async def shown() -> str:
            body = {"command": "echo $A-$B-$C", "env": {"C": "own"}}
            return str((await agent.ok("POST", "/commands/run", json=body))["stdout"]).strip()

        told = await agent.ok("PUT", "/env", json={"env_vars": {"A": "1", "C": "theirs"}})
        assert (told["env_vars"], told["count"]) == ({"A": "1", "C": "theirs"}, 2)
        await agent.ok("PATCH", "/env", json={"env_vars": {"B": "2"}, "merge": True})
        assert await shown() == "1-2-own"
        told = await agent.ok("DELETE", "/env/A")
        assert told["env_vars"].keys() == {"B", "C"}
        assert await shown() == "-2-own"
        await agent.ok("DELETE", "/env")
        assert (await agent.ok("GET", "/env"))["env_vars"] == {}


async def test_what_is_masked_stays_what_it_is(tmp_path: Path) -> None:
    """HopX's clients put back what they got: a mask is no value, and no secret is lost by it."""
    async with served(tmp_path) as agent:
        variables = {"API_KEY": "k", "my_password": "p", "PLAIN": "x"}
        await agent.ok("PUT", "/env", json={"env_vars": variables})
        marked = {"variables": {"HIDDEN": "hidden"}, "secrets": ["HIDDEN"]}
        await agent.ok("PATCH", "/v1/env", json=marked)
        got = (await agent.ok("GET", "/env"))["env_vars"]
        masked = "***MASKED***"
        names = ("API_KEY", "HIDDEN", "my_password")
        assert got == {**dict.fromkeys(names, masked), "PLAIN": "x"}

        del got["PLAIN"]
        await agent.ok("PUT", "/env", json={"env_vars": {**got, "UNKNOWN": masked}})
        await agent.ok("PATCH", "/env", json={"env_vars": got})
        body = {"command": "echo $API_KEY$HIDDEN$my_password-$PLAIN$UNKNOWN"}
        assert (await agent.ok("POST", "/commands/run", json=body))["stdout"] == "khiddenp-\n"
        assert (await agent.ok("GET", "/v1/env"))["secrets"] == ["HIDDEN"]


@pytest.mark.parametrize(
    "body",
    [{}, {"env_vars": None}, {"env_vars": [1]}, {"env_vars": {"A": 1}}, {"env_vars": {"": "x"}}],
)
async def test_what_is_no_environment_changes_nothing(tmp_path: Path, body: Any) -> None:
    """What is missing or wrong is 400, shown without values."""
    async with served(tmp_path) as agent:
        await agent.ok("PUT", "/env", json={"env_vars": {"A": "1"}})
        for method in ("PUT", "PATCH"):
            assert (await agent.refused(method, "/env", json=body))[0] == 400
        assert (await agent.ok("GET", "/env"))["env_vars"] == {"A": "1"}
