"""A client of the service: keys, listings, templates, and what it does to sandboxes."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from aiohttp import web

import hopx_async as hopx
from hopx_async.errors import (
    AgentUnreachable,
    AuthenticationError,
    ClosedError,
    ConflictError,
    HopxError,
    InvalidArgument,
    MissingApiKey,
    SandboxNotFound,
    TemplateNotFound,
)
from hopx_async.providers.cloud import BASE_URL, KEY_VARIABLE, URL_VARIABLE
from tests.support.service import KEY, drop, served


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no service is named by the environment."""
    for name in (KEY_VARIABLE, URL_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("key", [None, "", " \n"])
def test_no_key_is_told_at_the_call(key: str | None) -> None:
    """Each door and the client itself refuse at once, and say where keys come from."""
    doors: list[Any] = [
        lambda: hopx.Client(api_key=key),
        lambda: hopx.Sandbox.create(api_key=key),
        lambda: hopx.Sandbox.connect("a", api_key=key),
    ]
    for door in doors:
        with pytest.raises(MissingApiKey, match=r"HOPX_API_KEY.*api_key=.*local"):
            door()


def test_the_environment_names_key_and_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments win over the environment, and that over the service itself; "" is no URL."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert hopx.Client().base_url == BASE_URL
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:1/")
    assert hopx.Client().base_url == "http://127.0.0.1:1"
    assert hopx.Client(base_url="http://h").base_url == "http://h"
    monkeypatch.setenv(URL_VARIABLE, "")
    assert hopx.Client().base_url == BASE_URL
    with pytest.raises(MissingApiKey):
        hopx.Client(api_key="")


@pytest.mark.parametrize("options", [
    {"api_key": "s\u00e9cret"}, {"api_key": "sec\nret"}, {"api_key": 7},
    {"api_key": "k", "base_url": "ftp://x"}, {"api_key": "k", "base_url": ""},
    {"api_key": "k", "give_up_after": 0},
])  # fmt: skip
def test_bad_arguments_are_refused(options: dict[str, Any]) -> None:
    """A key that cannot be one is not shown, and everything else is named."""
    with pytest.raises(InvalidArgument) as caught:
        hopx.Client(**options)

    assert "ret" not in str(caught.value).replace("retry", "")


async def test_a_wrong_key_is_told_and_not_shown() -> None:
    """The service's no is raised with the id of the request, and without the key."""
    async with served() as service, hopx.Client(api_key="wrong", base_url=service.url) as client:
        with pytest.raises(AuthenticationError, match="req_1_a") as caught:
            await client.get_sandbox("a")

        assert "wrong" not in f"{caught.value} {client!r}"


async def test_sandboxes_are_listed() -> None:
    """An account without any has a null list; filters go with the request."""
    async with served() as service, service.client() as client:
        assert [info async for info in client.list_sandboxes()] == []
        ids = [service.add(), service.add("paused")]
        found = [info async for info in client.list_sandboxes(status="paused", region="eu2")]

        assert [info.sandbox_id for info in found] == ids  # this service ignores what is asked for
        assert found[1].status == "paused"
        assert service.heard[-1].query == {"limit": "100", "status": "paused", "region": "eu2"}
        with pytest.raises(InvalidArgument, match="status="):
            client.list_sandboxes(status="a b")


async def test_one_sandbox_is_looked_at_and_deleted() -> None:
    """By its id, without opening it; one that is not there is SandboxNotFound."""
    async with served() as service, service.client() as client:
        sandbox_id = service.add()
        assert (await client.get_sandbox(sandbox_id)).public_host == service.agent_url
        await client.kill_sandbox(sandbox_id)
        for call in (client.get_sandbox, client.kill_sandbox):
            with pytest.raises(SandboxNotFound) as caught:
                await call(sandbox_id)
            assert (caught.value.status, caught.value.request_id) == (404, "req_1_a")
            with pytest.raises(InvalidArgument):
                await call("../templates")

        assert "agent" not in [one.side for one in service.heard]


async def test_a_delete_without_a_body_is_one() -> None:
    """204 to a delete is no error after the fact."""
    async with served() as service, service.client() as client:
        sandbox_id = service.add()

        async def empty(_: web.Request) -> web.Response:
            return web.Response(status=204)

        service.odd[f"DELETE /v1/sandboxes/{sandbox_id}"] = [empty]
        await client.kill_sandbox(sandbox_id)


async def test_templates() -> None:
    """They are listed, filtered here where the service does not, and found by name or id."""
    async with served() as service, service.client() as client:
        assert [one.name for one in await client.list_templates()] == ["base"]
        assert await client.list_templates(language="python") == []
        assert [one.name for one in await client.list_templates(language="bash")] == ["base"]
        for odd in (5, "\ud800", object()):
            with pytest.raises(hopx.InvalidArgument, match="category="):
                await client.list_templates(category=odd)  # type: ignore[arg-type]
        assert (await client.get_template("1")).name == "base"
        with pytest.raises(TemplateNotFound):
            await client.get_template("bse")
        with pytest.raises(InvalidArgument):
            await client.get_template("a/b")


async def test_a_pause_that_may_have_happened_is_looked_at_first() -> None:
    """After a lost answer the status decides: what came to pass is not sent again."""
    async with served() as service, service.client() as client:
        sandbox_id = service.add()
        pause = f"POST /v1/sandboxes/{sandbox_id}/pause"

        async def paused_and_lost(request: web.Request) -> web.StreamResponse | None:
            service.sandboxes[sandbox_id]["status"] = "paused"
            return await drop(request)

        service.odd[pause] = [paused_and_lost]
        assert (await client._turn(sandbox_id, "pause", "paused")).status == "paused"
        assert service.calls().count(pause) == 1
        # What did not is.
        service.sandboxes[sandbox_id]["status"] = "running"
        service.odd[pause] = [drop]
        await client._turn(sandbox_id, "pause", "paused")
        assert service.calls()[-4:] == [pause, f"GET /v1/sandboxes/{sandbox_id}"] * 2


async def test_a_status_that_is_changing_is_waited_for() -> None:
    """An answer to a pause may come before it has happened; it is not sent again."""
    async with served() as service, service.client() as client:
        sandbox_id = service.add()
        pause, look = f"POST /v1/sandboxes/{sandbox_id}/pause", f"GET /v1/sandboxes/{sandbox_id}"

        def saying(status: str) -> Any:
            async def handler(_: web.Request) -> web.Response:
                return web.json_response({**service.sandboxes[sandbox_id], "status": status})

            return handler

        service.odd[look] = [saying("running"), saying("pausing"), saying("pausing")]
        assert (await client._turn(sandbox_id, "pause", "paused")).status == "paused"
        assert service.calls().count(pause) == 1
        assert service.calls().count(look) == 4


async def test_what_cannot_be_paused_is_told() -> None:
    """409 is raised unless it is as it should be; one that never changes is given up."""
    async with served() as service, service.client(give_up_after=0.3) as client:
        sandbox_id = service.add("stopped")
        pause = f"POST /v1/sandboxes/{sandbox_id}/pause"

        async def refuse(_: web.Request) -> web.StreamResponse:
            return service.no(409, "CONFLICT", "it is stopped")

        service.odd[pause] = [refuse, refuse]
        with pytest.raises(ConflictError, match="stopped"):
            await client._turn(sandbox_id, "pause", "paused")
        service.sandboxes[sandbox_id]["status"] = "paused"
        await client._turn(sandbox_id, "pause", "paused")
        service.sandboxes[sandbox_id]["status"] = "pausing"
        with pytest.raises(AgentUnreachable, match="kept changing"):
            await client._settled(sandbox_id)


async def test_a_client_can_be_cancelled_everywhere() -> None:
    """Each await is cancelled in the middle of its request; afterwards the client works."""
    async with served() as service, service.client() as client:
        sandbox_id = service.add()
        arrived = anyio.Event()

        async def hang(_: web.Request) -> None:
            arrived.set()
            await anyio.sleep_forever()

        calls: dict[str, Any] = {
            f"DELETE /v1/sandboxes/{sandbox_id}": lambda: client.kill_sandbox(sandbox_id),
            f"GET /v1/sandboxes/{sandbox_id}": lambda: client.get_sandbox(sandbox_id),
            "GET /v1/templates": client.list_templates,
            "GET /v1/templates/base": lambda: client.get_template("base"),
            "GET /v1/sandboxes": lambda: anext(client.list_sandboxes()),
        }
        for call, function in calls.items():
            service.odd[call] = [hang]
            arrived = anyio.Event()
            task = asyncio.ensure_future(function())
            await arrived.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled(), call
        for function in reversed(calls.values()):
            await function()


async def test_a_closed_client_says_so() -> None:
    """Closing may be repeated, from any task; what is asked afterwards is ClosedError."""
    async with served() as service:
        client = service.client()
        await client.list_templates()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.aclose()  # shielded
        await client.aclose()
        with pytest.raises(ClosedError):
            await client.list_templates()
        assert issubclass(ClosedError, HopxError)
