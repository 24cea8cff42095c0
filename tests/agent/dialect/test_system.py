"""Tests of hopx_async.agent.dialect.system, through an agent that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from hopx_async import __version__
from tests.agent.harness import serving

if TYPE_CHECKING:
    from pathlib import Path


async def test_health_is_open_and_says_what_is_here(tmp_path: Path) -> None:
    """Without a token: healthy, by which agent, and what it cannot do."""
    async with serving(tmp_path / "s") as server, aiohttp.ClientSession(server.url) as http:
        async with http.get("/health") as response:
            told = await response.json()

        assert (told["status"], told["agent"]) == ("healthy", "hopx_async")
        assert (told["version"], told["vm_id"]) == (__version__, "sbx_test")
        assert told["features"]["rich_outputs"] is False


async def test_open_pages(tmp_path: Path) -> None:
    """Root and ping are open; figures are not."""
    async with serving(tmp_path / "s") as server, aiohttp.ClientSession(server.url) as http:
        found = {}
        for path in ("/", "/ping", "/info", "/metrics", "/system"):
            async with http.get(path) as response:
                found[path] = response.status

        assert found == {"/": 200, "/ping": 200, "/info": 200, "/metrics": 401, "/system": 401}


async def test_figures_count_by_route(tmp_path: Path) -> None:
    """Both pages of figures are one; requests count by route, whatever stands in the path."""
    async with serving(tmp_path / "s") as server:
        for name in ("a", "b"):
            await server.ask("POST", f"/execute/kill/{name}")
        _, told = await server.ask("GET", "/metrics")
        _, snapshot = await server.ask("GET", "/metrics/snapshot")
        async with server.http.get("/metrics/prometheus") as response:
            text = await response.text()

        assert told["requests_total"]["/execute/kill/{process_id}"] == 2
        assert told["total_errors"] == 2
        assert told.keys() == snapshot.keys()
        assert "hopx_agent_errors_total 2" in text


async def test_facts_of_the_machine(tmp_path: Path) -> None:
    """The system page has its groups; caches and sessions are empty and say so."""
    async with serving(tmp_path / "s") as server:
        _, system = await server.ask("GET", "/system")
        found = [
            (await server.ask("GET", "/jupyter/sessions"))[1]["sessions"],
            (await server.ask("GET", "/cache/stats"))[1]["cache"]["size"],
            (await server.ask("POST", "/cache/clear"))[1]["entries_removed"],
        ]

        assert system["environment"]["working_dir"] == "/workspace"
        assert system["hardware"]["cpu_cores"] >= 1
        assert found == [[], 0, 0]
