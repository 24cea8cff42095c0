"""A service of sandboxes that records all it hears, and answers as oddly as a test wants.

Its sandboxes have one agent, on a host of its own, that says what it is and no more: enough
for a door to open. ``tests/providers/test_hopx_served.py`` has agents that run.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiohttp import web

import hopx_async as hopx
from hopx_async.agent.calls import facts

__all__ = ["KEY", "Heard", "Service", "drop", "served", "stamp"]

KEY = "hopx_live_abcdefghijkl.a-key-of-the-tests"
Answer = web.StreamResponse | None
Handler = Callable[[web.Request], Awaitable[Answer]]


class Heard(NamedTuple):
    """One request."""

    side: str
    call: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body or b"null")


async def drop(request: web.Request) -> Answer:
    """Hang up without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def stamp(at: float) -> str:
    """Return a time as the service writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


class Service:
    """The service.

    Attributes:
        heard: Every request of both sides.
        sandboxes: What it has, by id.
        odd: Handlers by call, each used once, which may answer in place of the service; one that
            returns None is passed over.
        token_seconds: For how long its tokens are good.
        marks: The variables of each sandbox, as its agent would print them.
    """

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.sandboxes: dict[str, dict[str, Any]] = {}
        self.marks: dict[str, dict[str, str]] = {}
        self.odd: dict[str, list[Handler]] = {}
        self.tokens: dict[str, str] = {}
        self.token_seconds = 24 * 3600.0
        self.url = self.agent_url = ""
        self.agent_facts: dict[str, Any] = facts()
        self._count = 0

    def calls(self, side: str = "control") -> list[str]:
        """Return what one side was asked."""
        return [one.call for one in self.heard if one.side == side]

    def client(self, **options: Any) -> hopx.Client:
        """Return a client of it."""
        return hopx.Client(api_key=KEY, base_url=self.url, **options)

    def add(self, status: str = "running", **more: Any) -> str:
        """Have one more sandbox; return its id."""
        self._count += 1
        sandbox_id = f"17633857{self._count:02d}w4r6dokq"
        self.sandboxes[sandbox_id] = {
            "id": sandbox_id, "status": status, "public_host": self.agent_url,
            "template_id": "1", "template_name": "base", "organization_id": 1, "region": "eu-1001",
            "timeout_seconds": None, "expires_at": None, "created_at": stamp(time.time()),
            **more,
        }  # fmt: skip
        self.marks[sandbox_id] = {}
        return sandbox_id

    def token(self, sandbox_id: str) -> dict[str, str]:
        """Give out a fresh token; the one before is not accepted any more."""
        self._count += 1
        self.tokens[sandbox_id] = f"eyJ-{self._count}"
        ends = time.time() + self.token_seconds
        return {"auth_token": self.tokens[sandbox_id], "token_expires_at": stamp(ends)}

    # Control plane.

    async def control(self, request: web.Request) -> web.StreamResponse:
        """Answer as the service does."""
        call = await self._hear("control", request)
        if request.headers.get("X-API-Key") != KEY:
            return self.no(401, "INVALID_TOKEN", "Invalid API key")
        odd = await self._oddly(call, request)
        if odd is not None:
            return odd
        parts = request.path.split("/")[2:]
        if parts[0] == "templates":
            return self._templates(parts)
        if len(parts) == 1:
            return await (self._create(request) if request.method == "POST" else self._list())
        if parts[1] not in self.sandboxes:
            return self.no(404, "RESOURCE_NOT_FOUND", f"sandbox {parts[1]} not found")
        return await self._one(request, parts[1], parts[2] if len(parts) > 2 else request.method)

    def no(self, status: int, code: str, text: str, **headers: str) -> web.Response:
        """Refuse, in both envelopes."""
        flat = {"message": text, "code": code, "request_id": "req_1_a"}
        return web.json_response(
            {"error": {**flat, "details": {}}, **flat}, status=status, headers=headers
        )

    async def _create(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if asked.get("template_name") not in {"base", None}:
            return self.no(404, "RESOURCE_NOT_FOUND", "template not found")
        more = {key: asked[key] for key in ("timeout_seconds", "region") if key in asked}
        sandbox_id = self.add(**more)
        self.marks[sandbox_id] = dict(asked.get("env_vars") or {})
        answer = {**self.sandboxes[sandbox_id], **self.token(sandbox_id)}
        return web.json_response(answer, status=201)

    async def _list(self) -> web.StreamResponse:
        data = list(self.sandboxes.values()) or None
        return web.json_response({"object": "list", "data": data, "has_more": False})

    def _templates(self, parts: list[str]) -> web.StreamResponse:
        base = {"id": "1", "name": "base", "language": "bash"}
        if len(parts) > 1:
            known = parts[1] in base.values()
            return web.json_response(base) if known else self.no(404, "NOT_FOUND", "no template")
        return web.json_response({"data": [base], "has_more": False})

    async def _one(self, request: web.Request, sandbox_id: str, verb: str) -> web.StreamResponse:
        sandbox = self.sandboxes[sandbox_id]
        if verb == "token":
            return web.json_response(self.token(sandbox_id))
        if verb == "DELETE":
            del self.sandboxes[sandbox_id]
            return web.json_response({"status": "deleted", "id": sandbox_id})
        if verb in {"pause", "resume"}:
            sandbox["status"] = "paused" if verb == "pause" else "running"
            self.tokens.pop(sandbox_id, None)
        if verb == "timeout":
            sandbox["timeout_seconds"] = (await request.json())["timeout_seconds"]
        return web.json_response(sandbox)

    # Agent.

    async def agent(self, request: web.Request) -> web.StreamResponse:
        """Answer as an agent of ours does, up to where its commands would begin."""
        call = await self._hear("agent", request)
        odd = await self._oddly(call, request)
        if odd is not None:
            return odd
        if call == "GET /info":
            return web.json_response(self.agent_facts)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        found = next((name for name, token in self.tokens.items() if token == bearer), None)
        if found is None:
            error = {"code": "unauthorized", "message": "Invalid or expired token"}
            return web.json_response({"error": error}, status=401)
        answers: dict[str, dict[str, Any]] = {
            "GET /v1/hello": {**self.agent_facts, "sandbox_id": found},
            "GET /v1/statistics": {"of": found},
        }
        if call == "POST /commands/run":
            name = (await request.json())["args"][0]
            answers[call] = {"stdout": self.marks[found].get(name, "") + "\n"}
        if call in answers:
            return web.json_response(answers[call])
        return web.json_response({"error": "starting"}, status=503)

    async def _hear(self, side: str, request: web.Request) -> str:
        call = f"{request.method} {request.path}"
        body = await request.read()
        self.heard.append(Heard(side, call, dict(request.headers), dict(request.query), body))
        return call

    async def _oddly(self, call: str, request: web.Request) -> Answer:
        for known, handlers in list(self.odd.items()):
            if handlers and (
                call == known or (known.endswith("*") and call.startswith(known[:-1]))
            ):
                answer = await handlers.pop(0)(request)
                if answer is not None:
                    return answer
        return None


@asynccontextmanager
async def served() -> AsyncGenerator[Service]:
    """Serve both sides, each at an address of its own."""
    service = Service()
    runners = []
    for handler in (service.control, service.agent):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
    service.url, service.agent_url = (
        f"http://127.0.0.1:{runner.addresses[0][1]}" for runner in runners
    )
    try:
        yield service
    finally:
        for runner in runners:
            await runner.cleanup()
