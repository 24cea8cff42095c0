"""The arguments of the command line, by typer."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

import hopx_async
from hopx_async.cli.run import run_all, visible
from hopx_async.errors import HopxError

__all__ = ["app", "run", "version"]

app = typer.Typer(
    help="Background commands in sandboxes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    commands: Annotated[
        list[str],
        typer.Argument(metavar="CMD...", help="Each CMD is one background command, for bash -c."),
    ],
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds for each command; none by default.")
    ] = None,
) -> None:
    """Run commands at once in the current directory, and follow their output.

    The exit status is 0 if all completed, else that of the first that did not:
    its code, 124 for a time limit, 128 + n for signal n, 127 if it could not start,
    125 if its end is not known. 2 says that nothing was started.
    """
    try:
        status = asyncio.run(run_all(commands, timeout=timeout))
    except (HopxError, OSError) as error:
        print(visible(f"hopx-async: {error}"), file=sys.stderr)
        status = 2
    raise typer.Exit(status)


@app.command()
def version() -> None:
    """Print the version."""
    print(hopx_async.__version__)
