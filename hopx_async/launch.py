"""One start: its handle, or nothing left of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import anyio

from hopx_async.client import AgentClient
from hopx_async.errors import HopxError
from hopx_async.handle import CommandHandle
from hopx_async.model import CommandInfo, CommandSpec

__all__ = ["UNDO_SECONDS", "started"]

#: Seconds in which a cancelled start learns what it has started, and ends it.
UNDO_SECONDS = 15.0


async def started(client: AgentClient, spec: CommandSpec, *, owned: bool) -> CommandHandle:
    """Start a command and return its handle; if cancelled, end it again.

    Args:
        client: The way to the far side.
        spec: What is to be started.
        owned: Whether nobody else can have asked for it.

    Raises:
        HopxError: As for `Commands.start`.
    """
    # A task of its own: if this await is cancelled, whether it started is still learned.
    call = asyncio.ensure_future(client.call("start", **spec.to_dict()))
    try:
        answer = await asyncio.shield(call)
    except asyncio.CancelledError:
        await _undo(client, call, spec.process_id, owned=owned)
        raise
    info = CommandInfo.from_dict(answer["info"])
    return CommandHandle(client, info, fresh=bool(answer.get("created")))


async def _undo(
    client: AgentClient, call: asyncio.Future[Any], process_id: str, *, owned: bool
) -> None:
    with anyio.CancelScope(shield=True):
        try:
            # If it never started, or nobody answers, there is nobody to tell but who cancelled.
            with contextlib.suppress(HopxError), anyio.move_on_after(UNDO_SECONDS):
                if owned:
                    await asyncio.wait([call])
                    await client.call("kill", process_id=process_id, grace=0.0)
        finally:
            # Also for who is cancelled once more: asyncio's own cancellations know no shield.
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
