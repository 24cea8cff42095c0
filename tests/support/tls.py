"""A server that speaks TLS on loopback, with a certificate that nobody trusts."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
from aiohttp import web

__all__ = ["CERTIFICATE", "Secured", "secured"]

#: A key and its certificate, which it signed itself, for ``localhost`` alone, for a hundred years.
CERTIFICATE = Path(__file__).with_name("localhost.pem")


@attrs.define
class Secured:
    """A server that refuses every request, if one comes that far.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        requests: How many requests it has got.
    """

    port: int = 0
    requests: int = 0


@asynccontextmanager
async def secured(*, tls: bool = True) -> AsyncGenerator[Secured]:
    """Serve while the block runs, without *tls* in plain HTTP."""
    facts = Secured()

    async def refuse(_: web.Request) -> web.StreamResponse:
        facts.requests += 1
        return web.json_response({"error": {"code": "UNAUTHORIZED", "message": "no"}}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    facts.port = runner.addresses[0][1]
    try:
        yield facts
    finally:
        await runner.cleanup()
