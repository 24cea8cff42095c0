"""Tests of hopx_async.agent.routes, through an agent that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hopx_async import __version__
from hopx_async.protocol import wire
from tests.agent.harness import serving
from tests.agent.keeper_double import full_spec

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_start_is_created_once(tmp_path: Path) -> None:
    """PUT answers 201, then 200 with the same info, then 409 for another spec."""
    async with serving(tmp_path / "s") as server:
        first = await server.ask("PUT", "/v1/commands/one", json=full_spec("one", name="n"))
        again = await server.ask(
            "PUT", "/v1/commands/one", json={"command": "echo hi", "name": "n"}
        )
        other = await server.ask("PUT", "/v1/commands/one", json=full_spec("one"))

        assert (first[0], first[1]["created"]) == (201, True)
        assert (again[0], again[1]["created"]) == (200, False)
        assert again[1]["info"] == first[1]["info"]
        assert (other[0], other[1]["error"]["code"]) == (409, "conflict")
        assert len(server.keeper.requests) == 1


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"", "command"),
        (b'{"process_id":"two","command":"x"}', "process_id"),
        (b'{"command":"x","shell":true}', "shell"),
        (b'{"command":"a\\u0000b"}', "command"),
        (b'{"command":"x","timeout":-1}', "timeout"),
        (b'{"command":"x","env":{"A=B":"c"}}', "env"),
        (b'{"command":"\\ud800"}', "body"),
        (b"\xff", "body"),
        pytest.param(b'{"timeout":' + b"9" * 5000 + b"}", "body", id="a huge number"),
        pytest.param(b'{"command":' + b"[" * 100_000, "body", id="deep"),
    ],
)
async def test_a_bad_start_starts_nothing(tmp_path: Path, body: bytes, parameter: str) -> None:
    """A body that breaks a rule is refused with its name, and the keeper hears nothing."""
    async with serving(tmp_path / "s") as server:
        status, answer = await server.ask("PUT", "/v1/commands/one", data=body)

        assert (status, answer["error"]["parameter"]) == (400, parameter)
        assert server.keeper.requests == []


@pytest.mark.parametrize("name", ["%2e%2e%2fx", "$(x)", "a%0a", "x" * 300, "%00", "a%20b"])
async def test_a_bad_id_is_refused_everywhere(tmp_path: Path, name: str) -> None:
    """An id outside its grammar is named in the error, on every route that takes one."""
    async with serving(tmp_path / "s") as server:
        asked: list[tuple[str, str, Any]] = [
            ("PUT", "", {"command": "x"}),
            ("GET", "", None),
            ("POST", "/kill", {}),
            ("POST", "/signals/s1", {"name": "SIGTERM"}),
        ]
        for method, rest, body in asked:
            status, answer = await server.ask(method, f"/v1/commands/{name}{rest}", json=body)
            assert (status, answer["error"]["parameter"]) == (400, "process_id"), (method, rest)
        assert server.keeper.requests == []


async def test_unknown_commands_are_not_found(tmp_path: Path) -> None:
    """Info, signal and kill of an unknown id answer 404 with the id."""
    async with serving(tmp_path / "s") as server:
        for method, rest, body in (
            ("GET", "", None),
            ("POST", "/kill", {}),
            ("POST", "/signals/s1", {"name": "SIGTERM"}),
        ):
            status, answer = await server.ask(method, f"/v1/commands/nobody{rest}", json=body)
            assert (status, answer["error"]["code"]) == (404, "command_not_found")
            assert answer["error"]["process_id"] == "nobody"


async def test_lists_are_filtered_by_the_query(tmp_path: Path) -> None:
    """Status, name and tags of the query filter; an unknown key is refused."""
    async with serving(tmp_path / "s") as server:
        for name in "ab":
            body = full_spec(name, name=f"name {name}", tags={"k": name, "all": "1=2"})
            await server.ask("PUT", f"/v1/commands/{name}", json=body)
        server.keeper.finish("b")

        async def ids(query: str) -> list[str]:
            answer = (await server.ask("GET", f"/v1/commands{query}"))[1]
            return [info["spec"]["process_id"] for info in answer["infos"]]

        assert await ids("?tag=k=a") == ["a"]
        assert await ids("?tag=k=a&tag=all=1%3D2") == ["a"]
        assert await ids("?name=name+b") == ["b"]
        assert await ids("?status=running") == ["a"]
        assert await ids("?after=a") == ["b"]
        assert (await server.ask("GET", "/v1/commands?limit=1"))[0] == 400
        assert (await server.ask("GET", "/v1/commands?status=dead"))[0] == 400


async def test_signals_and_kills_reach_the_keeper(tmp_path: Path) -> None:
    """The routes pass ids, names and grace on, and answer what came of it."""
    async with serving(tmp_path / "s") as server:
        server.keeper.running("one")
        path = "/v1/commands/one"
        status, answer = await server.ask("POST", f"{path}/signals/s1", json={"name": "SIGHUP"})
        assert (status, answer) == (200, {"delivered": True})
        status, answer = await server.ask("POST", f"{path}/kill", json={"grace": 0.5})
        assert (status, answer["exit"]["reason"], answer["survivors"]) == (200, "killed", [])

        signal, kill = server.keeper.requests
        assert (signal["id"], signal["signal_id"], signal["name"]) == ("one", "s1", "SIGHUP")
        assert (kill["id"], kill["grace"]) == ("one", 0.5)


async def test_info_says_whose_agent_it_is(tmp_path: Path) -> None:
    """The info page tells agent, version and what it can do."""
    async with serving(tmp_path / "s") as server:
        status, answer = await server.ask("GET", "/info")

        assert (status, answer["agent"], answer["version"]) == (200, "hopx_async", __version__)
        assert answer["link_version"] == wire.LINK_VERSION
        told = {"proof": "ancestry", "merge_stderr": True, "env": True, "mask_secrets": True}
        assert told.items() <= answer["capabilities"].items()
        assert answer["capabilities"]["isolation"] == "none"


async def test_statistics_count(tmp_path: Path) -> None:
    """Statistics tell commands, connections and memory."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("a")
        server.keeper.running("b")
        server.keeper.finish("a")
        await client.exit("a")
        client.subscribe("b")
        await client.call("info", process_id="b")
        status, answer = await server.ask("GET", "/v1/statistics")

        counted = [answer[k] for k in ("commands_live", "commands_ended", "connections", "askings")]
        assert (status, counted) == (200, [1, 1, 1, 1])
        assert answer["rss_bytes"] > 1_000_000
