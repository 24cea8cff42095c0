"""What several commands of the command line are told alike."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from hopx_async.cli.job import Command
from hopx_async.cli.output import complain, forget_output
from hopx_async.cli.place import URL_VARIABLE, find_place
from hopx_async.cli.status import SIGNALED, error_status
from hopx_async.cli.usage import ARGV
from hopx_async.errors import HopxError, InvalidArgument
from hopx_async.sandbox import Sandbox

__all__ = [
    "AsJson",
    "Env",
    "SandboxId",
    "Timeout",
    "TokenFile",
    "Url",
    "WorkingDir",
    "commands_of",
    "finish",
    "there",
    "variables",
]

Timeout = Annotated[
    float | None, typer.Option(metavar="S", help="Seconds for each command; none by default.")
]
Env = Annotated[
    list[str] | None,
    typer.Option(metavar="K=V", help="A variable; K alone hands on its value. Repeatable."),
]
WorkingDir = Annotated[
    str | None, typer.Option(metavar="DIR", help="Where commands run, relative to the workspace.")
]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", envvar=URL_VARIABLE, help="An agent that runs already."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Holds the agent's token, else HOPX_AGENT_TOKEN does."),
]
SandboxId = Annotated[
    str | None,
    typer.Option(
        "--sandbox", metavar="ID", help="A sandbox of the service; HOPX_SANDBOX by default."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one a line.")]


def commands_of(context: typer.Context, texts: list[str] | None) -> list[Command]:
    """Return the commands that are named, those behind ``--`` among them."""
    commands: list[Command] = list(texts or ())
    if context.meta.get(ARGV):
        commands.append(context.meta[ARGV])
    if not commands:
        context.fail("Missing argument 'CMD'")
    return commands


def variables(assignments: list[str] | None) -> dict[str, str]:
    """Return what ``--env`` says; a value that is a secret need not stand among the arguments."""
    told = {}
    for assignment in assignments or ():
        name, given, value = assignment.partition("=")
        if not given and name not in os.environ:
            raise InvalidArgument("--env", name, "it is not set here, so say NAME=VALUE")
        told[name] = value if given else os.environ[name]
    return told


def there(
    action: Callable[[Sandbox], Awaitable[int]],
    url: str | None,
    token_file: Path | None,
    sandbox_id: str | None,
    check: Callable[[], object] = lambda: None,
) -> int:
    """Do something in the sandbox that is named, and return the exit status."""

    async def main() -> int:
        place = find_place(url, token_file, sandbox_id=sandbox_id, needed=True)
        check()
        sandbox = await place.open()
        try:
            return await action(sandbox)
        finally:
            await sandbox.aclose()

    return finish(main)


def finish(main: Callable[[], Awaitable[int]]) -> int:
    """Run a program of ours, and return its exit status whatever happens."""

    async def coroutine() -> int:
        return await main()

    try:
        return asyncio.run(coroutine())
    except BrokenPipeError:
        forget_output()
        return SIGNALED + signal.SIGPIPE
    except (HopxError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EIO:
            forget_output()  # the terminal has gone
            return SIGNALED + signal.SIGHUP
        complain(error)
        return error_status(error)
    except KeyboardInterrupt:
        return SIGNALED + signal.SIGINT
