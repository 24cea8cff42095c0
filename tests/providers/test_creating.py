"""One create: its sandbox, or nothing left, or a word of what may be left."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
import pytest
from aiohttp import web

from hopx_async.errors import (
    AgentFault,
    AgentUnreachable,
    ApiError,
    AuthenticationError,
    ClosedError,
    CreateUncertain,
    TemplateNotFound,
)
from hopx_async.protocol.cloud import SandboxInfo
from hopx_async.providers import creating
from hopx_async.providers.creating import CREATE_VARIABLE, Wish, created
from tests.support.service import Service, drop, served, stamp

CREATE = "POST /v1/sandboxes"
WISH = Wish(body={"template_name": "base"}, env_vars={"A": "1"})


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search for lost sandboxes, and wait for cancelled creates, for a moment only."""
    monkeypatch.setattr(creating, "SEARCH_SECONDS", 0.6)


def made_and(service: Service, handler: Any) -> Any:
    """Return a handler that creates the sandbox, and then answers in another way."""

    async def make(request: web.Request) -> web.StreamResponse | None:
        await service._create(request)
        return await handler(request)  # type: ignore[no-any-return]

    return make


def refusing(service: Service, status: int, code: str) -> Any:
    """Return a handler that refuses."""

    async def refuse(_: web.Request) -> web.StreamResponse:
        return service.no(status, code, "no")

    return refuse


def answering(body: str, status: int = 201) -> Any:
    """Return a handler that answers with this text."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    return answer


async def test_a_create_is_sent_once_with_a_mark_of_its_own() -> None:
    """Each create carries its variables and another mark; its token needs no refresh."""
    async with served() as service, service.client() as client:
        made = [await created(client, WISH) for _ in range(2)]
        infos = [one.info for one in made]
        sent = [one.told for one in service.heard]
        assert [info.sandbox_id for info in infos] == list(service.sandboxes)
        assert [one["template_name"] for one in sent] == ["base", "base"]
        assert [one["env_vars"]["A"] for one in sent] == ["1", "1"]
        assert len({one["env_vars"][CREATE_VARIABLE] for one in sent}) == 2
        assert await made[0].box.get() == "eyJ-2"
        assert service.calls() == [CREATE] * 2


@pytest.mark.parametrize(
    "odd",
    [
        drop,
        answering("<html>", 502),
        answering("", 504),
        answering('{"error":"x"}', 500),
        answering('{"error":"x"}', 503),
        answering("<html>"),
        answering("{}"),
        answering("[]"),
        answering('{"id": 7}'),
    ],
)
async def test_a_sandbox_whose_answer_was_lost_is_found(odd: Any) -> None:
    """Whatever came instead of an answer, the sandbox that has the mark is taken; no second one.

    Others that were made at the same time, alike but for the mark, are left alone.
    """
    async with served() as service, service.client() as client:
        service.add()
        service.odd[CREATE] = [made_and(service, odd)]
        service.add()
        info = (await created(client, WISH)).info

        assert service.marks[info.sandbox_id]["A"] == "1"
        assert len(service.sandboxes) == 3
        assert service.calls().count(CREATE) == 1
        assert not any(call.startswith("DELETE") for call in service.calls())


async def test_a_sandbox_whose_agent_is_starting_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A 503 of its agent does not say which create made it; a moment later it does."""
    monkeypatch.setattr(creating, "SEARCH_SECONDS", 30.0)
    async with served() as service, service.client() as client:
        service.odd[CREATE] = [made_and(service, drop)]
        service.odd["POST /commands/run"] = [answering('{"error":"starting"}', 503)]
        info = (await created(client, WISH)).info

        assert list(service.sandboxes) == [info.sandbox_id]
        assert service.calls("agent").count("POST /commands/run") == 2


async def test_a_sandbox_that_comes_late_is_found() -> None:
    """What is still being created when it is looked for, is looked for again."""
    async with served() as service, service.client() as client:
        looked = anyio.Event()

        async def nothing_yet(_: web.Request) -> web.Response:
            looked.set()
            return web.json_response({"data": None, "has_more": False})

        service.odd[CREATE] = [made_and(service, drop)]
        service.odd["GET /v1/sandboxes"] = [nothing_yet]
        info = (await created(client, WISH)).info
        assert looked.is_set()
        assert list(service.sandboxes) == [info.sandbox_id]


async def test_what_is_not_proven_is_neither_taken_nor_deleted() -> None:
    """An unmarked sandbox of that time may be it: the error names it, and how to find more."""
    async with served() as service, service.client() as client:
        service.odd[CREATE] = [drop]
        candidate = service.add()
        others: list[dict[str, Any]] = [
            {"template_name": "python", "template_id": "3"},
            {"created_at": stamp(time.time() - 3600)},
            {"timeout_seconds": 60},
        ]
        for other in others:
            service.add(**other)
        with pytest.raises(CreateUncertain, match=r"list_sandboxes\(\): " + candidate) as caught:
            await created(client, WISH)

        assert caught.value.candidates == (candidate,)
        assert len(service.sandboxes) == 4
        assert service.calls().count(CREATE) == 1


async def test_nothing_found_is_uncertain_as_well() -> None:
    """A lost create that left nothing so far may still come to pass; nothing is sent again."""
    async with served() as service, service.client() as client:
        service.odd[CREATE] = [drop]
        with pytest.raises(CreateUncertain, match="none that may be it"):
            await created(client, WISH)

        assert service.calls().count(CREATE) == 1


async def test_what_this_client_made_is_no_candidate() -> None:
    """A sandbox that another create of this client has made is not asked."""
    async with served() as service, service.client() as client:
        await created(client, WISH)
        service.odd[CREATE] = [drop]
        with pytest.raises(CreateUncertain) as caught:
            await created(client, WISH)

        assert caught.value.candidates == ()
        assert service.calls("agent") == []


async def test_many_lost_creates_find_each_its_own() -> None:
    """Ten creates at once, all answers lost: ten sandboxes, none taken twice."""
    async with served() as service, service.client() as client:
        service.odd[CREATE] = [made_and(service, drop) for _ in range(3)]
        made = await asyncio.gather(*(created(client, WISH) for _ in range(3)))

        assert sorted(one.info.sandbox_id for one in made) == sorted(service.sandboxes)


async def test_a_fault_that_left_nothing_is_raised_as_it_is() -> None:
    """5xx and nothing there that may be it: the service's own no, after one look."""
    async with served() as service, service.client() as client:
        service.odd[CREATE] = [refusing(service, 500, "INTERNAL_ERROR")]
        with pytest.raises(AgentFault, match="req_1_a"):
            await created(client, WISH)

        assert service.calls() == [CREATE, "GET /v1/sandboxes", "GET /v1/templates"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "INVALID_REQUEST", ApiError),
        (401, "INVALID_TOKEN", AuthenticationError),
        (402, "PAYMENT_REQUIRED", ApiError),
        (403, "FORBIDDEN", ApiError),
        (429, "RESOURCE_LIMIT_ERROR", ApiError),
    ],
)
async def test_a_definite_no_is_raised_at_once(
    status: int, code: str, kind: type[ApiError]
) -> None:
    """It is not sent again, and nothing is looked for."""
    async with served() as service, service.client() as client:
        service.odd[CREATE] = [refusing(service, status, code)]
        with pytest.raises(kind) as caught:
            await created(client, WISH)

        assert caught.value.status == status
        assert service.calls() == [CREATE]


@pytest.mark.parametrize("status", [404, 500])
async def test_an_unknown_template_brings_suggestions(status: int) -> None:
    """404, and the 500 that the service has been seen to answer, become TemplateNotFound."""
    async with served() as service, service.client() as client:
        service.odd[CREATE] = [refusing(service, status, "X")]
        with pytest.raises(TemplateNotFound, match="did you mean base") as caught:
            await created(client, Wish(body={"template_name": "bse"}))

        assert caught.value.suggestions == ("base",)
        assert caught.value.request_id == "req_1_a"


async def test_a_service_that_is_not_there_has_made_nothing(free_tcp_port: int) -> None:
    """Without a connection nothing was sent: that is not uncertain."""
    async with served() as service:
        service.url = f"http://127.0.0.1:{free_tcp_port}"
        async with service.client(give_up_after=0.1) as client:
            with pytest.raises(AgentUnreachable, match="cannot reach"):
                await created(client, WISH)


async def test_a_client_that_is_closed_while_it_creates_says_what_may_be_left() -> None:
    """Closed before, nothing is sent; closed meanwhile, a sandbox may be there."""
    async with served() as service:
        client = service.client()

        async def close(_: web.Request) -> None:
            await client.aclose()

        service.odd[CREATE] = [close]
        with pytest.raises(CreateUncertain, match="the client was closed"):
            await created(client, WISH)
        with pytest.raises(ClosedError):
            await created(client, WISH)
        assert service.calls().count(CREATE) == 1


async def test_a_fault_is_no_proof_where_nobody_could_look() -> None:
    """5xx, and a listing that fails, too: whether there is a sandbox is not known."""
    async with served() as service, service.client() as client:
        service.odd[CREATE] = [refusing(service, 500, "INTERNAL_ERROR")]
        service.odd["GET /v1/sandboxes"] = [refusing(service, 500, "INTERNAL_ERROR")] * 9
        with pytest.raises(CreateUncertain):
            await created(client, WISH)


async def test_one_listing_that_fails_does_not_end_the_search() -> None:
    """The next one finds the sandbox."""
    async with served() as service, service.client() as client:
        service.odd[CREATE] = [made_and(service, drop)]
        service.odd["GET /v1/sandboxes"] = [refusing(service, 500, "INTERNAL_ERROR")]
        made = await created(client, WISH)

        assert [made.info.sandbox_id] == list(service.sandboxes)


@pytest.mark.parametrize("status", [502, 504])
async def test_a_gateway_does_not_know_what_came_of_a_create(status: int) -> None:
    """What was not there at the first look may come: it is looked for on."""
    async with served() as service, service.client() as client:

        async def late(request: web.Request) -> None:
            await service._create(made[0])

        async def remember(request: web.Request) -> web.StreamResponse:
            await request.read()
            made.append(request)
            return service.no(status, "X", "no")

        async def nothing(request: web.Request) -> web.StreamResponse:
            return web.json_response({"data": None, "has_more": False})

        made: list[web.Request] = []
        service.odd[CREATE] = [remember]
        service.odd["GET /v1/sandboxes"] = [nothing, late]
        found = await created(client, WISH)

        assert [found.info.sandbox_id] == list(service.sandboxes)


def test_what_may_have_been_made_by_a_wish() -> None:
    """Time, template, region and time limit must fit where the service tells them."""
    now = 1e9
    wish = Wish(body={"template_id": "7", "region": "eu2", "timeout_seconds": 60})
    good: dict[str, Any] = {
        "sandbox_id": "a", "status": "running", "template_id": "7", "region": "eu2",
        "timeout_seconds": 60, "created_at": now,
    }  # fmt: skip

    def fits(**more: Any) -> bool:
        told: dict[str, Any] = {**good, **more}
        return wish.may_be(SandboxInfo(**told), now)

    assert fits()
    assert fits(created_at=None, region="")
    assert not fits(template_id="8")
    assert not fits(region="us")
    assert not fits(timeout_seconds=None)
    assert not fits(created_at=now - 3600)
    assert "secret" not in repr(Wish(body={}, env_vars={"A": "secret"}))
