"""Tests of hopx_async.agent.dialect.routes: the dialect as a whole."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.agent.harness import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/cache", 404, "NOT_FOUND"),
        ("POST", "/execute/nothing", 404, "NOT_FOUND"),
        ("GET", "/commands/run", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/desktop/vnc/start", 501, "DESKTOP_NOT_AVAILABLE"),
        ("POST", "/desktop/a%0Ab", 501, "DESKTOP_NOT_AVAILABLE"),
        ("POST", "/execute/async", 501, "NOT_IMPLEMENTED"),
    ],
)
async def test_what_is_not_here_says_so(
    tmp_path: Path, method: str, path: str, status: int, word: str
) -> None:
    """Unknown paths are 404, never the live service's 200 that does nothing."""
    async with serving(tmp_path / "s") as server:
        answer = await server.ask(method, path)

        assert (answer[0], answer[1]["code"]) == (status, word)


async def test_a_method_that_is_not_here_names_those_that_are(tmp_path: Path) -> None:
    """405 says in its header what a route can be asked by."""
    async with serving(tmp_path / "s") as server:
        async with server.http.get("/commands/run") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_a_large_body_is_refused(tmp_path: Path) -> None:
    """A body over the bound is 413, told or sent in pieces without a length."""

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(20):
            yield bytes(100_000)

    async with serving(tmp_path / "s") as server:
        for data in (io.BytesIO(bytes(2_000_000)), pieces()):
            status, told = await server.ask("POST", "/commands/run", data=data)
            assert (status, told["code"]) == (413, "INVALID_REQUEST")
        assert server.keeper.requests == []


async def test_the_page_of_hopx_routes_has_them_all(tmp_path: Path) -> None:
    """Each route of the dialect stands in the reference, and no other."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "hopx-routes.md"
    text = page.read_text().partition("## The control plane")[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    told = {route for line in rows for route in re.findall(r"`([A-Z*]+ /[^`]*)`", line)}
    async with serving(tmp_path / "s") as server:
        coded = {
            f"{route.method} {route.resource.canonical}"
            for route in server.agent._runner.app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }

    ours = {one for one in coded if "/v1/" in one or one in {"GET /health", "GET /info"}}
    assert told == coded - ours
