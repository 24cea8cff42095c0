"""One program by HopX's ``POST /commands/run``: what is asked, and what the answer means. Pure.

The route runs argv without a shell; the working directory counts as ``workdir`` only; a
far side that has no such route answers 200 and talks about itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hopx_async.errors import (
    ApiError,
    HopxError,
    InvalidArgument,
    PathNotAllowed,
    RemoteProtocolError,
    RequestTimeout,
    Unsupported,
)
from hopx_async.protocol import lifecycle
from hopx_async.protocol.envelopes import read_json
from hopx_async.protocol.file_answers import is_catch_all, refusal

__all__ = ["MAX_RUN_BYTES", "RUN_PATH", "Ran", "read_run", "run_request"]

#: The route.
RUN_PATH = "/commands/run"
#: Bytes of arguments and variables together; ``execve`` takes about 2 MiB.
MAX_RUN_BYTES = 1536 * 1024
_SHOWN = 200
_TIMEOUT = 408


class Ran(NamedTuple):
    """What a program printed and how it ended, as the far side tells it."""

    stdout: str
    stderr: str
    exit_code: int


def run_request(
    argv: Sequence[str], env: Mapping[str, str], *, seconds: float, workdir: str
) -> dict[str, Any]:
    """Return the body that runs a program.

    Args:
        argv: The program and its arguments.
        env: Variables on top of the far side's own.
        seconds: After how many the far side is to end it; whole ones travel, rounded up.
        workdir: Where it runs.

    Raises:
        InvalidArgument: If the far side's ``execve`` could not take it.
    """
    program, *arguments = argv
    texts = [*argv, *(f"{name}={value}" for name, value in env.items())]
    sizes = [len(text.encode()) for text in texts]
    if max(sizes) > lifecycle.MAX_TEXT_BYTES or sum(sizes) > MAX_RUN_BYTES:
        most, all_of_them = lifecycle.MAX_TEXT_BYTES, MAX_RUN_BYTES
        rule = f"at most {most} bytes in one argument or variable, {all_of_them} together"
        raise InvalidArgument("argv", f"{max(sizes)} and {sum(sizes)} bytes", rule)
    return {
        "command": program,
        "args": arguments,
        "timeout": max(1, math.ceil(seconds)),
        "workdir": workdir,
        "env": dict(env),
    }


def read_run(
    status: int, body: bytes, *, retry_after: str | None = None, request_id: str | None = None
) -> Ran:
    """Return what an answer says that a program did.

    Args:
        status: HTTP status of the answer.
        body: Its body.
        retry_after: Its header ``Retry-After``.
        request_id: Its header ``X-Request-ID``.

    Raises:
        RateLimited: If it was refused for now.
        AgentFault: If the far side failed; the program may have run.
        RequestTimeout: If the program ran too long; it has run.
        ApiError: If the far side says no.
        Unsupported: If it has no such route.
        RemoteProtocolError: If it is no answer.
    """
    value = read_json(body)
    # A 500 may carry all that a 200 does: then the program ran, and said so.
    ran = _ran(value) if isinstance(value, dict) and (status == 200 or status >= 500) else None
    if ran is not None:
        return ran
    if status >= 400:
        raise _refused(status, body, retry_after, request_id)
    if is_catch_all(value):
        raise Unsupported(f"the far side has no {RUN_PATH}: {body[:_SHOWN]!r}")
    raise RemoteProtocolError(f"no answer of {RUN_PATH}: status {status}, {body[:_SHOWN]!r}")


def _ran(value: dict[str, Any]) -> Ran | None:
    code, out, err = value.get("exit_code"), value.get("stdout"), value.get("stderr")
    if not isinstance(code, int) or not isinstance(out, str) or not isinstance(err, str | None):
        return None
    return Ran(out, err or "", code)


def _refused(
    status: int, body: bytes, retry_after: str | None, request_id: str | None
) -> HopxError:
    error = refusal(status, body, retry_after=retry_after, request_id=request_id)
    if status == _TIMEOUT:
        return RequestTimeout(f"the far side has ended the program: {error}")
    if isinstance(error, PathNotAllowed):  # it is not about a file of ours
        return ApiError(error.message, status=status, request_id=error.request_id)
    return error
