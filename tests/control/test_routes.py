"""Tests of hopx_async.control.routes, over machines that run nothing."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web

from hopx_async.control.plane import Plane
from hopx_async.control.records import Shelf
from hopx_async.control.routes import ControlRoutes
from tests.control.plane_double import KEY, FakeMachines, controlled


async def test_a_sandbox_is_told_as_clients_read_it(tmp_path: Path) -> None:
    """A created sandbox has the types that HopX's clients insist on, and a token for its agent."""
    async with controlled(tmp_path) as control:
        told = await control.create(template_name="code-interpreter", timeout_seconds=60)
        _, again = await control.ask("GET", f"/v1/sandboxes/{told['id']}")

        assert told["status"] == "running"
        assert told["public_host"] == told["direct_url"] == "http://127.0.0.1:1"
        assert isinstance(told["template_id"], str)
        assert isinstance(told["organization_id"], int)
        assert {"vcpu", "memory_mb", "disk_mb"} <= told["resources"].keys()
        assert 50 < datetime.fromisoformat(told["expires_at"]).timestamp() - time.time() <= 60
        expires = datetime.fromisoformat(told["token_expires_at"]).timestamp()
        assert expires - time.time() > 2 * 3600
        claims = jwt.decode(told["auth_token"], options={"verify_signature": False})
        assert claims["sub"] == told["id"]
        assert "auth_token" not in again
        assert "token_secret" not in str(again)
        assert again["id"] == told["id"]


@pytest.mark.parametrize("template", ["base", "1", 1])
async def test_templates_by_name_or_number(tmp_path: Path, template: object) -> None:
    """A template is named by its name, or by its id as text or number."""
    async with controlled(tmp_path) as control:
        told = await control.create(template_name=None, template_id=template)

        assert told["template_name"] == "base"


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"{", 400, "INVALID_REQUEST"),
        (b"[]", 400, "INVALID_REQUEST"),
        (b"", 400, "INVALID_REQUEST"),
        (b'{"template_name":["base"]}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"bse"}', 404, "RESOURCE_NOT_FOUND"),
        (b'{"template_name":"base","timeout_seconds":0}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"base","timeout_seconds":1.5}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"base","timeout_seconds":true}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"base","timeout_seconds":1e999}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"base","env_vars":{"A":1}}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"base","env_vars":{"A":null}}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"base","env_vars":{"A=B":""}}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"base","internet_access":false}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"base","internet_access":"no"}', 400, "INVALID_REQUEST"),
        (b'{"template_name":"base","region":7}', 400, "INVALID_REQUEST"),
    ],
)
async def test_bad_creates_create_nothing(
    tmp_path: Path, body: bytes, status: int, word: str
) -> None:
    """What is wrong is refused with its code in both envelopes, and nothing is started."""
    async with controlled(tmp_path) as control:
        assert await control.refused("POST", "/v1/sandboxes", data=body) == (status, word)
        assert control.machines.starts == []
        assert list(tmp_path.iterdir()) == []


async def test_a_sandbox_without_network(tmp_path: Path) -> None:
    """Where sandboxes are isolated, one is kept from the network if so asked; it says so."""
    machines = FakeMachines()
    machines.isolation = "namespace"
    async with controlled(tmp_path, machines) as control:
        told = await control.create(internet_access=False)
        other = await control.create()

        assert (told["internet_access"], told["isolation"]) == (False, "namespace")
        assert (other["internet_access"], other["isolation"]) == (True, "namespace")


async def test_a_fault_of_ours_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody foresaw is answered in both envelopes; its trace goes to stderr alone."""
    async with controlled(tmp_path) as control:
        monkeypatch.setattr(control.plane, "page", lambda *_: 1 / 0)
        refused = await control.refused("GET", "/v1/sandboxes")

    assert refused == (500, "INTERNAL_ERROR")
    assert "ZeroDivisionError" in capsys.readouterr().err


async def test_an_unknown_template_brings_suggestions(tmp_path: Path) -> None:
    """Names that come near stand among the details."""
    async with controlled(tmp_path) as control:
        body = {"template_name": "code-interpretr"}
        _, told = await control.ask("POST", "/v1/sandboxes", json=body)

        assert told["error"]["details"]["suggestions"] == ["code-interpreter"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-API-Key": KEY}, 200),
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"X-API-Key": "another"}, 200),
        ({}, 401),
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": KEY[:-1]}, 401),
        ({"Authorization": KEY}, 401),
        ({"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"}, 401),
        ({"X-API-Key": KEY, "Origin": "http://127.0.0.1"}, 403),
    ],
)
async def test_the_key_opens_it(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    """Either header opens it with any of the keys; a web page is refused even with one."""
    async with controlled(tmp_path) as control:
        url = str(control.http._base_url)
        async with aiohttp.ClientSession(url, headers=headers) as http:
            for path in ("/v1/sandboxes", "/v1/templates"):
                async with http.get(path) as response:
                    assert response.status == status
            async with http.get("/health") as response:
                assert response.status == (403 if status == 403 else 200)


async def test_pages_follow_each_other(tmp_path: Path) -> None:
    """Every sandbox is on one page, in order; the last page has no cursor."""
    async with controlled(tmp_path) as control:
        ids = sorted([(await control.create())["id"] for _ in range(5)])
        found, cursor = [], ""
        while cursor is not None:
            query = f"?limit=2&cursor={cursor}" if cursor else "?limit=2"
            _, told = await control.ask("GET", f"/v1/sandboxes{query}")
            found += [one["id"] for one in told["data"]]
            cursor = told["next_cursor"]
            assert told["has_more"] is (cursor is not None)

        assert found == ids
        assert (await control.ask("GET", "/v1/sandboxes?status=paused"))[1]["data"] == []
        for limit in ("0", "-1", "x", "1001", "9" * 20, "0000000019", "1" * 5000):
            refused = await control.refused("GET", f"/v1/sandboxes?limit={limit}")
            assert refused == (400, "INVALID_REQUEST")


async def test_a_life(tmp_path: Path) -> None:
    """Pause, resume, stop, start and delete; each word is told, and the machine hears it."""
    async with controlled(tmp_path) as control:
        sandbox_id = (await control.create())["id"]
        one = f"/v1/sandboxes/{sandbox_id}"
        machine = control.machines.running[sandbox_id]
        for verb, status in (("pause", "paused"), ("pause", "paused"), ("resume", "running")):
            assert (await control.ask("POST", f"{one}/{verb}"))[1]["status"] == status
            assert (await control.ask("GET", one))[1]["status"] == status
        assert machine.told == ["pause", "resume"]
        await control.ask("POST", f"{one}/stop")
        assert machine.told[-1] == "stop"
        assert await control.refused("POST", f"{one}/pause") == (409, "CONFLICT")
        assert (await control.ask("POST", f"{one}/start"))[1]["status"] == "running"
        code, told = await control.ask("DELETE", one)

        assert (code, told["status"], told["id"]) == (200, "deleted", sandbox_id)
        for method, path in (("GET", one), ("DELETE", one), ("POST", f"{one}/pause")):
            assert await control.refused(method, path) == (404, "RESOURCE_NOT_FOUND")
        assert list(tmp_path.iterdir()) == []


async def test_tokens_are_refreshed(tmp_path: Path) -> None:
    """A refresh gives another good token with its time."""
    async with controlled(tmp_path) as control:
        told = await control.create()
        path = f"/v1/sandboxes/{told['id']}/token/refresh"
        _, fresh = await control.ask("POST", path)
        claims = jwt.decode(fresh["auth_token"], options={"verify_signature": False})

        assert claims["sub"] == told["id"]
        assert fresh["token_expires_at"].endswith("Z")
        refused = await control.refused("POST", "/v1/sandboxes/nobody/token/refresh")
        assert refused == (404, "RESOURCE_NOT_FOUND")


async def test_a_timeout_is_set_anew(tmp_path: Path) -> None:
    """It counts from now; what is no time is refused and changes nothing."""
    async with controlled(tmp_path) as control:
        one = f"/v1/sandboxes/{(await control.create())['id']}"
        _, told = await control.ask("PUT", f"{one}/timeout", json={"timeout_seconds": 600})
        bodies: list[Any] = [{}, {"timeout_seconds": 0}, {"timeout_seconds": "9"}]
        for body in bodies:
            refused = await control.refused("PUT", f"{one}/timeout", json=body)
            assert refused == (400, "INVALID_REQUEST")

        assert told["timeout_seconds"] == 600
        assert (await control.ask("GET", one))[1]["expires_at"] == told["expires_at"]


async def test_what_is_not_here(tmp_path: Path) -> None:
    """Unknown paths and methods, and templates that are fixed, are told in both envelopes."""
    async with controlled(tmp_path) as control:
        assert await control.refused("GET", "/v1/nothing") == (404, "RESOURCE_NOT_FOUND")
        assert await control.refused("PUT", "/v1/sandboxes") == (405, "METHOD_NOT_ALLOWED")
        assert await control.refused("POST", "/v1/templates/build") == (403, "FORBIDDEN")
        assert await control.refused("GET", "/v1/templates/no") == (404, "RESOURCE_NOT_FOUND")
        _, told = await control.ask("GET", "/v1/templates?language=python")
        assert [one["name"] for one in told["data"]] == ["code-interpreter", "python"]


async def test_a_method_that_is_not_here_names_those_that_are(tmp_path: Path) -> None:
    """405 says in its header what a route can be asked by."""
    async with controlled(tmp_path) as control:
        async with control.http.patch("/v1/templates/build") as answer:
            assert answer.status == 405
            assert {*answer.headers["Allow"].split(",")} >= {"POST"}


async def test_the_page_of_routes_has_them_all(tmp_path: Path) -> None:
    """Each route of the control plane stands in the reference, and no other."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "hopx-routes.md"
    text = page.read_text().partition("## The control plane")[2]
    told = set(re.findall(r"^\| `([A-Z]+ /[^`]*)`", text, re.MULTILINE))
    app = web.Application()
    ControlRoutes(Plane(Shelf(tmp_path), FakeMachines()), [KEY]).add_to(app)
    coded = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }

    assert told == coded
