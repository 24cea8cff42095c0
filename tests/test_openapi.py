"""The OpenAPI descriptions say what the servers serve, and what the pages say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from hopx_async.control.plane import Plane
from hopx_async.control.records import Shelf
from hopx_async.control.routes import ControlRoutes
from tests.agent.harness import serving
from tests.control.plane_double import FakeMachines
from tools.openapi_agent import agent_document
from tools.openapi_control import control_document
from tools.openapi_parts import printed

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
DOCUMENTS = {"agent": agent_document, "control": control_document}
#: What `*` stands for in a route.
ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")


def described(name: str) -> dict[str, dict[str, Any]]:
    """Return the operations of a document by route, references to answers resolved."""
    told = DOCUMENTS[name]()
    answers = told["components"]["responses"]
    found = {}
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            responses = {
                status: answers[one["$ref"].rpartition("/")[2]] if "$ref" in one else one
                for status, one in operation["responses"].items()
            }
            found[f"{method.upper()} {path}"] = {**operation, "responses": responses}
    return found


def served(app: web.Application) -> set[str]:
    """Return the routes of an application."""
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        methods = ANY_METHOD if route.method == "*" else (route.method,)
        found |= {f"{method} {route.resource.canonical}" for method in methods}
    return {route for route in found if not route.startswith("HEAD ")}


def told_on_the_page() -> tuple[str, str]:
    """Return the two halves of the page of HopX's routes: the agent's, the control plane's."""
    text = (REFERENCE / "hopx-routes.md").read_text(encoding="utf-8")
    agent, _, control = text.partition("## The control plane")
    return agent, control


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_files_are_what_the_tools_print(name: str) -> None:
    """Run ``python -m tools.openapi_NAME > docs/reference/openapi-NAME.json`` after a change."""
    file = REFERENCE / f"openapi-{name}.json"

    assert file.read_text(encoding="utf-8") == printed(DOCUMENTS[name]())


async def test_every_route_of_the_agent_is_described(tmp_path: Path) -> None:
    """Each route of the agent's application is in its description, and no other."""
    async with serving(tmp_path / "s") as server:
        assert set(described("agent")) == served(server.agent._runner.app)


def test_every_route_of_the_control_plane_is_described(tmp_path: Path) -> None:
    """Each route of the control plane is in its description, and no other."""
    app = web.Application()
    ControlRoutes(Plane(Shelf(tmp_path), FakeMachines()), ["key"]).add_to(app)

    assert set(described("control")) == served(app)


def test_the_page_has_the_same_statuses_for_the_control_plane() -> None:
    """What the table of the control plane says is answered is what is described."""
    rows = re.findall(r"^\| `([A-Z]+ /[^`]*)` \| (\d+)", told_on_the_page()[1], re.MULTILINE)
    operations = described("control")

    assert len(rows) == len(operations)
    for route, status in rows:
        successes = {code for code in operations[route]["responses"] if code < "400"}
        assert successes == ({status} if status < "400" else set()), route
        assert status in operations[route]["responses"]


def test_the_page_has_the_same_statuses_for_refusals() -> None:
    """Each status in the tables of codes is described for some route, 405 for none of them."""
    agent, control = told_on_the_page()
    coded = set(re.findall(r"^\| `[A-Z_` ]+`[^|]*\| ([^|]*)\|$", agent, re.MULTILINE))
    statuses = set(re.findall(r"\b[45]\d\d\b", " ".join(coded)))
    described_ = {code for one in described("agent").values() for code in one["responses"]}
    of_control = set(re.findall(r"`[A-Z_]+` \((4\d\d)", control))
    described_control = {code for one in described("control").values() for code in one["responses"]}

    assert {"400", "404", "429", "501"} <= statuses
    # A route that is described has its methods described.
    assert statuses - {"405"} <= described_
    assert of_control - {"405"} <= described_control


def test_what_the_page_refuses_with_501_is_described_so() -> None:
    """Routes that the page tells as 501 have no success, and no other route says 501 alone."""
    refused = set()
    for line in told_on_the_page()[0].splitlines():
        if re.search(r"\| 501", line) and line.startswith("| `") and "/" in line:
            for method, path in re.findall(r"`([A-Z*]+) (/[^`]*)`", line):
                methods = ANY_METHOD if method == "*" else (method,)
                refused |= {f"{one} {path}" for one in methods}
    never = {
        route
        for route, one in described("agent").items()
        if not any(code < "400" for code in one["responses"])
    }

    assert never == refused


def _schemas(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from _schemas(each)
    elif isinstance(value, list):
        for each in value:
            yield from _schemas(each)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_names_lead_somewhere(name: str) -> None:
    """Every schema that is named is there, and every one that is there is named."""
    told = json.loads(printed(DOCUMENTS[name]()))
    named = set(_schemas(told))
    there = {
        f"#/components/{kind}/{one}"
        for kind in ("schemas", "responses")
        for one in told["components"][kind]
    }

    assert named == there
