"""Tests of hopx_async.agent.dialect.asks: bodies to specs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent.dialect.answers import Refused
from hopx_async.agent.dialect.asks import Asks, execution_id, text_of
from hopx_async.agent.dialect.paths import Places
from hopx_async.protocol import lifecycle

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def asks(tmp_path: Path) -> Asks:
    """Return what makes specs around an empty workspace."""
    return Asks(Places(str(tmp_path)), os.environ["PATH"])


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ({"command": "ls"}, ["ls"]),
        ({"command": "ls", "args": []}, ["ls"]),
        ({"command": "ls", "args": None}, ["ls"]),
        ({"command": "ls -l"}, ["bash", "-c", "ls -l"]),
        ({"command": "a|b"}, ["bash", "-c", "a|b"]),
        ({"command": "a b", "args": ["c d"]}, ["a b", "c d"]),
    ],
)
def test_shell_or_exec(asks: Asks, body: dict[str, Any], command: list[str]) -> None:
    """Arguments make an exec; a text that only a shell understands goes to one."""
    spec = asks.command(body, "run")

    assert spec["command"] == command
    assert lifecycle.problem_with_spec(spec) is None
    assert spec["process_id"].startswith("cmd_")


@pytest.mark.parametrize(
    ("body", "below"),
    [
        ({}, None),
        ({"workdir": None}, None),
        ({"workdir": "/workspace"}, "."),
        ({"workdir": "sub", "working_dir": "other"}, "sub"),
        ({"working_dir": "/workspace/sub", "cwd": "other"}, "sub"),
        ({"cwd": "sub"}, "sub"),
    ],
)
def test_where_it_runs(asks: Asks, tmp_path: Path, body: dict[str, Any], below: str | None) -> None:
    """Each of three names is understood, the first of them counts."""
    (tmp_path / "sub").mkdir()
    spec = asks.command({"command": "ls", **body}, "run")

    assert spec["working_dir"] == (None if below is None else str(tmp_path / below))


@pytest.mark.parametrize("name", ["no", "x" * 300, "x/" * 3000, "\ud800"])
def test_a_directory_that_cannot_be_is_refused(asks: Asks, name: str) -> None:
    """It is told as one that is not there, whatever the system says of such a name."""
    with pytest.raises(Refused, match="there is no such directory") as refused:
        asks.command({"command": "ls", "workdir": name}, "run")

    assert (refused.value.status, refused.value.word) == (400, "DIRECTORY_NOT_FOUND")


def test_the_defaults_of_time(asks: Asks) -> None:
    """What a body does not say is what the caller of the route says; null says nothing."""
    times = [asks.command({"command": "ls", "timeout": t}, "run", 7)["timeout"] for t in (None, 3)]

    assert times == [7.0, 3.0]


def test_languages(asks: Asks) -> None:
    """Names are understood in any case; ids tell code from commands; too much is refused."""
    spec = asks.code({"code": "1", "language": "Python3"}, "run")

    assert spec["command"][-3:] == ["-u", "-c", "1"]
    assert spec["process_id"].startswith("bg_")
    assert {"python", "bash"} <= {*asks.languages()}
    with pytest.raises(Refused):
        asks.code({"code": "1", "language": ["python"]}, "run")
    with pytest.raises(Refused):
        asks.code({"code": "x" * lifecycle.MAX_TEXT_BYTES * 2}, "run")


def test_a_language_that_is_not_here(tmp_path: Path) -> None:
    """It is refused by name, and no language is claimed."""
    asks = Asks(Places(str(tmp_path)), str(tmp_path))

    assert asks.languages() == []
    with pytest.raises(Refused, match="go is not installed here"):
        asks.code({"code": "x", "language": "go"}, "run")


def test_commands_as_people_wrote_them() -> None:
    """A text for a shell is shown as it was, arguments as a line."""
    assert text_of(["bash", "-c", "a; b"]) == "a; b"
    assert text_of(["ls", "a b"]) == "ls 'a b'"
    assert text_of("a | b") == "a | b"
    assert execution_id("bg_12") == "exec_12"
