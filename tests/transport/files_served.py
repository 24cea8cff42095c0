"""A server of files made of one handler, and the way to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from hopx_async.transport.access import Access
from hopx_async.transport.http_files import HttpFiles

__all__ = ["Handler", "Renewing", "served"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Renewing(Access):
    """A way whose first token has expired."""

    def __init__(self, url: str) -> None:
        self.name = url
        self.http = aiohttp.ClientSession()
        self.token = "old"  # noqa: S105  # it opens nothing
        self.renewals = 0

    def session(self) -> aiohttp.ClientSession:
        """Return the pool of connections."""
        return self.http

    async def headers(self) -> Mapping[str, str]:
        """Return the token."""
        return {"Authorization": f"Bearer {self.token}"}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Get the next token."""
        assert refused == {"Authorization": f"Bearer {self.token}"}
        self.renewals += 1
        self.token = "new"  # noqa: S105  # it opens nothing
        return True


@asynccontextmanager
async def served(handler: Handler) -> AsyncGenerator[tuple[HttpFiles, Renewing]]:
    """Serve *handler* for every path, and give the files there."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != "Bearer new":
            await request.read()
            return web.json_response({"error": "INVALID", "message": "expired"}, status=401)
        return await handler(request)

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", guarded)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    access = Renewing(f"http://{host}:{port}")
    files = HttpFiles(access)
    try:
        yield files, access
    finally:
        await files.aclose()
        await access.http.close()
        await runner.cleanup()
