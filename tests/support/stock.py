"""Emulated stock sandboxes for tests: in this process, over loopback, with faults on the way."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from hopx_async.keeper import proc
from hopx_async.protocol.markers import marker_root
from hopx_async.protocol.rate import RateBudget
from hopx_async.providers.stock import open_stock
from hopx_async.sandbox import Sandbox
from hopx_async.testing.stock_agent import REQUESTS_PER_MINUTE, Quota, StockAgent, StockSettings
from hopx_async.transport.access import Access
from tests.support.shells import quick, reap

__all__ = [
    "FAULTS",
    "TOKEN",
    "UNLIMITED",
    "Faulty",
    "Nothing",
    "StockAccess",
    "StockPlace",
    "alive",
    "living",
    "stock_sandbox",
]

TOKEN = "eyJ.stock"  # noqa: S105  # it opens nothing
FAULTS = ("cut before", "lost", "delayed", "twice", "502 before", "503 after")


_numbers = itertools.count()


class StockAccess(Access):
    """The way to an emulated agent, with a budget of its own."""

    def __init__(self, url: str, budget: RateBudget, token: str = TOKEN) -> None:
        self.name = url
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self.budget = budget
        self._token = token

    def session(self) -> aiohttp.ClientSession:
        """Return the pool of connections."""
        return self.http

    async def headers(self) -> Mapping[str, str]:
        """Return the token."""
        return {"Authorization": f"Bearer {self._token}"}


class Nothing:
    """A lease of what is not ended from here."""

    async def release(self, grace: float | None) -> None:
        """Leave the commands alone."""

    async def kill(self) -> None:
        """Do nothing."""


class Faulty:
    """A proxy between client and agent that breaks one request in so many.

    Attributes:
        percent: How many of a hundred go wrong, each in one of `FAULTS`.
        made: How often each of them was.
        once: What goes wrong with the next request that has these bytes in it.
        quota: Counts what the client sends, and refuses nothing.
        largest: Bytes of the largest answer.
        url: Where it listens.
    """

    def __init__(self, target: str, *, percent: int = 0, seed: int = 0) -> None:
        self.percent = percent
        self.made: Counter[str] = Counter()
        self.once: dict[bytes, str] = {}
        self.quota = Quota(REQUESTS_PER_MINUTE)
        self.largest = 0
        self.url = ""
        self._target = target
        self._chance = random.Random(seed)  # noqa: S311  # no secret
        self._bag: list[str] = []
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def open(self) -> None:
        """Listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])

    async def aclose(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()
        await self._http.close()

    def _next_fault(self) -> str:
        """Return one of `FAULTS`, none again before each was there: chance leaves none out."""
        if not self._bag:
            self._bag = self._chance.sample(FAULTS, len(FAULTS))
        return self._bag.pop()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        broken = self._chance.randrange(100) < self.percent
        fault = self._next_fault() if broken else ""
        data = await request.read()
        for key in [key for key in self.once if key in data]:
            fault = self.once.pop(key)
        self.made[fault] += 1
        self.quota.take(time.monotonic())
        if fault == "502 before":
            return web.Response(status=502, text="<html>bad gateway</html>")
        if fault != "cut before":
            if fault == "delayed":
                await asyncio.sleep(0.3)
            if fault == "twice":
                await asyncio.gather(self._forward(request, data), self._forward(request, data))
            response = await self._forward(request, data)
            if fault == "503 after":
                return web.json_response({"error": "UNAVAILABLE", "message": "later"}, status=503)
            if fault != "lost":
                return response
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _forward(self, request: web.Request, data: bytes) -> web.Response:
        kept = ("Authorization", "Content-Type")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        url = self._target + request.path_qs
        async with self._http.request(request.method, url, data=data, headers=headers) as answer:
            body = await answer.read()
            self.largest = max(self.largest, len(body))
            told = {"Content-Type": answer.headers.get("Content-Type", "text/plain")}
            if "Retry-After" in answer.headers:
                told["Retry-After"] = answer.headers["Retry-After"]
            return web.Response(status=answer.status, body=body, headers=told)


class StockPlace:
    """An emulated agent, the way to it, and what a test looks at.

    Attributes:
        agent: The agent.
        proxy: What stands before it.
        workspace: What ``/workspace`` is.
        root: Where the markers are.
        nap: Argument of a sleep that is long, and this place's own.
        sandbox: The sandbox, opened.
    """

    sandbox: Sandbox

    def __init__(self, directory: Path, settings: StockSettings, faults: int | None) -> None:
        self.workspace = directory / "workspace"
        self.workspace.mkdir(exist_ok=True)
        self.sandbox_id = f"t{os.urandom(6).hex()}"
        self.root = Path(marker_root(self.sandbox_id))
        # Seconds to sleep that nobody else sleeps, in whatever runs beside this test.
        self.nap = f"40{next(_numbers):02}.{os.getpid()}"
        env = {name: os.environ[name] for name in ("PATH", "HOPX_SCOPE") if name in os.environ}
        self.agent = StockAgent(
            self.workspace,
            sandbox_id=self.sandbox_id,
            token=TOKEN,
            env={**env, "HOME": str(self.workspace)},
            settings=settings,
        )
        self._proxied, self._faults = faults is not None, faults or 0
        self._access: list[StockAccess] = []

    async def open(self) -> None:
        """Let agent and proxy listen."""
        await self.agent.open()
        self.proxy = Faulty(self.agent.url, percent=self._faults, seed=7)
        await self.proxy.open()

    async def connect(
        self, budget: RateBudget | None = None, *, give_up_after: float = 60.0
    ) -> Sandbox:
        """Open the sandbox, once more for each call; a *budget* of None lets everything pass."""
        # Only where it is wanted: it passes no sockets.
        url = self.proxy.url if self._proxied else self.agent.url
        access = StockAccess(url, budget or quick())
        self._access.append(access)
        facts = {"agent": "HopX VM Agent (Go)", "version": "3.2.8"}
        return await open_stock(
            access, self.sandbox_id, Nothing(), facts, give_up_after=give_up_after
        )

    async def aclose(self) -> None:
        """End everything that was begun here."""
        for access in self._access:
            await access.http.close()
        await self.proxy.aclose()
        await self.agent.aclose()
        await reap(self.root)
        shutil.rmtree(self.root, ignore_errors=True)


#: Lets tests run at full speed where it is not the limit that is tested.
UNLIMITED = StockSettings(requests_per_minute=1_000_000)


@asynccontextmanager
async def stock_sandbox(
    directory: Path,
    settings: StockSettings = UNLIMITED,
    *,
    faults: int | None = None,
    budget: RateBudget | None = None,
) -> AsyncGenerator[StockPlace]:
    """Emulate a stock sandbox and open it; in the end nothing of it is left.

    Args:
        directory: Where its workspace is.
        settings: How the agent behaves.
        faults: How many of a hundred requests go wrong on the way; None for no proxy there.
        budget: What the client keeps to; None lets everything pass.
    """
    place = StockPlace(directory, settings, faults)
    await place.open()
    try:
        place.sandbox = await place.connect(budget)
        try:
            yield place
        finally:
            place.proxy.percent = 0
            commands = place.sandbox.commands
            for info in await commands.list(status="running"):
                await commands.kill(info.process_id, 0.0)
            await place.sandbox.aclose()
    finally:
        await place.aclose()


def living(argument: str) -> list[int]:
    """Return the processes that have this argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if argument.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    stat = proc.read_stat(pid)
    return stat is not None and not stat.dead
