"""A far side behind a transport of the caller's own."""

from __future__ import annotations

from typing import Any

from hopx_async.arguments import check_seconds
from hopx_async.errors import InvalidArgument
from hopx_async.opening import Opening
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.providers.remote import Elsewhere, open_transport
from hopx_async.sandbox import Lease, Sandbox
from hopx_async.transport.base import Transport

__all__ = ["through"]


def through(
    transport: Transport, *, lease: Lease | None = None, give_up_after: float = GIVE_UP_AFTER
) -> Opening[Sandbox]:
    """Open the sandbox that a transport of your own leads to.

    The transport carries calls and frames, as ``hopx_async.transport.base`` says; replay, flow
    control and retries are done above it. Its ``hello`` says whose sandbox it is and what it
    can do. ``hopx_async.testing.contract`` checks a transport.

    Args:
        transport: Closed with the sandbox, or when it cannot be opened.
        lease: Ends what this use of the sandbox owns: its ``release`` is called when the sandbox
            is closed, its ``kill`` by ``sandbox.kill()``; None for one that is not ours to end.
        give_up_after: Seconds without an answer after which calls, streams and waits fail.

    Raises:
        InvalidArgument: If *transport* is none; raised by the call.
        AgentUnreachable: If nobody answered until the policy gave up.
        RemoteProtocolError: If what answers is no agent of ours.
    """
    checked: Any = transport
    if not isinstance(checked, Transport):
        rule = "a Transport of hopx_async.transport.base"
        raise InvalidArgument("transport", type(checked).__name__, rule)
    check_seconds("give_up_after", give_up_after)
    ours = lease or Elsewhere()
    return Opening(open_transport(transport, ours, give_up_after=give_up_after))
