"""The doors to the service, against one that records and answers oddly."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest
from aiohttp import web

import hopx_async as hopx
from hopx_async.errors import (
    AgentFault,
    AgentUnreachable,
    ClosedError,
    ConflictError,
    InvalidArgument,
    RemoteProtocolError,
    SandboxNotFound,
    TlsError,
    Unsupported,
)
from hopx_async.model import Capabilities
from hopx_async.providers import hopx as providers
from hopx_async.testing import memory
from tests.support.service import KEY, drop, served


def answering(status: int) -> Any:
    """Return a handler that answers with this status."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"error": "x"}, status=status)

    return answer


async def test_a_sandbox_is_created_and_deleted_with_its_block() -> None:
    """What is asked for is sent, what is not is left out; the block's end deletes it."""
    async with served() as service:
        async with hopx.Sandbox.create(
            "base",
            region="eu-1001",
            timeout_seconds=60,
            internet_access=False,
            env_vars={"A": hopx.Secret("b")},
            api_key=KEY,
            base_url=service.url,
        ) as sandbox:
            assert list(service.sandboxes) == [sandbox.sandbox_id]
            assert sandbox.capabilities.agent == "hopx_async"
            assert (await sandbox.get_info()).timeout_seconds == 60
        asked = service.heard[0].told
        assert asked.pop("env_vars")["A"] == "b"
        assert asked == {
            "template_name": "base", "region": "eu-1001", "timeout_seconds": 60,
            "internet_access": False,
        }  # fmt: skip
        assert service.sandboxes == {}
        with pytest.raises(ClosedError):
            await sandbox.get_info()


async def test_the_key_goes_to_the_control_plane_alone() -> None:
    """Whatever an agent is asked, it never hears the key; the control plane hears no token."""
    async with served() as service, service.client() as client:
        async with hopx.Sandbox.create("base", client=client) as sandbox:
            await sandbox.statistics()
            await sandbox.pause()
            await sandbox.resume()
            await sandbox.statistics()
        agent = [one for one in service.heard if one.side == "agent"]
        control = [one for one in service.heard if one.side == "control"]

        assert {"GET /info", "GET /v1/hello", "GET /v1/link"} <= {one.call for one in agent}
        assert not [one for one in agent if KEY in str(one)]
        assert not [one for one in control if "eyJ" in str((one.headers, one.query, one.body))]


async def test_capabilities_are_asked_for_once() -> None:
    """One question to /info and one to the agent that it names; none of them is guessed."""
    async with served() as service, service.client() as client:
        async with hopx.Sandbox.create("base", client=client):
            assert service.calls("agent").count("GET /info") == 1
            assert service.calls("agent").count("GET /v1/hello") == 1


async def test_many_sandboxes_share_one_client() -> None:
    """Thirty sandboxes at once have one pool of connections; each has a token of its own."""
    async with served() as service, service.client() as client:
        doors = [hopx.Sandbox.create("base", client=client) for _ in range(30)]
        sandboxes = await asyncio.gather(*doors)
        session = client._plane.session()
        told = await asyncio.gather(*(sandbox.statistics() for sandbox in sandboxes))
        assert [one["agent"]["of"] for one in told] == [one.sandbox_id for one in sandboxes]
        assert not any(call.endswith("refresh") for call in service.calls())
        await asyncio.gather(*(sandbox.aclose() for sandbox in sandboxes))
        assert service.sandboxes == {}
        assert not session.closed
    assert session.closed


async def test_detached_goes_on() -> None:
    """A detached sandbox is left as it is by aclose, and ended by kill."""
    async with served() as service, service.client() as client:
        sandbox = await hopx.Sandbox.create("base", client=client, detached=True)
        await sandbox.aclose()
        assert list(service.sandboxes) == [sandbox.sandbox_id]
        again = await hopx.Sandbox.connect(sandbox.sandbox_id, client=client)
        await again.aclose()
        assert list(service.sandboxes) == [sandbox.sandbox_id]
        again = await hopx.Sandbox.connect(sandbox.sandbox_id, client=client)
        await again.kill()
        await again.aclose()
        assert service.sandboxes == {}
        assert service.calls()[-1].startswith("DELETE")


async def test_connect_resumes_what_is_paused() -> None:
    """It is resumed, and has a new token; one that is being created is waited for."""
    async with served() as service, service.client() as client:
        paused, creating = service.add("paused"), service.add("creating")

        async def runs_now(_: web.Request) -> None:
            service.sandboxes[creating]["status"] = "running"

        service.odd[f"GET /v1/sandboxes/{creating}"] = [
            lambda _: asyncio.sleep(0, web.json_response(service.sandboxes[creating])),
            runs_now,
        ]
        for sandbox_id in (paused, creating):
            async with hopx.Sandbox.connect(sandbox_id, client=client) as sandbox:
                assert sandbox.sandbox_id == sandbox_id
        assert service.calls().count(f"POST /v1/sandboxes/{paused}/resume") == 1
        assert service.sandboxes[paused]["status"] == "running"


@pytest.mark.parametrize("status", ["stopped", "error", "deleted", "failed", "something-new"])
async def test_connect_refuses_what_does_not_run(status: str) -> None:
    """Whatever is neither running nor paused is refused by its status; nothing is changed."""
    async with served() as service, service.client() as client:
        sandbox_id = service.add(status)
        with pytest.raises(ConflictError, match=f"is {status}"):
            await hopx.Sandbox.connect(sandbox_id, client=client)
        with pytest.raises(SandboxNotFound):
            await hopx.Sandbox.connect("nobody", client=client)

        assert not [call for call in service.calls() if not call.startswith("GET")]
        assert service.calls("agent") == []


async def test_resume_rotates_the_token() -> None:
    """After a pause and a resume the first request already has the new token."""
    async with served() as service, service.client() as client:
        async with hopx.Sandbox.create("base", client=client) as sandbox:
            old = service.tokens[sandbox.sandbox_id]
            await sandbox.pause()
            await sandbox.resume()
            before = len(service.heard)
            await sandbox.statistics()
            heard = [one for one in service.heard[before:] if one.side == "agent"]
            assert not [one for one in heard if old in one.headers.get("Authorization", "")]


async def test_a_paused_sandbox_is_left_in_peace() -> None:
    """While it is paused nothing is sent to its agent; what waited goes on afterwards."""
    async with served() as service, service.client() as client:
        async with hopx.Sandbox.create("base", client=client) as sandbox:
            await sandbox.pause()
            before = len(service.calls("agent"))
            waiting = asyncio.create_task(sandbox.statistics())
            with anyio.move_on_after(0.3):
                await waiting
            # One may have been on its way.
            assert service.calls("agent")[before:] in ([], ["GET /v1/link"])
            assert (await sandbox.get_info()).status == "paused"
            await sandbox.resume()
            await sandbox.statistics()


async def test_the_timeout_and_the_preview() -> None:
    """The time limit is set anew, and what is no time is refused before it is sent."""
    async with served() as service, service.client() as client:
        async with hopx.Sandbox.create("base", client=client) as sandbox:
            await sandbox.set_timeout(600)
            assert (await sandbox.get_info()).timeout_seconds == 600
            before = len(service.heard)
            with pytest.raises(InvalidArgument):
                await sandbox.set_timeout(0)
            assert sandbox.get_preview_url(3000) == "http://127.0.0.1:3000/"
            with pytest.raises(InvalidArgument):
                sandbox.get_preview_url(0)
            assert [one for one in service.heard[before:] if one.side == "control"] == []


async def test_what_only_a_service_can_is_unsupported_elsewhere() -> None:
    """A sandbox that no service made has no info, pause, resume, time limit or preview."""
    async with memory({}) as sandbox:
        for call in (sandbox.get_info, sandbox.pause, sandbox.resume):
            with pytest.raises(Unsupported, match=call.__name__):
                await call()
        with pytest.raises(Unsupported):
            await sandbox.set_timeout(1)
        with pytest.raises(Unsupported):
            sandbox.get_preview_url(80)


@pytest.mark.parametrize("options", [
    {"template": "a/b"}, {"template": ""}, {"template": None}, {"template_id": ""},
    {"template_id": True}, {"template_id": 1.5}, {"region": "a b"}, {"timeout_seconds": 0},
    {"timeout_seconds": 1.5}, {"internet_access": 1}, {"env_vars": {"A": 1}}, {"env_vars": ["A"]},
    {"env_vars": {"A=B": ""}}, {"env_vars": {"A": None}}, {"env_vars": {"HOPX_CREATE_ID": "x"}},
    {"give_up_after": 0}, {"client": "x"}, {"base_url": "x"}, {"detached": "no"}, {"detached": 1},
])  # fmt: skip
async def test_bad_arguments_are_refused_at_the_call(options: dict[str, Any]) -> None:
    """Nothing is sent, and no value of a variable is shown."""
    given: dict[str, Any] = {"api_key": KEY, **options}
    with pytest.raises(InvalidArgument):
        hopx.Sandbox.create(**given)


async def test_a_client_and_what_makes_one_are_too_much() -> None:
    """Either of them."""
    client = hopx.Client(api_key=KEY)
    with pytest.raises(InvalidArgument, match="either client"):
        hopx.Sandbox.connect("a", client=client, api_key=KEY)
    with pytest.raises(InvalidArgument, match="either client"):
        hopx.Sandbox.connect("a", client=client, base_url="http://h")
    with pytest.raises(InvalidArgument, match="sandbox_id="):
        hopx.Sandbox.connect("../x", client=client)


@pytest.mark.parametrize("status", [500, 404, 401])
async def test_a_sandbox_that_cannot_be_opened_is_deleted(status: int) -> None:
    """If what was created cannot be used, nothing of it is left, and why is raised."""
    async with served() as service, service.client() as client:
        service.odd["GET /info"] = [answering(status)] * 9
        with pytest.raises(hopx.ApiError):
            await hopx.Sandbox.create("base", client=client)

        assert service.sandboxes == {}


async def test_an_agent_that_is_not_up_yet_is_waited_for() -> None:
    """Gateways' pages and lost answers at first are asked for again; the create is not."""
    async with served() as service, service.client() as client:
        service.odd["GET /info"] = [answering(502), drop, answering(503)]
        async with hopx.Sandbox.create("base", client=client):
            assert service.calls().count("POST /v1/sandboxes") == 1


async def test_an_agent_that_never_comes_up_is_given_up() -> None:
    """After give_up_after seconds it is AgentUnreachable, and the sandbox is deleted."""
    async with served() as service, service.client() as client:
        service.odd["GET /info"] = [drop] * 1000
        with pytest.raises(AgentUnreachable):
            await hopx.Sandbox.create("base", client=client, give_up_after=0.3)

        assert service.sandboxes == {}


async def test_the_agent_of_another_sandbox_is_refused() -> None:
    """An address that leads to another sandbox than it should is told."""
    async with served() as service, service.client() as client:
        sandbox_id = service.add()

        async def other(_: web.Request) -> web.Response:
            return web.json_response({**service.agent_facts, "sandbox_id": "another"})

        service.odd["GET /v1/hello"] = [other]
        with pytest.raises(RemoteProtocolError, match="agent of another"):
            await hopx.Sandbox.connect(sandbox_id, client=client)


async def test_a_delete_that_is_not_confirmed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing raises that it may be left; everything here is closed all the same."""
    monkeypatch.setattr(providers, "KILL_SECONDS", 0.1)
    async with served() as service:
        sandbox = await hopx.Sandbox.create("base", api_key=KEY, base_url=service.url)

        async def hang(_: web.Request) -> None:
            await anyio.sleep_forever()

        service.odd[f"DELETE /v1/sandboxes/{sandbox.sandbox_id}"] = [hang]
        with pytest.raises(AgentUnreachable, match="it may be left"):
            await sandbox.aclose()
        await sandbox.aclose()


async def test_a_delete_that_nobody_trusted_took_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killing behind a captive portal says that the sandbox may be left, and why."""

    async def refuse(_: str) -> None:
        raise TlsError("cannot trust there")

    async with served() as service, service.client() as client:
        async with hopx.Sandbox.create("base", client=client) as sandbox:
            told = f"{sandbox.sandbox_id} .*may be left: cannot trust"
            with monkeypatch.context() as patch, pytest.raises(TlsError, match=told):
                patch.setattr(client, "kill_sandbox", refuse)
                await sandbox.kill()
        assert service.sandboxes == {}


async def test_a_sandbox_that_is_gone_already_is_no_error() -> None:
    """The service deleted it when its time was over: closing finds nothing to do."""
    async with served() as service, service.client() as client:
        async with hopx.Sandbox.create("base", client=client):
            service.sandboxes.clear()


async def test_an_abandoned_sandbox_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """If what cannot be opened cannot be deleted either, the log names it."""
    async with served() as service, service.client() as client:
        service.odd["GET /info"] = [answering(500)]
        service.odd["DELETE /v1/sandboxes/*"] = [answering(403)]
        with caplog.at_level(logging.WARNING, "hopx_async"), pytest.raises(AgentFault):
            await hopx.Sandbox.create("base", client=client)

        assert next(iter(service.sandboxes)) in caplog.text


def test_a_forgotten_door_has_opened_nothing() -> None:
    """A door that is never awaited holds no connection: the call itself does no I/O."""
    hopx.Sandbox.create("base", api_key=KEY, base_url="http://127.0.0.1:1").close()
    assert Capabilities(agent="x", version="1").stdin is False
