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
from hopx_async.transport.open_calls import Sent
from hopx_async.transport.patience import passes

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
    params = spec.to_dict()
    # Shielded: if this await is cancelled, whether it started is still learned. Where the socket
    # is up and has room that takes no task.
    sent = client.send("start", params)
    call = _asked(client, params) if sent is None else sent.answer
    try:
        try:
            answer = await asyncio.shield(call)
        except HopxError as error:
            if sent is None or not passes(error):
                raise
            # From here on it is asked for as often as need be: one id starts once.
            sent, call = None, _asked(client, params)
            answer = await asyncio.shield(call)
    except asyncio.CancelledError:
        undo = client.own(_undo(client, sent, call, params, owned=owned))
        # Who is cancelled once more goes at once (asyncio's own cancellations know no shield);
        # the undoing goes on.
        with anyio.CancelScope(shield=True):
            await asyncio.wait([undo])
        raise
    info = CommandInfo.from_dict(answer["info"])
    return CommandHandle(client, info, fresh=bool(answer.get("created")))


def _asked(client: AgentClient, params: dict[str, Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(client.call("start", **params))


async def _learn(client: AgentClient, sent: Sent, params: dict[str, Any]) -> Any:
    """Return the answer to what was sent, or ask again if it was lost."""
    try:
        return await sent.answer
    except HopxError as error:
        if not passes(error):
            raise
    return await client.call("start", **params)


async def _undo(
    client: AgentClient,
    sent: Sent | None,
    call: asyncio.Future[Any],
    params: dict[str, Any],
    *,
    owned: bool,
) -> None:
    if sent is not None:
        call = asyncio.ensure_future(_learn(client, sent, params))
    try:
        # If it never started, or nobody answers, there is nobody to tell but who cancelled.
        with contextlib.suppress(HopxError), anyio.move_on_after(UNDO_SECONDS):
            if owned:
                await asyncio.wait([call])
                await client.call("kill", process_id=params["process_id"], grace=0.0)
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        if sent is not None:
            client.forget(sent)
