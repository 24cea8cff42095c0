"""The way to an agent of the service: tokens renewed once for all, and no key there."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NoReturn

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from hopx_async.errors import (
    AgentFault,
    AuthenticationError,
    ConflictError,
    ConnectError,
    RateLimited,
    RemoteProtocolError,
    TlsError,
)
from hopx_async.protocol.rate import RateBudget
from hopx_async.transport.cloud_access import CloudAccess, TokenBox, Tokens, ask_agent
from hopx_async.transport.control_plane import ControlPlane
from tests.support.service import KEY, Service, served


class Way:
    """A sandbox, and all that leads to it."""

    def __init__(self, service: Service, plane: ControlPlane, sandbox_id: str) -> None:
        self.service, self.plane, self.sandbox_id = service, plane, sandbox_id
        self.tokens = Tokens(plane)
        self.box = self.tokens.of(sandbox_id)
        self.runs = True
        self.looks = 0
        self.access = CloudAccess(plane, self.box, service.agent_url, self.look)

    async def look(self) -> bool:
        """Say whether it runs."""
        self.looks += 1
        return self.runs

    def refreshes(self) -> int:
        """Return how often a token was asked for."""
        return sum(call.endswith("/token/refresh") for call in self.service.calls())

    async def ask(self) -> object:
        """Ask the agent something that needs a token."""
        return await ask_agent(self.access, "GET", "/v1/statistics")


@asynccontextmanager
async def way() -> AsyncGenerator[Way]:
    """Have a sandbox and the way to it."""
    async with served() as service:
        plane = ControlPlane(service.url, KEY)
        found = Way(service, plane, service.add())
        try:
            yield found
        finally:
            await found.access.aclose()
            await found.tokens.aclose()
            await plane.aclose()


async def test_the_first_use_by_many_gets_one_token() -> None:
    """Fifty tasks that need a token at once make one request for it."""
    async with way() as there:
        answers = await asyncio.gather(*(there.ask() for _ in range(50)))

        assert answers == [{"of": there.sandbox_id}] * 50
        assert there.refreshes() == 1


async def test_a_refused_token_is_renewed_once_for_all() -> None:
    """When a token has been rotated, all who are refused wait for one renewal and go on."""
    async with way() as there:
        await there.ask()
        there.service.token(there.sandbox_id)  # and the old one is worth nothing
        await asyncio.gather(*(there.ask() for _ in range(50)))

        assert there.refreshes() == 2


async def test_who_comes_late_with_an_old_token_asks_for_no_other() -> None:
    """A request refused with a token that has been replaced meanwhile just takes the new one."""
    async with way() as there:
        await there.ask()
        old = await there.access.headers()
        there.service.token(there.sandbox_id)
        await there.ask()
        assert await there.access.renew(old) is True

        assert there.refreshes() == 2


async def test_who_is_cancelled_first_takes_nothing_from_the_others() -> None:
    """The first task to want a token is cancelled, the others get it."""
    async with way() as there:
        arrived, gate = anyio.Event(), anyio.Event()

        async def slowly(_: web.Request) -> None:
            arrived.set()
            await gate.wait()

        there.service.odd[f"POST /v1/sandboxes/{there.sandbox_id}/*"] = [slowly]
        first = asyncio.create_task(there.ask())
        await arrived.wait()
        others = [asyncio.create_task(there.ask()) for _ in range(5)]
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await asyncio.wait([first])
        gate.set()

        assert await asyncio.gather(*others) == [{"of": there.sandbox_id}] * 5
        assert there.refreshes() == 1


async def test_the_key_never_goes_to_an_agent() -> None:
    """No header, query or body of what an agent hears has it, with a token or without."""
    async with way() as there:
        await there.ask()
        there.box.clear()
        await there.ask()
        heard = [one for one in there.service.heard if one.side == "agent"]

        assert heard
        for one in heard:
            assert KEY not in str((one.headers, one.query, one.body))
            assert "X-API-Key" not in one.headers
        tokens = [one for one in there.service.heard if one.side == "control"]
        assert not any("eyJ" in str((one.headers, one.query, one.body)) for one in tokens)


async def test_a_token_is_renewed_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is due is renewed before it is used; nothing is refused meanwhile."""
    async with way() as there:
        await there.ask()
        monkeypatch.setattr(there.box._life, "due", anyio.current_time())
        await asyncio.gather(*(there.ask() for _ in range(10)))

        assert there.refreshes() == 2
        assert len(there.service.calls("agent")) == 11


async def test_a_token_is_used_to_its_end_while_none_can_be_had() -> None:
    """A control plane that fails does not stop who has a good token."""
    async with way() as there:
        await there.ask()
        there.box._life.due = anyio.current_time()

        async def broken(_: web.Request) -> web.Response:
            return web.json_response({"error": "x"}, status=500)

        path = f"POST /v1/sandboxes/{there.sandbox_id}/*"
        there.service.odd[path] = [broken, broken]
        await there.ask()
        await there.ask()  # not tried again at once
        assert there.refreshes() == 2
        there.box._life.due = there.box._life.ends = anyio.current_time()
        with pytest.raises(AgentFault):
            await there.ask()


async def test_a_token_is_used_to_its_end_while_the_control_plane_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A certificate that has run out there does not stop who has a good token for the agent."""
    async with way() as there:
        await there.ask()

        async def distrust(*_: object, **__: object) -> NoReturn:
            await anyio.lowlevel.checkpoint()
            raise TlsError("no trust")

        monkeypatch.setattr(there.box._plane, "ask", distrust)
        there.box._life.due = anyio.current_time()
        await there.ask()
        there.box._life.due = there.box._life.ends = anyio.current_time()
        with pytest.raises(TlsError):
            await there.ask()


async def test_a_token_that_stays_refused_is_told() -> None:
    """If the new one is refused as well, that is an error, after one renewal."""
    async with way() as there:

        async def no(_: web.Request) -> web.Response:
            return web.json_response({"error": "INVALID_TOKEN", "message": "no"}, status=401)

        there.service.odd["GET /v1/statistics"] = [no, no, no]
        with pytest.raises(AuthenticationError, match="no"):
            await there.ask()

        assert len(there.service.calls("agent")) == 2
        assert there.refreshes() == 2


async def test_a_sandbox_that_is_gone_is_told() -> None:
    """Where no token can be had any more, the control plane's no is raised."""
    async with way() as there:
        del there.service.sandboxes[there.sandbox_id]
        with pytest.raises(Exception, match="not found"):
            await there.ask()


async def test_no_token_in_an_answer_is_told() -> None:
    """A refresh that brings none is a protocol error, not a loop."""
    async with way() as there:

        async def none(_: web.Request) -> web.Response:
            return web.json_response({"token_expires_at": None})

        there.service.odd[f"POST /v1/sandboxes/{there.sandbox_id}/*"] = [none]
        with pytest.raises(RemoteProtocolError, match="gave no token"):
            await there.ask()


async def test_tokens_go_with_their_users() -> None:
    """All who open a sandbox by one client share its token; without them it is forgotten."""
    async with served() as service:
        plane = ControlPlane(service.url, KEY)
        tokens = Tokens(plane)
        box = tokens.of("a")
        assert tokens.of("a") is box
        assert tokens.of("b") is not box
        del box
        gc.collect()
        assert len(tokens._boxes) == 0
        await plane.aclose()


async def test_a_budget_is_shared_by_all_requests() -> None:
    """What is paced, is paced for all; a 429 closes it for all."""
    async with way() as there:
        await there.ask()
        there.access.budget = RateBudget(per_second=10, burst=2)
        now = anyio.current_time()
        await asyncio.gather(*(there.ask() for _ in range(5)))
        assert anyio.current_time() - now >= 0.29

        async def fewer(_: web.Request) -> web.Response:
            return web.json_response({"error": "x", "retry_after": 0.3}, status=429)

        there.service.odd["GET /v1/statistics"] = [fewer]
        now = anyio.current_time()
        with pytest.raises(RateLimited):
            await there.ask()
        await there.ask()
        assert anyio.current_time() - now >= 0.29


@pytest.mark.parametrize("host", ["", "127.0.0.1:1", "ftp://x", "http://user:secret@x"])
async def test_an_address_that_is_none_is_told(host: str) -> None:
    """The service said where the agent is, so it is the service's fault; no secret is shown."""
    async with served() as service:
        plane = ControlPlane(service.url, KEY)
        with pytest.raises(RemoteProtocolError, match="no address of an agent") as caught:
            CloudAccess(plane, TokenBox(plane, "a"), host, lambda: asyncio.sleep(0, True))
        assert "secret" not in str(caught.value)
        await plane.aclose()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (503, ConnectError),
        (502, ConnectError),
        (500, AgentFault),
        (409, ConflictError),
        (307, RemoteProtocolError),
    ],
)
async def test_what_an_agent_refuses(status: int, kind: type[Exception]) -> None:
    """What is not there yet may be asked again, a fault is a fault, a redirect is not followed."""
    async with way() as there:

        async def odd(_: web.Request) -> web.Response:
            return web.json_response({"error": "x"}, status=status, headers={"Location": "/x"})

        there.service.odd["GET /info"] = [odd]
        with pytest.raises(kind):
            await ask_agent(there.access, "GET", "/info")
        assert (await ask_agent(there.access, "GET", "/info"))["agent"] == "hopx_async"


async def test_closing_ends_what_is_under_way() -> None:
    """Whoever waits for a paused sandbox is not left hanging, and what goes with it is closed."""
    async with way() as there:
        closed: list[int] = []

        async def close() -> None:
            closed.append(1)

        there.access.closers.append(close)
        there.access.hold()
        task = asyncio.create_task(there.ask())
        await anyio.wait_all_tasks_blocked()
        await there.access.aclose()
        await asyncio.wait([task])
        await there.access.aclose()

        assert closed == [1]
        assert KEY not in repr(there.access)
