"""Tests of a command's life, and of the rules for a start."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from hopx_async.protocol import lifecycle, records
from hopx_async.protocol.lifecycle import MAX_TEXT_BYTES, LifecycleError, Problem

STATES = (lifecycle.EMPTY, lifecycle.CLAIMED, lifecycle.RUNNING, lifecycle.ENDED)
NUL = "a\0b"


@pytest.mark.parametrize(("state", "kind"), [*itertools.product(STATES, records.KIND_NAMES)])
def test_what_is_not_in_the_table_raises(state: str, kind: int) -> None:
    """Advance follows the table, and raises for everything else."""
    if (state, kind) in lifecycle.TABLE:
        assert lifecycle.advance(state, kind) == lifecycle.TABLE[state, kind]
    else:
        with pytest.raises(LifecycleError, match="cannot follow"):
            lifecycle.advance(state, kind)


def test_nothing_follows_the_end() -> None:
    """The table has no way out of the end, and Lost leads there from everywhere else."""
    assert not [key for key in lifecycle.TABLE if key[0] == lifecycle.ENDED]
    assert {key[0] for key in lifecycle.TABLE if key[1] == records.LOST} == {*STATES[:3]}


def test_an_unknown_kind_is_named_by_its_number() -> None:
    """LifecycleError names a kind that it does not know."""
    with pytest.raises(LifecycleError, match="kind 77 cannot follow in state 'empty'"):
        lifecycle.advance(lifecycle.EMPTY, 77)


@pytest.mark.parametrize(
    ("cause", "code", "signal", "reason"),
    [
        ("timed_out", None, "SIGTERM", "timed_out"),
        ("killed", 0, None, "killed"),
        (None, 3, None, "exited"),
        (None, None, "SIGSEGV", "signaled"),
    ],
)
def test_the_first_cause_is_the_reason(
    cause: str | None, code: int | None, signal: str | None, reason: str
) -> None:
    """reason_for returns the cause, else how the leader ended."""
    assert lifecycle.reason_for(cause, code, signal) == reason


@pytest.mark.parametrize(("code", "signal"), [(None, None), (1, "SIGTERM")])
def test_an_end_is_never_invented(code: int | None, signal: str | None) -> None:
    """reason_for wants either a code or a signal."""
    with pytest.raises(ValueError, match="either a code or a signal"):
        lifecycle.reason_for(None, code, signal)


@pytest.mark.parametrize(
    ("reason", "code", "status"),
    [
        (None, None, "running"),
        ("exited", 0, "completed"),
        ("exited", 1, "failed"),
        ("signaled", None, "failed"),
        ("timed_out", None, "failed"),
        ("spawn_failed", None, "failed"),
        ("killed", 0, "killed"),
        ("sandbox_stopped", None, "killed"),
        ("lost", None, "lost"),
    ],
)
def test_status_is_the_word_of_hopx(reason: str | None, code: int | None, status: str) -> None:
    """status_of maps each end to one of the statuses."""
    assert lifecycle.status_of(reason, code) == status
    assert status in lifecycle.STATUSES
    assert reason is None or reason in lifecycle.REASONS


@pytest.mark.parametrize("process_id", ["a", "cmd_1-x", "A" * 64])
def test_ids_of_the_grammar_are_taken(process_id: str) -> None:
    """problem_with_id has nothing to say about an id of the grammar."""
    assert lifecycle.problem_with_id(process_id) is None


@pytest.mark.parametrize(
    "process_id",
    [
        "",
        "../../x",
        "$(x)",
        "a\n",
        "a\nb",
        "_a",
        "-a",
        "a/b",
        "a.b",
        "é",
        "x" * 65,
        "x" * 300,
        None,
    ],
)
def test_ids_outside_the_grammar_are_refused(process_id: object) -> None:
    """problem_with_id names the value and the rule."""
    problem = lifecycle.problem_with_id(process_id)

    assert problem is not None
    assert problem.parameter == "process_id"
    assert lifecycle.ID_RULE in problem.rule


def test_a_problem_shows_its_value_and_bounds_it() -> None:
    """Problem prints the parameter, the value, cut where it is long, and the rule."""
    assert str(Problem("name", "a\n", "no")) == "name='a\\n': no"
    assert str(Problem("name", "x" * 300, "no")) == f"name='{'x' * 99}... (302 characters): no"


@pytest.mark.parametrize("grace", [0, 0.0, 5, 0.25])
def test_a_grace_of_zero_or_more_is_taken(grace: float) -> None:
    """problem_with_grace takes finite numbers from 0 on."""
    assert lifecycle.problem_with_grace(grace) is None


@pytest.mark.parametrize("grace", [-1, float("nan"), float("inf"), 10**400, "5", None, True])
def test_other_graces_are_refused(grace: object) -> None:
    """problem_with_grace names what is no period."""
    problem = lifecycle.problem_with_grace(grace)

    assert problem is not None
    assert problem.parameter == "grace"


def spec(**changes: Any) -> dict[str, object]:
    """Return a full spec with some changes."""
    return {"process_id": "cmd_1", "command": "true", **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"command": ["echo", "", " "]},
        {"command": ("echo",)},
        {"command": "x" * MAX_TEXT_BYTES},
        {"env": None, "tags": None, "name": None, "working_dir": None, "timeout": None},
        {"env": {"A": "1", "B": None, "C": ""}},
        {"env": {"A": "x" * (MAX_TEXT_BYTES - 2)}},
        {"timeout": 0.001},
        {"timeout": 10**6},
        {"name": "build", "tags": {"k": ""}, "working_dir": "a/b", "merge_stderr": True},
    ],
)
def test_specs_that_keep_the_rules_are_taken(changes: dict[str, Any]) -> None:
    """problem_with_spec has nothing to say about them."""
    assert lifecycle.problem_with_spec(spec(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"process_id": "../../x"}, "process_id"),
        ({"command": ""}, "command"),
        ({"command": " \n"}, "command"),
        ({"command": []}, "command"),
        ({"command": None}, "command"),
        ({"command": b"ls"}, "command"),
        ({"command": {"ls": 1}}, "command"),
        ({"command": [""]}, "command[0]"),
        ({"command": ["ls", 7]}, "command[1]"),
        ({"command": NUL}, "command"),
        ({"command": ["ls", NUL]}, "command[1]"),
        ({"command": "\ud800"}, "command"),
        ({"command": "x" * (128 * 1024)}, "command"),
        ({"command": ["ls", "é" * (64 * 1024)]}, "command[1]"),
        ({"env": {"": "x"}}, "env"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {NUL: "x"}}, "env"),
        ({"env": {7: "x"}}, "env"),
        ({"env": []}, "env"),
        ({"env": {"A": NUL}}, "env['A']"),
        ({"env": {"A": 7}}, "env['A']"),
        ({"env": {"A": "x" * (128 * 1024)}}, "env['A']"),
        ({"env": {"A": "x" * (MAX_TEXT_BYTES - 1)}}, "env['A']"),
        ({"working_dir": ""}, "working_dir"),
        ({"working_dir": NUL}, "working_dir"),
        ({"working_dir": 7}, "working_dir"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": 10**400}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"tags": []}, "tags"),
        ({"tags": {"": "x"}}, "tags"),
        ({"tags": {"k": 7}}, "tags['k']"),
        ({"merge_stderr": 1}, "merge_stderr"),
        ({"shell": True}, "shell"),
    ],
)
def test_specs_that_break_a_rule_are_refused(changes: dict[str, Any], parameter: str) -> None:
    """problem_with_spec names the argument and the rule."""
    problem = lifecycle.problem_with_spec(spec(**changes))

    assert problem is not None
    assert problem.parameter == parameter
    assert problem.rule
    assert len(problem.value) < 150


def test_a_wrong_value_of_the_environment_is_not_shown() -> None:
    """The value of a variable stays out of the message."""
    problem = lifecycle.problem_with_spec(spec(env={"TOKEN": "s3cret\0"}))

    assert problem is not None
    assert "s3cret" not in str(problem)


def test_signals_are_known_by_name() -> None:
    """SIGNAL_NAMES holds the names that every POSIX system has."""
    assert {"SIGTERM", "SIGKILL", "SIGINT"} <= lifecycle.SIGNAL_NAMES
