"""Tests of the error tree."""

from __future__ import annotations

import builtins
import copy
import pickle
from typing import Any

import pytest

from hopx_async import errors
from hopx_async.errors import HopxError
from hopx_async.model import Exit

EXIT = Exit(reason="exited", exit_code=3, duration=1.04)
FAILED: dict[str, Any] = {"command": "make all", "process_id": "cmd_1"}
#: One of each, and its sentence.
EXAMPLES: list[tuple[HopxError, str]] = [
    (errors.ApiError("no", status=418), "no"),
    (errors.ApiError("no", request_id="r1"), "no (request r1)"),
    (errors.AuthenticationError("who?"), "who?"),
    (
        errors.MissingApiKey(),
        (
            "no API key: set HOPX_API_KEY or pass api_key=... (keys come from the HopX console); "
            "hopx_async.local() works without one"
        ),
    ),
    (errors.NotFoundError("nothing"), "nothing"),
    (errors.CommandNotFound("cmd_1"), "no command 'cmd_1' here"),
    (errors.SandboxNotFound("no sandbox"), "no sandbox"),
    (errors.TemplateNotFound("no template", suggestions=["a"]), "no template"),
    (errors.FileNotFound("no file 'a'", path="a"), "no file 'a'"),
    (errors.PathNotAllowed("'/etc' leads out", path="/etc"), "'/etc' leads out"),
    (errors.ConflictError("it exists"), "it exists"),
    (errors.RateLimited("slowly", retry_after=2.5), "slowly"),
    (errors.SpawnError("no such file: x", errno=2, filename="x"), "no such file: x"),
    (errors.AgentFault("full", status=507), "full"),
    (errors.TransportError("silence"), "silence"),
    (errors.ConnectError("refused"), "refused"),
    (errors.ConnectionLost("gone"), "gone"),
    (errors.RequestTimeout("slow"), "slow"),
    (errors.AgentUnreachable("given up", seconds=300.0), "given up"),
    (errors.CreateUncertain("lost", candidates=["a"]), "lost"),
    (errors.ProtocolError("what?"), "what?"),
    (errors.LocalProtocolError("a bug"), "a bug"),
    (errors.RemoteProtocolError("a gap"), "a gap"),
    (errors.TlsError("no trust"), "no trust"),
    (errors.CommandError("fate"), "fate"),
    (errors.CommandFailed(EXIT, **FAILED), "cmd_1 (make all) exited with 3 after 1.0 s"),
    (
        errors.CommandFailed(
            EXIT, command=("make", "x" * 100), process_id="c", name="build", tail=b"oops\xff\n"
        ),
        f"build (make {'x' * 75}) exited with 3 after 1.0 s; its last output:\noops\ufffd",
    ),
    (
        errors.CommandTimedOut(Exit(reason="timed_out"), **FAILED),
        "cmd_1 (make all) was ended by its time limit",
    ),
    (
        errors.CommandLost(Exit(reason="lost"), **FAILED),
        "cmd_1 (make all) was lost: how it ended is not known",
    ),
    (
        errors.NotReady("port 1 was open", errors.CommandFailed(EXIT, **FAILED)),
        "before port 1 was open: cmd_1 (make all) exited with 3 after 1.0 s",
    ),
    (
        errors.OutputTooLarge("stdout", 10),
        "more than 10 bytes of stdout; raise max_bytes, or read it by events()",
    ),
    (
        errors.SurvivorsLeft("cmd_1", [(7, "dd"), (8, "sh")]),
        "processes of cmd_1 outlived SIGKILL: dd (7), sh (8) (known by ancestry)",
    ),
    (errors.StdinClosed("stdin of a is closed", process_id="a"), "stdin of a is closed"),
    (errors.UsageError("wrong"), "wrong"),
    (errors.InvalidArgument("timeout", "-1", "above 0"), "timeout=-1: above 0"),
    (errors.BadCursor("after", "'x'", "a cursor"), "after='x': a cursor"),
    (errors.ClosedError("closed"), "closed"),
    (errors.BusyError("taken"), "taken"),
    (errors.MisuseError("another loop"), "another loop"),
    (errors.Unsupported("not here"), "not here"),
]
each = pytest.mark.parametrize(
    ("error", "sentence"), EXAMPLES, ids=[type(error).__name__ for error, _ in EXAMPLES]
)


def test_every_error_has_an_example() -> None:
    """No error of the tree is left out of these tests."""
    assert {type(error).__name__ for error, _ in EXAMPLES} | {"HopxError"} == set(errors.__all__)


@each
def test_str_makes_the_sentence(error: HopxError, sentence: str) -> None:
    """str(error) says what happened."""
    assert str(error) == sentence


@each
def test_errors_pickle_and_copy(error: HopxError, sentence: str) -> None:
    """An error comes back from another process with its sentence and data."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  # our own
        assert type(again) is type(error)
        assert str(again) == sentence
        assert vars(again) == vars(error)


def test_a_handle_stays_behind() -> None:
    """OutputTooLarge pickles without its handle, which belongs to a connection."""
    error = errors.OutputTooLarge("stdout", 10, handle=object())
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own

    assert error.handle is not None
    assert again.handle is None


@each
def test_nothing_shadows_a_builtin(error: HopxError, sentence: str) -> None:
    """No error is named like a builtin, and none is a builtin TimeoutError."""
    assert sentence
    assert not hasattr(builtins, type(error).__name__)
    assert not isinstance(error, TimeoutError)


def test_codes_are_unique() -> None:
    """Each kind of error has a code of its own."""
    codes = {type(error).__name__: error.code for error, _ in EXAMPLES}

    assert len(set(codes.values())) == len(codes)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (errors.InvalidArgument, ValueError),
        (errors.MissingApiKey, ValueError),
        (errors.ClosedError, RuntimeError),
        (errors.BusyError, RuntimeError),
        (errors.MisuseError, RuntimeError),
        (errors.Unsupported, RuntimeError),
        (errors.BadCursor, errors.InvalidArgument),
        (errors.CommandLost, errors.CommandFailed),
    ],
)
def test_misuse_is_what_it_resembles(error: type[Exception], base: type[Exception]) -> None:
    """Wrong uses are also the builtin that they resemble."""
    assert issubclass(error, base)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ApiError, 400),
        (errors.AuthenticationError, 401),
        (errors.CommandNotFound, 404),
        (errors.ConflictError, 409),
        (errors.SpawnError, 422),
        (errors.RateLimited, 429),
        (errors.AgentFault, 500),
    ],
)
def test_answers_have_a_status(error: type[errors.ApiError], status: int) -> None:
    """Each kind of no has its HTTP status."""
    assert error.status == status


def test_a_subclass_keeps_the_code_of_its_base() -> None:
    """A user's own error needs no code."""

    class Mine(errors.ConflictError):
        pass

    assert (Mine.code, Mine("x").status) == ("conflict", 409)


def test_the_tree_is_drawn_as_it_is() -> None:
    """Every error stands in the drawing at the head of the module."""
    assert errors.__doc__ is not None
    assert [name for name in errors.__all__ if name not in errors.__doc__] == []
