"""``hopx-async sandboxes``: those of the service, or of ``hopx-async serve``."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import anyio
import attrs
import typer
from rich.console import Console

from hopx_async.cli.options import AsJson, Env, finish, variables
from hopx_async.cli.output import complain, visible
from hopx_async.cli.place import CLOUD_DOOR_SECONDS
from hopx_async.cli.status import error_status
from hopx_async.cli.table import SandboxRow, draw, sandboxes_table
from hopx_async.errors import HopxError
from hopx_async.protocol.cloud import SandboxInfo
from hopx_async.providers.cloud import Client
from hopx_async.sandbox import Sandbox

__all__ = ["create", "kill", "list_", "sandboxes"]

# Wider than any table, which is never cut.
_UNCUT = 1_000_000

sandboxes = typer.Typer(
    help="List sandboxes of the service, create and delete them.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@sandboxes.callback()
def list_(
    context: typer.Context,
    status: Annotated[
        str | None, typer.Option(metavar="S", help="Only those that are running, paused, ...")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the sandboxes of the account.

    HOPX_API_KEY is the key; HOPX_BASE_URL another service, such as hopx-async serve.
    """
    if context.invoked_subcommand is not None:
        return

    async def main() -> int:
        async with Client(give_up_after=CLOUD_DOOR_SECONDS) as client:
            # The service has been seen to ignore what it is asked for.
            infos = [
                info
                async for info in client.list_sandboxes(status=status)
                if status in {None, info.status}
            ]
        _show(infos, as_json=as_json)
        return 0

    raise typer.Exit(finish(main))


@sandboxes.command()
def create(
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="What it is made of.")
    ] = "code-interpreter",
    *,
    region: Annotated[str | None, typer.Option(metavar="R", help="Where it is to be.")] = None,
    timeout_seconds: Annotated[
        int | None, typer.Option(metavar="N", help="Seconds after which it is deleted.")
    ] = None,
    env: Env = None,
    internet: Annotated[bool, typer.Option("--internet/--no-internet")] = True,
    as_json: AsJson = False,
) -> None:
    """Create a sandbox that stays, and print its id once it can be used."""

    async def main() -> int:
        sandbox = await Sandbox.create(
            template,
            region=region,
            timeout_seconds=timeout_seconds,
            env_vars=variables(env) or None,
            internet_access=None if internet else False,
            detached=True,
            give_up_after=CLOUD_DOOR_SECONDS,
        )
        try:
            if as_json:
                print(json.dumps(attrs.asdict(await sandbox.get_info())), flush=True)
            else:
                print(sandbox.sandbox_id, flush=True)
        finally:
            await sandbox.aclose()
        return 0

    raise typer.Exit(finish(main))


@sandboxes.command()
def kill(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Sandboxes.")],
    as_json: AsJson = False,
) -> None:
    """Delete sandboxes with everything in them."""

    async def main() -> int:
        statuses = [0]
        async with Client(give_up_after=CLOUD_DOOR_SECONDS) as client:

            async def end(sandbox_id: str) -> None:
                try:
                    await client.kill_sandbox(sandbox_id)
                except HopxError as error:  # it keeps no other from being deleted
                    complain(error)
                    statuses.append(error_status(error))
                    return
                if as_json:
                    print(json.dumps({"sandbox_id": sandbox_id, "status": "deleted"}), flush=True)
                else:
                    print(visible(f"{sandbox_id}: deleted"), file=sys.stderr)

            async with anyio.create_task_group() as group:
                for sandbox_id in ids:
                    group.start_soon(end, sandbox_id)
        return max(statuses)

    raise typer.Exit(finish(main))


def _show(infos: list[SandboxInfo], *, as_json: bool) -> None:
    if as_json:
        for info in infos:
            print(json.dumps(attrs.asdict(info)))
        sys.stdout.flush()
        return
    now = time.time()
    rows = [
        SandboxRow(
            info.sandbox_id,
            info.status,
            info.template_name or info.template_id,
            info.region,
            None if info.created_at is None else max(0.0, now - info.created_at),
            None if info.expires_at is None else max(0.0, info.expires_at - now),
        )
        for info in infos
    ]
    terminal = sys.stdout.isatty()
    draw(sandboxes_table(rows), Console(highlight=False, width=None if terminal else _UNCUT))
