"""Tests of what is to be run."""

from __future__ import annotations

import inspect
import time
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from hopx_async.commands import Commands
from hopx_async.errors import InvalidArgument
from hopx_async.protocol import lifecycle
from hopx_async.secret import Secret
from hopx_async.spec import CommandSpec, StartOptions, as_spec, new_process_id, refuse


class BytesPath:
    """A path, as os.fspath understands it, that is no text."""

    def __fspath__(self) -> bytes:
        return b"file"


def test_ids_are_fresh_valid_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """new_process_id returns another id of the grammar each time, later ones behind earlier."""
    ids = [new_process_id() for _ in range(100)]
    next_millisecond = time.time_ns() + 1_000_000
    monkeypatch.setattr(time, "time_ns", lambda: next_millisecond)
    later = new_process_id()

    assert len(set(ids)) == 100
    assert all(lifecycle.problem_with_id(one) is None for one in ids)
    assert {len(one) for one in ids} == {30}
    assert later > max(ids)


def test_make_takes_the_arguments_of_a_start() -> None:
    """Make returns a value with a fresh id and copies of what it was given."""
    env = {"A": "1", "B": None}
    spec = CommandSpec.make(
        ["ls", "-l"], env=env, working_dir=PurePosixPath("a/b"), timeout=5, tags={"k": "v"}
    )
    env["A"] = "2"

    assert spec.command == ("ls", "-l")
    assert spec.to_dict() == {
        "process_id": spec.process_id,
        "command": ["ls", "-l"],
        "env": {"A": "1", "B": None},
        "working_dir": "a/b",
        "timeout": 5,
        "name": None,
        "tags": {"k": "v"},
        "merge_stderr": False,
        "idle_timeout": None,
        "stdin": False,
        "pty": None,
        "overflow": "drop",
        "limits": None,
        "usage_interval": None,
        "mask_secrets": False,
        "secrets": [],
    }
    assert CommandSpec.make("ls", process_id="mine").to_dict()["command"] == "ls"


def test_paths_in_a_command_are_texts() -> None:
    """A path is taken for the text that it is, as the program and as an argument."""
    argv: list[str | PurePosixPath] = [PurePosixPath("/bin/echo"), "x", PurePosixPath("a b")]
    spec = CommandSpec.make(argv)

    assert spec.command == ("/bin/echo", "x", "a b")
    assert as_spec(argv).command == spec.command


def test_bytes_in_a_path_are_told_as_such() -> None:
    """The error says which argument it is and what is wrong with it."""
    argv: list[Any] = [BytesPath()]
    with pytest.raises(InvalidArgument, match=r"command\[0\].*texts, not of bytes"):
        CommandSpec.make(argv)


def test_a_spec_shows_no_value_of_its_environment() -> None:
    """The repr of a spec has the names of variables alone."""
    text = repr(CommandSpec.make("true", env={"TOKEN": "s3cret"}))

    assert "TOKEN" in text
    assert "s3cret" not in text


def test_secrets_travel_as_texts_with_their_names() -> None:
    """A Secret is a text to the command; which are secret matters only to what masks them."""
    env: dict[str, str | Secret | None] = {"B": Secret("s3cret"), "A": Secret("geheim"), "C": "c"}
    masking = CommandSpec.make("true", env=env, mask_secrets=True).to_dict()
    plain = CommandSpec.make("true", env={**env, "D": Secret("x")}).to_dict()

    assert masking["env"] == {"A": "geheim", "B": "s3cret", "C": "c"}
    assert (masking["mask_secrets"], masking["secrets"]) == (True, ["A", "B"])
    assert (plain["mask_secrets"], plain["secrets"]) == (False, [])


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ({"command": ""}, "command"),
        ({"command": []}, "command"),
        ({"command": b"ls"}, "command"),
        ({"command": ["ls", "a\0b"]}, "command[1]"),
        ({"command": ["ls", BytesPath()]}, "command[1]"),
        ({"command": ["ls", b"x"]}, "command[1]"),
        ({"command": Path("/bin/ls")}, "command"),
        ({"command": "x" * (128 * 1024)}, "command"),
        ({"process_id": "../../x"}, "process_id"),
        ({"process_id": "$(x)"}, "process_id"),
        ({"process_id": "a\nb"}, "process_id"),
        ({"process_id": "x" * 300}, "process_id"),
        ({"process_id": ""}, "process_id"),
        ({"env": {"A=B": "1"}}, "env"),
        ({"env": {"": "1"}}, "env"),
        ({"env": {"A": "a\0b"}}, "env['A']"),
        ({"env": ["A"]}, "env"),
        ({"tags": "x"}, "tags"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"working_dir": ""}, "working_dir"),
        ({"working_dir": 7}, "working_dir"),
        ({"working_dir": BytesPath()}, "working_dir"),
        ({"name": ""}, "name"),
        ({"merge_stderr": "yes"}, "merge_stderr"),
    ],
)
def test_make_refuses_what_breaks_a_rule(arguments: dict[str, Any], parameter: str) -> None:
    """Make raises a typed error that names the argument, its value and the rule."""
    with pytest.raises(InvalidArgument) as caught:
        CommandSpec.make(arguments.pop("command", "true"), **arguments)
    assert caught.value.parameter == parameter
    assert caught.value.value
    assert caught.value.rule


def test_refuse_raises_for_a_problem_alone() -> None:
    """Refuse does nothing if there is none."""
    refuse(None)
    with pytest.raises(InvalidArgument, match="x=1: no"):
        refuse(lifecycle.Problem("x", 1, "no"))


def test_options_that_are_passed_on_are_those_of_start() -> None:
    """StartOptions, which groups pass on, are the keyword arguments of start, in its order."""
    start = inspect.signature(Commands.start).parameters
    assert list(StartOptions.__annotations__) == list(start)[2:]
