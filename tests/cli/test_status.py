"""Exit statuses."""

from __future__ import annotations

import pytest

from hopx_async.cli.status import error_status, exit_status
from hopx_async.errors import (
    AgentUnreachable,
    AuthenticationError,
    CommandNotFound,
    HopxError,
    InvalidArgument,
    SpawnError,
    SurvivorsLeft,
    Unsupported,
)
from hopx_async.model import Exit


@pytest.mark.parametrize(
    ("fate", "status"),
    [
        (Exit(reason="exited", exit_code=0), 0),
        (Exit(reason="exited", exit_code=42), 42),
        (Exit(reason="timed_out", signal="SIGKILL"), 124),
        (Exit(reason="timed_out", exit_code=0), 124),
        (Exit(reason="signaled", signal="SIGINT"), 130),
        (Exit(reason="signaled", signal="SIGRTMIN+3"), 128),
        (Exit(reason="killed", exit_code=0), 1),
        (Exit(reason="killed", exit_code=7), 7),
        (Exit(reason="lost"), 125),
        (SpawnError("no"), 127),
        (AgentUnreachable("nobody"), 125),
        (Unsupported("no terminals"), 2),
        (InvalidArgument("a", "b", "c"), 2),
        (None, 125),
    ],
)
def test_an_end_becomes_an_exit_status(fate: Exit | HopxError | None, status: int) -> None:
    """A fate becomes what a shell would say; only a completed command is 0."""
    assert exit_status(fate) == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidArgument("a", "b", "c"), 2),
        (Unsupported("not here"), 2),
        (CommandNotFound("cmd_x"), 2),
        (FileNotFoundError(2, "no such file"), 2),
        (SpawnError("no"), 127),
        (AuthenticationError("no"), 125),
        (AgentUnreachable("nobody"), 125),
        (SurvivorsLeft("cmd_x", [(1, "cat")]), 125),
    ],
)
def test_an_error_becomes_an_exit_status(error: HopxError | OSError, status: int) -> None:
    """Bad input is 2, trouble with the agent is 125, what cannot start is 127."""
    assert error_status(error) == status
