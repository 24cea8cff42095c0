"""schemathesis asks the local server what its OpenAPI descriptions allow, and what they do not.

Its cases are the same every time. No answer is a 5xx or one that is not described, whatever is
undocumented is refused, and what the description forbids is not accepted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.namespaces import why_not
from tests.support.serving import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

# Each runs thousands of requests.
pytestmark = [pytest.mark.official, pytest.mark.timeout(600)]

_REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
#: What is refused with 501, and what makes everything else refused.
_APART = "^/(desktop|execute/(async|ipython|rich)|v1/(pause|resume))"
_CHECKS = [
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "unsupported_method",
]
_EXAMPLES, _SECONDS = 25, 540


@dataclass
class Places:
    """What is asked.

    Attributes:
        url: The control plane.
        key: Opens it.
        agent: An agent, with the file ``known`` in its workspace.
        token: Opens it.
        sandbox_id: Another sandbox.
    """

    url: str
    key: str
    agent: str
    token: str
    sandbox_id: str


def asked(url: str, key: str, **body: Any) -> Any:
    """Return the JSON that a post is answered with."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(headers=headers) as http:
        answer = http.post(url, json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    """A server of its own, isolated where that can be had, with two sandboxes."""
    isolation = "none" if why_not() else "namespace"
    served = Served("--max-sandboxes", "3", "--isolation", isolation)
    url, key = served.announced()
    one, other = (asked(f"{url}/v1/sandboxes", key, template_name="base") for _ in range(2))
    agent, token = one["public_host"], one["auth_token"]
    asked(f"{agent}/files/write", token, path="/workspace/known", content="x")
    yield Places(url, key, agent, token, other["id"])
    assert served.end() == (0, "")


def fuzz(name: str, url: str, header: str, *options: str, **known: str) -> None:
    """Run schemathesis on one description; fail with what it finds."""
    with tempfile.TemporaryDirectory() as place:  # it keeps there what it has found before
        done = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "schemathesis"), "run"),
                *(str(_REFERENCE / f"openapi-{name}.json"), "--url", url, "--header", header),
                *("--generation-deterministic", "--max-examples", str(_EXAMPLES)),
                *("--no-color", "--continue-on-failure", "--request-timeout", "60", *options),
            ],
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.official.harmless",
                "PYTHONPATH": str(_REFERENCE.parents[1]),
                "NO_PROXY": "127.0.0.1",
                **{f"HOPX_FUZZ_{key.upper()}": value for key, value in known.items()},
            },
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            cwd=place,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_agent(places: Places) -> None:
    """Its routes, HopX's and ours, answer as described, to lawful and unlawful requests alike."""
    checks = ",".join(["not_a_server_error", *_CHECKS])
    options = ("--checks", checks, "--exclude-path-regex", _APART)
    bearer = f"Authorization: Bearer {places.token}"

    fuzz("agent", places.agent, bearer, *options, path="/workspace/known")


def test_what_an_agent_refuses(places: Places) -> None:
    """What is not here is 501, and is described so; pausing is described, too."""
    # No method at all has a desktop, those that OpenAPI does not know among them.
    checks = ",".join(one for one in _CHECKS if one != "unsupported_method")
    options = ("--checks", checks, "--include-path-regex", _APART)
    fuzz("agent", places.agent, f"Authorization: Bearer {places.token}", *options)
    asked(f"{places.agent}/v1/resume", places.token)


def test_the_control_plane(places: Places) -> None:
    """Its routes answer as described; most cases find no room for another sandbox."""
    checks = ",".join(["not_a_server_error", *_CHECKS])
    key, known = f"X-API-Key: {places.key}", places.sandbox_id

    fuzz("control", places.url, key, "--checks", checks, sandbox_id=known)
