"""What is asked where markers are kept: every spec becomes arguments that say all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.errors import InvalidArgument, Unsupported
from hopx_async.protocol import markers
from hopx_async.protocol.lifecycle import MAX_TEXT_BYTES
from hopx_async.protocol.markers import Start, prepare, start_arguments, tick_arguments

KEY = b"key"
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
NAME = TEXT.filter(lambda name: bool(name.strip()) and "=" not in name)


def start_of(**options: Any) -> Start:
    """Return the start of a small spec."""
    return prepare({"process_id": "a", "command": "true", **options}, key=KEY, workspace="/w")


@given(TEXT.filter(str.strip), st.dictionaries(NAME, TEXT))
def test_all_of_a_spec_arrives(command: str, env: dict[str, str]) -> None:
    """Command, spec and variables can be read back, and no value stands in an argument."""
    start = start_of(command=[command, "x"], env=env)
    arguments, variables = start_arguments([start_of(), start])
    header, directory, *rest = arguments[-5:]
    figures = header.split()
    assert figures[0] == "a"
    assert (figures[-3], figures[-2], figures[-1]) == ("1", "1", "2")
    assert directory == "."
    spec = json.loads(rest[0])
    assert rest[1:] == [command, "x"]
    assert spec["command"] == [command, "x"]
    assert spec["env_names"] == sorted(env)
    told = {
        bytes.fromhex(name.removeprefix("HOPX_E1_")).decode(): value
        for name, value in variables.items()
    }
    assert told == env


def test_a_long_spec_comes_in_pieces() -> None:
    """No argument is as long as the kernel's limit, though the spec's JSON is."""
    start = start_of(command="\1" * 100_000)
    assert all(len(argument.encode()) < 131_072 for argument in start.arguments)
    count = int(start.header.split()[-2])
    assert json.loads("".join(start.arguments[1 : 1 + count]))["command"] == "\1" * 100_000


def test_unset_variables_are_named_apart() -> None:
    """None unsets: another prefix, and no value."""
    _, variables = start_arguments([start_of(env={"A": None, "B": ""})])
    assert variables == {f"HOPX_U0_{b'A'.hex()}": "", f"HOPX_E0_{b'B'.hex()}": ""}


@pytest.mark.parametrize(
    "options",
    [
        {"command": "false"},
        {"env": {"A": "2"}},
        {"timeout": 3},
        {"working_dir": "x"},
        {"merge_stderr": True},
        {"tags": {"a": "b"}},
    ],
    ids=str,
)
def test_another_spec_has_another_digest(options: dict[str, Any]) -> None:
    """Whatever differs tells; what is left out is as if it had been said."""
    first = start_of(env={"A": "1"}).header.split()[1]
    assert start_of(env={"A": "1"}, timeout=None, tags=None).header.split()[1] == first
    assert start_of(**{"env": {"A": "1"}, **options}).header.split()[1] != first


def test_working_directories_begin_in_the_workspace() -> None:
    """What is below it is told from there, wherever it really is; all else stands for itself."""
    told = {
        given: start_of(working_dir=given).arguments[0]
        for given in (None, "a/b", "/w", "/w/", "/w/a", "/wide", "/", "/other/w")
    }
    assert told == {
        None: ".",
        "a/b": "a/b",
        "/w": ".",
        "/w/": ".",
        "/w/a": "a",
        "/wide": "/wide",
        "/": "/",
        "/other/w": "/other/w",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"pty": [24, 80]},
        {"stdin": True},
        {"overflow": "wait"},
        {"limits": {"nice": 5}},
        {"usage_interval": 1.0},
        {"mask_secrets": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_only_our_agent_can_do_is_unsupported(options: dict[str, Any]) -> None:
    """The error names the option."""
    with pytest.raises(Unsupported, match=next(iter(options))):
        start_of(**options)


def test_bad_specs_are_refused() -> None:
    """The rules are those of every far side, and all together has a bound."""
    with pytest.raises(InvalidArgument, match="timeout"):
        start_of(timeout=-1)
    with pytest.raises(InvalidArgument, match=str(markers.MAX_BATCH_BYTES)):
        start_of(env={f"V{number}": "x" * 100_000 for number in range(11)})
    with pytest.raises(InvalidArgument, match="env="):
        start_of(env={"N" * 66_000: "x"})  # the name travels in hex


def test_polls_name_what_is_known_and_wanted() -> None:
    """Ends where they are known, a dash where everything is asked."""
    arguments = tick_arguments(100, {"a": 5, "b": None}, [("a", 3, 20)])
    assert arguments == ["100", "a:5,b:-", "a:3:20"]


def test_a_poll_of_many_fits_in_an_argument() -> None:
    """The longest ids with the longest logs, as many as one poll asks about."""
    watched = {f"{number:064}": 10**18 - 1 for number in range(markers.MAX_WATCHED)}
    assert len(tick_arguments(10**6, watched)[1]) <= MAX_TEXT_BYTES
