"""A sandbox whose agent is HopX's own: its commands are kept by markers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hopx_async.client import AgentClient
from hopx_async.model import Capabilities
from hopx_async.protocol.rate import RateBudget
from hopx_async.sandbox import Lease, Sandbox
from hopx_async.transport.access import Access
from hopx_async.transport.hopx_shell import HopxShell
from hopx_async.transport.http_files import HttpFiles
from hopx_async.transport.marker_calls import facts as marker_facts
from hopx_async.transport.marker_host import PATIENCE
from hopx_async.transport.markers import MarkerTransport

__all__ = ["open_stock", "stock_capabilities"]


def stock_capabilities(facts: Mapping[str, Any]) -> Capabilities:
    """Return what such a sandbox can do.

    Args:
        facts: What its ``/info`` says; only its version is believed.
    """
    version = facts.get("version") or facts.get("agent_version") or "unknown"
    known = marker_facts()["capabilities"]
    return Capabilities(agent="stock", version=str(version)[:80], files=True, watch=True, **known)


async def open_stock(
    access: Access,
    sandbox_id: str,
    lease: Lease,
    facts: Mapping[str, Any],
    *,
    give_up_after: float,
) -> Sandbox:
    """Return the sandbox behind *access*, once markers can be laid down there.

    Cancelling it leaves no connection; what was begun to be laid down there stays.

    Args:
        access: The way to its agent; closed with the sandbox, and if that cannot be opened. It
            is given a `RateBudget` if it has none.
        sandbox_id: Its id.
        lease: How it ends.
        facts: What its ``/info`` says.
        give_up_after: Seconds without an answer after which calls, streams and waits fail.

    Raises:
        Unsupported: If it has no Perl, or runs no programs.
        ApiError: If it says no.
        AgentUnreachable: If nobody answered until the policy gave up.
    """
    # Never without: whoever asks too often is refused, and then every handle waits.
    access.budget = access.budget or RateBudget()
    transport = MarkerTransport(
        HopxShell(access),
        sandbox_id,
        files=HttpFiles(access),
        patience=min(PATIENCE, give_up_after),
    )
    client = AgentClient(transport, sandbox_id, give_up_after=give_up_after)
    try:
        await client.call("hello")
    except BaseException:
        await client.aclose()
        raise
    return Sandbox(client, lease, stock_capabilities(facts))
