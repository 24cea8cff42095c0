"""An agent that runs, asked in HopX's words."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.support.agents import running_agent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

__all__ = ["Asked", "said", "served"]


class Asked:
    """A client of the dialect.

    Attributes:
        workspace: What ``/workspace`` is.
    """

    def __init__(self, http: aiohttp.ClientSession, workspace: Path) -> None:
        self.http = http
        self.workspace = workspace

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Return status and JSON of one request."""
        async with self.http.request(method, path, **options) as response:
            return response.status, await response.json()

    async def ok(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON of a request that is answered with 200."""
        status, answer = await self.ask(method, path, **options)
        assert status == 200, answer
        return answer

    async def refused(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Return status and code of a request that is refused, in the whole envelope."""
        status, answer = await self.ask(method, path, **options)
        assert status >= 400
        assert answer["error"] == answer["message"]
        assert isinstance(answer["details"], dict)
        assert answer["request_id"].startswith("req_")
        return status, answer["code"]

    async def background(self, text: str, **more: Any) -> str:
        """Start a background command; return its id."""
        body = {"command": "bash", "args": ["-c", text], **more}
        return str((await self.ok("POST", "/commands/background", json=body))["process_id"])

    async def rows(self, path: str = "/execute/processes") -> dict[str, Any]:
        """Return the rows of a listing that are commands, by their ids."""
        rows = (await self.ok("GET", path))["processes"]
        return {row["process_id"]: row for row in rows if "process_id" in row}


@asynccontextmanager
async def served(path: Path, **config: Any) -> AsyncGenerator[Asked]:
    """Run an agent with state and workspace below *path*, and ask it with its token."""
    workspace = path / "workspace"
    async with running_agent(path / "state", workspace=str(workspace), **config) as agent:
        headers = {"Authorization": f"Bearer {agent.token}"}
        async with aiohttp.ClientSession(agent.url, headers=headers) as http:
            yield Asked(http, workspace)


async def said(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    """Return what is said up to ``complete``, times left out."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["type"] != "complete":
        message = await socket.receive_json(timeout=30)
        assert message.pop("timestamp").endswith("Z")
        found.append(message)
    return found
