from __future__ import annotations

from typing import Any

import pytest

from hopx_async.keeper.checks import id_of, problem_with_request


def _start(**changes: Any) -> dict[str, Any]:
    public: dict[str, Any] = {"process_id": "a", "command": "true", **changes}
    return {"op": "start", "rid": 1, "public": public, "env": {"A": "b"}, "working_dir": "/"}


_USAGE = {"cpu_seconds": 0.5, "rss_bytes": 1, "read_bytes": None, "write_bytes": 0}


def test_good_requests_pass() -> None:
    """problem_with_request has nothing against requests that keep the rules."""
    good = [
        _start(timeout=1.5, name="n", tags={"k": "v"}, env_names=["A"], created_at=1.0),
        {"op": "signal", "rid": 1, "id": "a", "name": "SIGTERM", "signal_id": "s"},
        {"op": "kill", "rid": 1, "id": "a", "grace": 0},
        {**_start(mask_secrets=True), "mask": ["secret"]},
        {"op": "usage", "rid": 1, "id": "a", "usage": _USAGE},
    ]

    assert [problem_with_request(request) for request in good] == [None] * 5
    assert [id_of(request) for request in good] == ["a"] * 5


@pytest.mark.parametrize(
    ("request_", "parameter"),
    [
        ({"op": "start"}, "rid"),
        ({"op": "dance", "rid": 1}, "op"),
        ({**_start(), "public": None}, "public"),
        (_start(process_id="../../x"), "process_id"),
        (_start(process_id="$(x)"), "process_id"),
        (_start(process_id="a\n"), "process_id"),
        (_start(process_id="x" * 300), "process_id"),
        (_start(process_id=["a"]), "process_id"),
        (_start(command=""), "command"),
        (_start(command=["a", "b\0"]), "command[1]"),
        (_start(command="x" * 131072), "command"),
        (_start(timeout=float("nan")), "timeout"),
        (_start(timeout=-1), "timeout"),
        (_start(usage_interval=0.05), "usage_interval"),
        ({"op": "usage", "rid": 1, "id": "a"}, "usage"),
        ({"op": "usage", "rid": 1, "id": "../a", "usage": _USAGE}, "process_id"),
        ({"op": "usage", "rid": 1, "id": "a", "usage": {**_USAGE, "x": 1}}, "usage"),
        ({"op": "usage", "rid": 1, "id": "a", "usage": {**_USAGE, "rss_bytes": None}}, "rss_bytes"),
        ({"op": "usage", "rid": 1, "id": "a", "usage": {**_USAGE, "rss_bytes": True}}, "rss_bytes"),
        (
            {"op": "usage", "rid": 1, "id": "a", "usage": {**_USAGE, "cpu_seconds": float("nan")}},
            "cpu_seconds",
        ),
        (_start(mask_secrets=True), "mask_secrets"),
        ({**_start(), "mask": ["secret"]}, "mask_secrets"),
        ({**_start(mask_secrets=True), "mask": ["short"]}, "mask['0']"),
        ({**_start(mask_secrets=True), "mask": ["secret", 7]}, "mask['1']"),
        ({**_start(mask_secrets=True), "mask": ["secret\ud800"]}, "mask['0']"),
        ({**_start(mask_secrets=True), "mask": "secret"}, "mask"),
        ({**_start(mask_secrets=True), "mask": ["secret"] * 65}, "secrets"),
        (_start(bogus=1), "bogus"),
        (_start(created_at=float("inf")), "created_at"),
        (_start(env_names="A"), "env_names"),
        (_start(spec_digest=3), "spec_digest"),
        ({**_start(), "env": {"A": None}}, "env"),
        ({**_start(), "env": {"A=B": "x"}}, "env"),
        ({**_start(), "env": {"": "x"}}, "env"),
        ({**_start(), "env": {" ": "x"}}, "env"),
        ({**_start(), "env": {"\n": "x"}}, "env"),
        ({**_start(), "env": {"A": 3}}, "env['A']"),
        ({**_start(), "env": {"A": "\ud800"}}, "env['A']"),
        ({**_start(), "env": {"A": "x" * 131072}}, "env['A']"),
        ({**_start(), "env": {"A": "ü" * 65536}}, "env['A']"),
        ({**_start(), "env": {"A": "x\0"}}, "env['A']"),
        ({**_start(), "working_dir": "relative"}, "working_dir"),
        ({**_start(), "working_dir": "/a\0b"}, "working_dir"),
        ({**_start(), "working_dir": "/\ud800"}, "working_dir"),
        ({"op": "signal", "rid": 1, "id": "a", "name": "TERM", "signal_id": "s"}, "name"),
        ({"op": "signal", "rid": 1, "id": "a", "name": "SIGTERM", "signal_id": ""}, "signal_id"),
        ({"op": "kill", "rid": 1, "id": "a", "grace": -1}, "grace"),
        ({"op": "kill", "rid": 1, "id": "a/b", "grace": 1}, "process_id"),
    ],
)
def test_bad_requests_are_named(request_: dict[str, Any], parameter: str) -> None:
    """problem_with_request names the parameter that breaks a rule."""
    problem = problem_with_request(request_)

    assert problem is not None
    assert problem.parameter == parameter
