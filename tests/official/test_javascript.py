"""HopX's JavaScript client, unmodified, against our server.

``js/cases.mjs`` runs every case in one process of Node.js; here stands what is to come of each.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.official.clients import Sandbox
from tests.official.node import INSTALLED, program
from tests.official.tokens import expire

if TYPE_CHECKING:
    from tests.official.conftest import Place

# The first of them waits for all cases.
pytestmark = [pytest.mark.official, pytest.mark.timeout(600)]

_SECONDS = 540


def _refused(kind: str, code: str | None) -> dict[str, Any]:
    told = {"kind": kind, "id": True}
    return told if code is None else {**told, "code": code}


#: What is to come of each case. The kinds of errors are this client's; it has none for much.
EXPECTED: dict[str, Any] = {
    "life": {
        "stdout": "1\n1\n",
        "paused": "paused",
        "resumed": "running",
        "timeoutSeconds": 600,
        "listed": True,
        "iterated": True,
        "gone": _refused("SandboxExpiredError", "SANDBOX_EXPIRED"),
        "health": "healthy",
    },
    "connectToStopped": True,
    "refusals": {
        "template": _refused("APIError", "RESOURCE_NOT_FOUND"),
        "key": _refused("AuthenticationError", None),
    },
    "run": {
        "done": ["out\n", "err\n", 3, False],
        "there": "1\n/tmp\n",
        "late": ["begun\n", 124],
        "nowhere": _refused("APIError", "DIRECTORY_NOT_FOUND"),
    },
    "background": {
        "prefix": "cmd_",
        "camel": True,
        "begun": "running",
        "done": ["completed", 0, "1\n/tmp\n"],
        "failed": ["failed", 3, "no\n"],
    },
    "kill": {"status": "killed", "nobody": _refused("APIError", "PROCESS_NOT_FOUND")},
    "code": {
        **{language: ["42\n", 0, "42\n"] for language in ("python", "javascript", "bash")},
        # Whatever is answered with 501 is a desktop to this client.
        "ipython": _refused("DesktopNotAvailableError", "DESKTOP_NOT_AVAILABLE"),
    },
    "stream": {"stdout": "1\n", "stderr": "e\n", "code": 3, "last": "complete"},
    "frames": {"whole": 2000, "placed": 2000, "last": "complete"},
    "lines": {"whole": 2000, "placed": 2000, "last": "complete"},
    "streamError": {
        "stdout": "",
        "stderr": "",
        "frames": 2,
        "error": "INVALID_REQUEST",
        "last": "complete",
    },
    "env": {
        "shown": {"B": "2", "C": "3", "D": "4", "MY_KEY": "***MASKED***"},
        "stdout": "-2-3-4-s\n",
    },
    "files": {
        "found": {name: ["text é\n", True] for name in ("a.txt", "b & c#+%.txt", "ä日本.txt")},
        "bytes": [True, True],
        "listed": [
            ["a.txt", False],
            ["b & c#+%.txt", False],
            ["bytes", False],
            ["deep", True],
            ["ä日本.txt", False],
        ],
        "removed": False,
        "missing": _refused("FileNotFoundError", "FILE_NOT_FOUND"),
        "outside": _refused("APIError", "PATH_NOT_ALLOWED"),
    },
    "watch": ["created"],
    "terminal": {"size": True, "code": 7, "status": "running"},
    "tokens": {"old": "old\n", "fresh": "fresh\n", "stale": [401, "TOKEN_EXPIRED"]},
    "figures": {
        "requests": True,
        "system": True,
        "sessions": [],
        "cache": 0,
        "desktop": _refused("DesktopNotAvailableError", "DESKTOP_NOT_AVAILABLE"),
    },
}


@pytest.fixture(scope="module")
def told(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each case, by its name."""
    command = program("cases.mjs", tmp_path_factory.mktemp("js"))
    one = Sandbox.create("code-interpreter", **place.door)
    stale = expire(place.state, one.sandbox_id)
    done = subprocess.run(
        [*command, place.url, place.key, stale, one.sandbox_id],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    one.kill()
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("case", EXPECTED)
def test_case(told: dict[str, Any], case: str) -> None:
    """What the client makes of each of its calls is what its users expect."""
    value = told[case].get("value")
    assert value is not None, told[case]
    if case in {"stream", "frames", "lines"}:  # how many there are is up to the pipes
        frames = value.pop("frames")
        assert case != "frames" or frames >= 2000

    assert value == EXPECTED[case]


def test_every_case_is_known(told: dict[str, Any]) -> None:
    """Nothing is run that is not looked at."""
    assert set(told) == set(EXPECTED)


def test_the_pinned_client_is_what_is_tested() -> None:
    """The version is the one whose wire the contract tells of."""
    told = json.loads((INSTALLED / "@hopx-ai" / "sdk" / "package.json").read_text())

    assert told["version"] == "0.5.1"
