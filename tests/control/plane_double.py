"""Machines that run nothing, and a control plane in the test's own loop."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from hopx_async.control.plane import Plane
from hopx_async.control.records import Sandbox, Shelf
from hopx_async.control.routes import ControlRoutes
from hopx_async.errors import AgentFault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

__all__ = ["KEY", "Control", "FakeMachine", "FakeMachines", "controlled"]

KEY = "a-key-of-the-tests"


class FakeMachine:
    """A machine that notes what it is told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.told: list[str] = []
        self.deaf = False

    async def pause(self) -> None:
        self.told.append("pause")

    async def resume(self) -> None:
        self.told.append("resume")

    async def stop(self, grace: float) -> None:
        if self.deaf:
            raise AgentFault("it does not end")
        self.told.append("stop")


class FakeMachines:
    """Starts machines that run nothing.

    Attributes:
        running: By sandbox; what a later plane finds.
        broken: Whether starts fail.
        isolation: What they are said to be surrounded by.
    """

    def __init__(self) -> None:
        self.running: dict[str, FakeMachine] = {}
        self.starts: list[str] = []
        self.broken = False
        self.isolation = "none"

    async def start(self, sandbox: Sandbox, place: Path) -> FakeMachine:
        self.starts.append(sandbox.id)
        if self.broken:
            raise AgentFault("it is broken")
        machine = FakeMachine(f"http://127.0.0.1:{len(self.starts)}")
        self.running[sandbox.id] = machine
        return machine

    async def find(self, sandbox: Sandbox, place: Path) -> FakeMachine | None:
        return self.running.get(sandbox.id)


class Control:
    """A client of a control plane.

    Attributes:
        plane: That plane.
        machines: What runs its sandboxes.
    """

    def __init__(self, plane: Plane, machines: FakeMachines, http: aiohttp.ClientSession) -> None:
        self.plane = plane
        self.machines = machines
        self.http = http

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Return status and JSON of one request."""
        async with self.http.request(method, path, **options) as response:
            told = await response.json()
            assert told["request_id"] == response.headers["X-Request-ID"]
            return response.status, told

    async def create(self, **body: Any) -> dict[str, Any]:
        """Create a sandbox; return what is told of it."""
        status, told = await self.ask(
            "POST", "/v1/sandboxes", json={"template_name": "base", **body}
        )
        assert status == 201, told
        return dict(told)

    async def refused(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Return status and code of a request that is refused, in both envelopes."""
        status, told = await self.ask(method, path, **options)
        assert status >= 400
        nested = told["error"]
        assert all(nested[key] == told[key] for key in ("message", "code", "request_id"))
        assert isinstance(nested["details"], dict)
        return status, told["code"]


@asynccontextmanager
async def controlled(
    path: Path, machines: FakeMachines | None = None, **options: Any
) -> AsyncGenerator[Control]:
    """Run a control plane on a state directory."""
    machines = machines or FakeMachines()
    plane = Plane(Shelf(path), machines, **options)
    routes = ControlRoutes(plane, ["another", KEY])
    app = web.Application(middlewares=[routes.middleware()])
    routes.add_to(app)
    runner = web.AppRunner(app)
    await plane.open()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession(url, headers={"X-API-Key": KEY}) as http:
        try:
            yield Control(plane, machines, http)
        finally:
            await runner.cleanup()
            await plane.aclose()
