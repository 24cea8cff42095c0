"""``hopx-async exec``: one command in a sandbox that runs, as if it were here."""

from __future__ import annotations

import os
import stat
import sys
from functools import partial
from typing import Any

from hopx_async.cli.intake import intake
from hopx_async.cli.job import Command
from hopx_async.cli.place import Place
from hopx_async.cli.run import Feed, run_all
from hopx_async.cli.terminal import Terminal
from hopx_async.errors import InvalidArgument, StdinClosed
from hopx_async.handle import CommandHandle
from hopx_async.protocol import lifecycle

__all__ = ["execute", "feed", "piped"]


async def execute(
    command: Command,
    place: Place,
    *,
    name: str | None,
    as_json: bool,
    pty: bool = False,
    **options: Any,
) -> int:
    """Run a command, give it what is piped in here, print its output, return its status.

    Args:
        command: A text for bash, or the arguments of one program.
        place: The sandbox.
        name: Its name, None for none.
        as_json: Print events instead of output.
        pty: Lend it the terminal that this runs on.
        options: As for `Commands.start`.

    Raises:
        InvalidArgument: If something breaks a rule; nothing was started.
        Unsupported: If something is piped in, and the sandbox cannot pass it on.
        HopxError: If the sandbox could not be reached.
    """
    names = () if name is None else (name,)
    if pty:
        if as_json:
            raise InvalidArgument("--json", "True", "what a terminal shows is no JSON; not --pty")
        terminal = Terminal()
        options["env"] = {**_kind_of_terminal(), **(options.get("env") or {})}
        return await run_all(
            [command],
            names=names,
            place=place,
            style="quiet",
            feed=terminal.lend,
            show=terminal.show,
            pty=terminal.size(),
            **options,
        )
    source = piped()
    given: Feed | None = None
    if source is not None:
        given, options["stdin"] = partial(feed, source), True
    return await run_all(
        [command],
        names=names,
        place=place,
        style="json" if as_json else "quiet",
        feed=given,
        **options,
    )


def _kind_of_terminal() -> dict[str, str]:
    return {"TERM": os.environ["TERM"]} if os.environ.get("TERM") else {}


def piped() -> int | None:
    """Return the descriptor of what is piped in: a pipe, a file or a socket; None for nothing.

    A terminal is nothing, for who types there need not mean the command; neither is /dev/null.
    """
    try:
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
    except (AttributeError, OSError, ValueError):
        return None  # there is none
    return descriptor if any(kind(mode) for kind in _PIPED) else None


_PIPED = (stat.S_ISFIFO, stat.S_ISREG, stat.S_ISSOCK)


async def feed(source: int, handle: CommandHandle) -> None:
    """Send what comes from a descriptor to a command, up to its end; no more than it takes.

    Cancelling it is safe: what was read and not sent is lost, as in a pipe whose reader has gone.
    Who else reads from the same pipe gets what this one does not.
    """
    try:
        with intake(source) as given:
            while data := await given.read(lifecycle.STDIN_BYTES):
                await handle.send_stdin(data)
        await handle.close_stdin()
    except StdinClosed:
        pass  # it does not want any more
