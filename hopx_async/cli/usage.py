"""How arguments are understood, and how it is told that they are not: in one line."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import typer
import typer.core

from hopx_async.cli.output import complain
from hopx_async.cli.status import BAD_INPUT

__all__ = ["ARGV", "ArgvCommand", "Group"]

#: Where a context keeps what stood behind ``--``.
ARGV = "hopx_async.argv"
# typer has a click of its own in some versions, and not in others.
_UsageError: Any = typer.BadParameter.__bases__[0]


class ArgvCommand(typer.core.TyperCommand):
    """A command of ours that takes another program's arguments behind ``--``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what stands behind the first ``--``, whatever it looks like."""
        if "--" in args:
            place = args.index("--")
            ctx.meta[ARGV] = tuple(args[place + 1 :])
            args = args[:place]
        return super().parse_args(ctx, args)


class Group(typer.core.TyperGroup):
    """All commands of ours; wrong use of one is told in a line on stderr, with status 2."""

    def main(self, args: Any = None, *, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]  # nobody passes the others by place
        """Run the command that the arguments name, and exit with its status."""
        args = list(sys.argv[1:] if args is None else args)
        extra["prog_name"] = "hopx-async"  # however it was started
        try:
            status = super().main(args or ["--help"], standalone_mode=False, **extra)
        except _UsageError as error:
            complain(_explained(error, args))
            status = BAD_INPUT
        except (typer.Abort, KeyboardInterrupt):
            status = 130
        if standalone_mode:
            sys.exit(status)
        return status


def _explained(error: Any, args: list[str]) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message[:1].lower() + message[1:]
    context = error.ctx
    where = "" if context is None else " ".join(context.command_path.split()[1:])
    command = getattr(context, "command", None)
    if hasattr(error, "possibilities") and isinstance(command, ArgvCommand):
        example = _with_dashes(command, args, error.option_name)
        message += f"; if it is the command's own, put -- before that: {example}"
    return f"{message} (see hopx-async {where} --help)".replace("  ", " ")


def _with_dashes(command: Any, args: list[str], option: str) -> str:
    """Return the same line with ``--`` where the program's name seems to stand."""
    with_value = {
        name
        for parameter in command.params
        if not getattr(parameter, "is_flag", True)
        for name in parameter.opts
    }
    for place in range(1, len(args)):
        if not args[place].startswith("-") and args[place - 1] not in with_value:
            line = shlex.join(["hopx-async", *args[:place], "--", *args[place:]])
            if len(line) <= 100:
                return line
            break
    return f"hopx-async {args[0]} -- CMD {option}"
