"""Requests to a control plane: the key, the budget, what is sent again and what never."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from aiohttp import web

from hopx_async.errors import (
    AgentFault,
    AgentUnreachable,
    ApiError,
    ClosedError,
    ConnectionLost,
    InvalidArgument,
    MisuseError,
    NotFoundError,
    RateLimited,
    RemoteProtocolError,
    RequestTimeout,
)
from hopx_async.transport import control_plane
from hopx_async.transport.control_plane import ControlPlane
from tests.support.service import KEY, Service, drop, served

LIST = "GET /v1/sandboxes"
Handler = Callable[[web.Request], Awaitable[Any]]


def answering(status: int, text: str = "", **headers: str) -> Handler:
    """Return a handler that says this once."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return handler


def plane_of(service: Service, **options: Any) -> ControlPlane:
    """Return a way to *service*."""
    return ControlPlane(service.url, KEY, **options)


async def test_the_key_travels_in_one_header() -> None:
    """It stands in no URL, body or repr, and a query is escaped."""
    async with served() as service:
        plane = plane_of(service)
        await plane.ask("GET", "/v1/sandboxes", query={"status": "a b&c"})
        await plane.aclose()

        heard = service.heard[0]
        assert heard.headers["X-API-Key"] == KEY
        assert "Authorization" not in heard.headers
        assert "Cookie" not in heard.headers
        assert heard.query == {"status": "a b&c"}
        assert KEY not in repr(plane)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_question_is_asked_again(status: int) -> None:
    """What only asks is sent again after lost answers and gateways' pages."""
    async with served() as service:
        service.odd[LIST] = [drop, answering(status, "<html>"), drop]
        plane = plane_of(service)
        assert (await plane.ask("GET", "/v1/sandboxes"))["data"] is None
        await plane.aclose()

        assert service.calls() == [LIST] * 4


@pytest.mark.parametrize("status", [400, 402, 403, 409, 500])
async def test_what_would_fail_again_is_not_sent_again(status: int) -> None:
    """A definite no is raised at once, with the far side's id of the request."""
    async with served() as service:
        service.odd[LIST] = [answering(status, '{"error":"no"}', **{"X-Request-ID": "req_7"})]
        plane = plane_of(service)
        with pytest.raises(ApiError) as caught:
            await plane.ask("GET", "/v1/sandboxes")
        await plane.aclose()

        assert (caught.value.status, caught.value.request_id) == (status, "req_7")
        assert service.calls() == [LIST]


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (drop, ConnectionLost),
        (answering(500, '{"error":"x"}'), AgentFault),
        (answering(502, "<html>"), AgentFault),
        (answering(503, '{"error":"x"}'), AgentFault),
        (answering(504), AgentFault),
    ],
)
async def test_what_may_have_been_done_is_not_sent_again(
    odd: Handler, kind: type[Exception]
) -> None:
    """Where repeating is not harmless, a lost answer and any fault are raised."""
    async with served() as service:
        service.odd["POST /v1/sandboxes"] = [odd]
        plane = plane_of(service)
        with pytest.raises(kind):
            await plane.ask("POST", "/v1/sandboxes", body={}, repeatable=False)
        await plane.aclose()

        assert service.calls() == ["POST /v1/sandboxes"]


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_refusal_for_now_is_waited_for(repeatable: bool) -> None:
    """429 was not carried out: all who share the budget wait as long as it says."""
    async with served() as service:
        call = "POST /v1/sandboxes"
        body = '{"error":{"details":{"retry_after_seconds":0.3}}}'
        service.odd[call] = [answering(429, body, **{"Retry-After": "0"})]
        plane = plane_of(service)
        now = anyio.current_time()
        await plane.ask("POST", "/v1/sandboxes", body={}, repeatable=repeatable)
        assert anyio.current_time() - now >= 0.29
        assert plane._budget.take(anyio.current_time()) == 0
        plane._budget.refused(anyio.current_time(), 0.2)
        now = anyio.current_time()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(plane.ask, "GET", "/v1/sandboxes")
        assert anyio.current_time() - now >= 0.19
        await plane.aclose()


async def test_a_refusal_for_longer_than_one_waits_is_raised() -> None:
    """More seconds than the policy has are an error that says them."""
    async with served() as service:
        service.odd[LIST] = [answering(429, "{}", **{"Retry-After": "3600"})]
        plane = plane_of(service)
        with pytest.raises(RateLimited) as caught:
            await plane.ask("GET", "/v1/sandboxes")
        await plane.aclose()

        assert caught.value.retry_after == 3600


async def test_an_exhausted_budget_is_obeyed() -> None:
    """An answer that says that no request is left closes the budget until the reset."""
    async with served() as service:
        ends = time.time() + 50
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(ends)}
        service.odd[LIST] = [answering(200, "{}", **headers)]
        plane = plane_of(service)
        await plane.ask("GET", "/v1/sandboxes")
        assert plane._budget.take(anyio.current_time()) > 40
        await plane.aclose()


async def test_the_service_itself_is_paced() -> None:
    """Its published limit is kept by all who share a client; other servers say theirs by 429."""
    theirs = ControlPlane("https://api.hopx.dev", KEY)
    ours = ControlPlane("http://127.0.0.1:1", KEY)
    waits = [(theirs._budget.take(0.0), ours._budget.take(0.0)) for _ in range(100)]

    assert waits[control_plane.BURST - 1][0] == pytest.approx(0)
    assert waits[-1][0] > 55
    assert waits[-1][1] == 0


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (answering(302, "", Location="http://127.0.0.1:1/"), "redirect"),
        (answering(200, "<html>"), "no answer of a control plane"),
        (answering(200, "x" * (16 * 1024 * 1024 + 1)), "more than"),
    ],
)
async def test_another_far_side_is_told(odd: Handler, words: str) -> None:
    """A redirect is not followed, for the key would be; pages and floods are no answers."""
    async with served() as service:
        service.odd[LIST] = [odd]
        plane = plane_of(service)
        with pytest.raises(RemoteProtocolError, match=words):
            await plane.ask("GET", "/v1/sandboxes")
        await plane.aclose()


async def test_nobody_there_is_given_up(free_tcp_port: int) -> None:
    """A port on which nobody listens is AgentUnreachable after a while."""
    plane = ControlPlane(f"http://127.0.0.1:{free_tcp_port}", KEY, give_up_after=0.1)
    with pytest.raises(AgentUnreachable, match="cannot reach"):
        await plane.ask("POST", "/v1/sandboxes", body={}, repeatable=False)
    await plane.aclose()


async def test_it_can_be_cancelled_and_times_out() -> None:
    """A cancelled request ends there, one that is not answered is a timeout; both may be anew."""
    ended = anyio.Event()

    async def hang(_: web.Request) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with served() as service:
        plane = plane_of(service)
        service.odd[LIST] = [hang, hang]
        with anyio.move_on_after(0.05):
            await plane.ask("GET", "/v1/sandboxes")
        await ended.wait()
        with pytest.raises(RequestTimeout):
            await plane.ask("GET", "/v1/sandboxes", repeatable=False, seconds=0.05)
        assert (await plane.ask("GET", "/v1/sandboxes"))["data"] is None
        await plane.aclose()


async def test_one_pool_for_all_who_begin_at_once() -> None:
    """Fifty first requests at once make one pool of connections, which is closed in the end."""
    async with served() as service:
        plane = plane_of(service)
        await asyncio.gather(*(plane.ask("GET", "/v1/sandboxes") for _ in range(50)))
        session = plane.session()
        assert not session.headers
        await plane.aclose()
        await plane.aclose()
        assert session.closed
        with pytest.raises(ClosedError):
            await plane.ask("GET", "/v1/sandboxes")


async def test_it_belongs_to_one_event_loop() -> None:
    """Used in another loop it says so, and sends nothing."""
    async with served() as service:
        plane = plane_of(service)
        await plane.ask("GET", "/v1/sandboxes")
        raised: list[BaseException] = []

        def elsewhere() -> None:
            try:
                asyncio.run(plane.ask("GET", "/v1/sandboxes"))
            except MisuseError as error:
                raised.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert raised
        assert service.calls() == [LIST]
        await plane.aclose()


async def test_not_found_is_told() -> None:
    """404 is NotFoundError."""
    async with served() as service:
        plane = plane_of(service)
        with pytest.raises(NotFoundError):
            await plane.ask("GET", "/v1/sandboxes/nobody")
        await plane.aclose()


def test_a_url_that_is_none_is_refused() -> None:
    """It is named after the argument of the doors."""
    with pytest.raises(InvalidArgument, match="base_url="):
        ControlPlane("api.hopx.dev", KEY)
