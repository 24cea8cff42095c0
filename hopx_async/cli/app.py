"""The arguments of the command line, by typer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

import hopx_async
from hopx_async.cli import manage
from hopx_async.cli.execute import execute
from hopx_async.cli.options import (
    AsJson,
    Env,
    SandboxId,
    Timeout,
    TokenFile,
    Url,
    WorkingDir,
    commands_of,
    finish,
    there,
    variables,
)
from hopx_async.cli.output import is_terminal
from hopx_async.cli.place import Isolation, find_place
from hopx_async.cli.run import Style, run_all
from hopx_async.cli.sandboxes import sandboxes
from hopx_async.cli.serve import AGENTS, run_server
from hopx_async.cli.usage import ArgvCommand, Group
from hopx_async.model import CommandSpec, Status
from hopx_async.protocol import lifecycle
from hopx_async.sandbox import Sandbox

__all__ = ["app", "exec_", "kill", "logs", "ps", "run", "serve", "start", "version", "wait"]

app = typer.Typer(
    cls=Group,
    help="Background commands in sandboxes.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(hopx_async.__version__)
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Tell the version."),
    ] = False,
) -> None: ...


app.add_typer(sandboxes, name="sandboxes")

_CMD = "Each CMD is one background command, for bash -c; behind -- stands one program, as it is."
_ONE = "One background command, for bash -c; behind -- one program with its arguments, as it is."
_REF = "The id of a command, or its name."


@app.command(cls=ArgvCommand)
def run(
    context: typer.Context,
    *,
    commands: Annotated[list[str] | None, typer.Argument(metavar="CMD...", help=_CMD)] = None,
    timeout: Timeout = None,
    env: Env = None,
    working_dir: WorkingDir = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="N", help="A name for the first command; again, for the next."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON, one a line.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Only output: no table, prefixes or summary.")
    ] = False,
    isolation: Annotated[
        Isolation, typer.Option(help="What commands see of this machine: namespace hides it.")
    ] = "none",
    internet: Annotated[
        bool, typer.Option("--internet/--no-internet", help="No network; needs isolation.")
    ] = True,
    url: Url = None,
    token_file: TokenFile = None,
    sandbox_id: SandboxId = None,
) -> None:
    """Run commands at once, here, and follow their output.

    On a terminal a table shows them live, and their outputs follow; else lines are
    prefixed as they come. Ctrl-C ends them all, a second one without grace.

    The exit status is 0 if all completed, else that of the first that did not:
    its code, 124 for a time limit, 128 + n for signal n, 127 if it could not start,
    125 for trouble with the agent. 2 says that nothing was started.
    """
    wanted = commands_of(context, commands)
    style: Style = "table" if is_terminal() else "lines"
    if quiet or as_json:
        style = "json" if as_json else "quiet"

    async def main() -> int:
        place = find_place(
            url,
            token_file,
            sandbox_id=sandbox_id,
            needed=False,
            isolation=isolation,
            internet_access=internet,
        )
        options: dict[str, Any] = {
            "timeout": timeout,
            "env": variables(env),
            "working_dir": working_dir,
        }
        return await run_all(wanted, names=name or (), place=place, style=style, **options)

    raise typer.Exit(finish(main))


@app.command(cls=ArgvCommand)
def start(
    context: typer.Context,
    *,
    command: Annotated[list[str] | None, typer.Argument(metavar="CMD", help=_ONE)] = None,
    timeout: Timeout = None,
    env: Env = None,
    working_dir: WorkingDir = None,
    name: Annotated[str | None, typer.Option(metavar="N", help="A name to find it by.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    token_file: TokenFile = None,
    sandbox_id: SandboxId = None,
) -> None:
    """Start one command in a sandbox that runs, and print its id."""
    wanted = commands_of(context, command)
    if len(wanted) > 1:
        context.fail("one command only; quote it, or put -- before it")

    async def action(sandbox: Sandbox) -> int:
        return await manage.start(sandbox, wanted[0], as_json=as_json, **options)

    def check() -> None:
        options.update(timeout=timeout, env=variables(env), working_dir=working_dir, name=name)
        CommandSpec.make(wanted[0], **options)

    options: dict[str, Any] = {}
    raise typer.Exit(there(action, url, token_file, sandbox_id, check))


@app.command()
def ps(
    status: Annotated[
        str | None,
        typer.Option(metavar="S", help=f"Only those that are {', '.join(get_args(Status))}."),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token_file: TokenFile = None,
    sandbox_id: SandboxId = None,
) -> None:
    """List the commands of a sandbox that runs, oldest first."""

    async def action(sandbox: Sandbox) -> int:
        wanted: Any = status  # checked there
        return await manage.ps(sandbox, status=wanted, as_json=as_json)

    raise typer.Exit(there(action, url, token_file, sandbox_id))


@app.command()
def logs(
    command: Annotated[str, typer.Argument(metavar="COMMAND", help=_REF)],
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on up to the command's end.")
    ] = False,
    last: Annotated[
        int | None, typer.Option(metavar="N", help="Begin with the last N lines.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token_file: TokenFile = None,
    sandbox_id: SandboxId = None,
) -> None:
    """Print a command's output, what it wrote to stderr to stderr."""

    async def action(sandbox: Sandbox) -> int:
        return await manage.logs(sandbox, command, follow=follow, last=last, as_json=as_json)

    raise typer.Exit(there(action, url, token_file, sandbox_id))


@app.command()
def wait(
    command: Annotated[str, typer.Argument(metavar="COMMAND", help=_REF)],
    *,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not say how it ended.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token_file: TokenFile = None,
    sandbox_id: SandboxId = None,
) -> None:
    """Wait until a command has ended, and exit with its status."""

    async def action(sandbox: Sandbox) -> int:
        return await manage.wait(sandbox, command, quiet=quiet, as_json=as_json)

    raise typer.Exit(there(action, url, token_file, sandbox_id))


@app.command()
def kill(
    commands: Annotated[list[str], typer.Argument(metavar="COMMAND...", help=_REF)],
    *,
    grace: Annotated[
        float, typer.Option(metavar="S", help="Seconds between TERM and KILL.")
    ] = lifecycle.GRACE,
    as_json: AsJson = False,
    url: Url = None,
    token_file: TokenFile = None,
    sandbox_id: SandboxId = None,
) -> None:
    """End commands with everything they started.

    It returns when nothing of them is left, or says in one line what is.
    """

    async def action(sandbox: Sandbox) -> int:
        return await manage.kill(sandbox, commands, grace, as_json=as_json)

    raise typer.Exit(there(action, url, token_file, sandbox_id))


@app.command("exec", cls=ArgvCommand)
def exec_(
    context: typer.Context,
    *,
    command: Annotated[list[str] | None, typer.Argument(metavar="CMD", help=_ONE)] = None,
    timeout: Timeout = None,
    env: Env = None,
    working_dir: WorkingDir = None,
    name: Annotated[str | None, typer.Option(metavar="N", help="A name for it.")] = None,
    pty: Annotated[
        bool, typer.Option("--pty", "-t", help="Lend it this terminal: keys, size and all.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON, one a line.")
    ] = False,
    url: Url = None,
    token_file: TokenFile = None,
    sandbox_id: SandboxId = None,
) -> None:
    """Run one command in a sandbox that runs, as if it were here.

    It gets what is piped in here as its stdin; its output is printed as it comes; the exit
    status is its own. Ctrl-C ends it with everything it started; with --pty it is a key
    like any other, and goes to the command.
    """
    wanted = commands_of(context, command)
    if len(wanted) > 1:
        context.fail("one command only; quote it, or put -- before it")

    async def main() -> int:
        place = find_place(url, token_file, sandbox_id=sandbox_id, needed=True)
        options = {"timeout": timeout, "env": variables(env), "working_dir": working_dir}
        return await execute(wanted[0], place, name=name, as_json=as_json, pty=pty, **options)

    raise typer.Exit(finish(main))


@app.command()
def serve(
    *,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where the server and its agents listen.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="0 for any that is free.")
    ] = 8765,
    state_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keeps the sandboxes; by default they go with it."),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keys, one a line; by default one is made."),
    ] = None,
    max_sandboxes: Annotated[
        int, typer.Option(metavar="N", help="How many there may be at a time.")
    ] = 64,
    isolation: Annotated[
        str, typer.Option(metavar="WAY", help="none, namespace or auto: what surrounds each.")
    ] = "none",
    agent: Annotated[
        str, typer.Option(metavar="KIND", help=f"One of {', '.join(AGENTS)}.")
    ] = "ours",
    announce: Annotated[
        bool, typer.Option("--announce", help="Print url and key as one line of JSON.")
    ] = False,
) -> None:
    """Serve HopX's own interface on this machine, for its official clients.

    Commands run as this user, isolated if --isolation says so. SIGTERM or Ctrl-C ends all of them.
    """

    async def main() -> int:
        return await run_server(
            host=host,
            port=port,
            state_dir=None if state_dir is None else state_dir.resolve(),
            key_file=api_key_file,
            max_sandboxes=max_sandboxes,
            isolation=isolation,
            agent=agent,
            announce=announce,
        )

    raise typer.Exit(finish(main))


@app.command()
def version() -> None:
    """Print the version."""
    print(hopx_async.__version__)
