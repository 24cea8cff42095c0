"""Tests of the values that callers meet."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from hopx_async import model
from hopx_async.errors import InvalidArgument
from hopx_async.model import (
    Capabilities,
    CommandInfo,
    CommandRef,
    CommandResult,
    CommandSpec,
    EndReason,
    Exit,
    Output,
    Status,
    Totals,
)
from hopx_async.protocol import lifecycle

PAYLOAD: dict[str, Any] = {
    "exit_code": 3,
    "signal": None,
    "reason": "exited",
    "started_at": 1.0,
    "ended_at": 4.04,
    "duration": 3.04,
    "survivors": 2,
    "errno": None,
    "filename": None,
    "usage": {"cpu_seconds": 0.5, "max_rss_bytes": 1024, "read_bytes": 512, "new": 1},
    "tail": [["stdout", "b25l"], ["stderr", "dHdv"]],
}
SPEC: dict[str, Any] = {
    "process_id": "cmd_1",
    "command": ["ls", "-l"],
    "env_names": ["A"],
    "working_dir": None,
    "timeout": 5,
    "name": "list",
    "tags": {"k": "v"},
    "merge_stderr": True,
    "spec_digest": "00",
    "created_at": 1.0,
}


def test_the_words_are_those_of_the_lifecycle() -> None:
    """The types list the reasons and statuses that the table knows."""
    assert get_args(EndReason) == lifecycle.REASONS
    assert get_args(Status) == lifecycle.STATUSES


def test_an_exit_comes_from_its_payload() -> None:
    """from_payload takes what a terminal record holds, tail and all."""
    fate = Exit.from_payload(PAYLOAD)

    assert fate == Exit(
        exit_code=3,
        reason="exited",
        started_at=1.0,
        ended_at=4.04,
        duration=3.04,
        survivors=2,
        usage=Totals(cpu_seconds=0.5, max_rss_bytes=1024, read_bytes=512),
        tail=b"onetwo",
    )
    assert str(fate) == "exited with 3 after 3.0 s, 2 of its processes still running"


def test_an_exit_becomes_json_and_comes_back() -> None:
    """to_dict holds everything but the tail."""
    value = json.loads(json.dumps(Exit.from_payload(PAYLOAD).to_dict()))

    assert value["ok"] is False
    assert "tail" not in value
    assert Exit.from_payload(value) == Exit.from_payload({**PAYLOAD, "tail": None})


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({}, ValueError),
        ({"reason": "new"}, ValueError),
        ({"reason": "exited"}, ValueError),
        ({"reason": "exited", "exit_code": "0"}, ValueError),
        ({"reason": "lost", "tail": [["stdout", "x"]]}, ValueError),
        ({"reason": "lost", "tail": 5}, TypeError),
        ({"reason": "lost", "usage": 5}, TypeError),
    ],
)
def test_what_is_no_exit_is_refused(payload: dict[str, Any], error: type[Exception]) -> None:
    """from_payload invents nothing: a missing code is not 0."""
    with pytest.raises(error):
        Exit.from_payload(payload)


@pytest.mark.parametrize("reason", get_args(EndReason))
def test_every_end_has_a_sentence_and_a_status(reason: EndReason) -> None:
    """str(exit) says how it ended, status is HopX's word for it."""
    fate = Exit(reason=reason, exit_code=0 if reason == "exited" else None, signal="SIGSEGV")

    assert str(fate).split()[0] in {"exited", "was", "could"}
    assert fate.status in get_args(Status)
    assert fate.ok == (reason == "exited")


def test_an_info_comes_from_an_answer() -> None:
    """from_dict takes the answer of an agent and ignores what it does not know."""
    ended = CommandInfo.from_dict(
        {"spec": SPEC, "pid": 7, "started_at": 1.0, "exit": PAYLOAD, "log_end": 9, "new": 1}
    )
    running = CommandInfo.from_dict({"spec": {"process_id": "cmd_2", "command": "ls"}})

    assert (ended.command, ended.status, ended.pid) == (("ls", "-l"), "failed", 7)
    assert (ended.env_names, ended.tags, ended.log_end) == (("A",), {"k": "v"}, 9)
    assert ended.exit is not None
    assert (running.command, running.status, running.exit) == ("ls", "running", None)


def test_a_ref_becomes_json_and_comes_back() -> None:
    """from_json reads what to_json printed."""
    ref = CommandRef("sbx_1", "cmd_1")

    assert CommandRef.from_json(ref.to_json()) == ref


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "5"),
        pytest.param("9" * 5000, id="huge"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_what_is_no_ref_is_refused(text: str) -> None:
    """from_json raises a typed error."""
    with pytest.raises(InvalidArgument, match="ref="):
        CommandRef.from_json(text)


def test_a_result_has_text_and_bytes() -> None:
    """A result and an output decode what was printed, and never fail at it."""
    result = CommandResult(exit=Exit(reason="exited", exit_code=0), stdout_bytes=b"a\xff")
    output = Output(cursor="L1.0", stderr_bytes=b"b")

    assert (result.stdout, result.stderr) == ("a\ufffd", "")
    assert (result.ok, result.exit_code) == (True, 0)
    assert (output.stderr, output.cursor) == ("b", "L1.0")


def test_capabilities_have_defaults() -> None:
    """What a far side does not say is the least."""
    assert Capabilities(agent="memory", version="1").proof == "ancestry"


def test_the_spec_is_found_here_as_well() -> None:
    """The model offers the words of the spec."""
    assert model.CommandSpec is CommandSpec
    assert model.new_process_id().startswith("cmd_")


def test_a_long_output_is_shown_short() -> None:
    """The repr of a result fits a screen; the result has everything."""
    result = CommandResult(exit=Exit(reason="exited", exit_code=0), stdout_bytes=b"x" * 100_000)

    assert len(repr(result)) < 2000
    assert "xxx'... 100000 bytes, stderr_bytes=b''" in repr(result)
    assert len(result.stdout) == 100_000
    assert "stdout_bytes=b'short'," in repr(Output(stdout_bytes=b"short", cursor="c"))
