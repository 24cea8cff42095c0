"""The way from what the service says of a sandbox to the agent in it."""

# ruff: noqa: SLF001  # a client, its doors and its leases are one thing in four files

from __future__ import annotations

from hopx_async.errors import ConflictError, SandboxNotFound
from hopx_async.protocol.cloud import SandboxInfo
from hopx_async.providers.cloud import Client
from hopx_async.transport.cloud_access import CloudAccess

__all__ = ["access_to"]


def access_to(client: Client, info: SandboxInfo) -> CloudAccess:
    """Return the way to the agent of a sandbox that runs; the token is the client's.

    Raises:
        RemoteProtocolError: If the service did not say where the agent is.
    """
    sandbox_id = info.sandbox_id

    async def is_running() -> bool:
        found = await client._settled(sandbox_id)
        if found.status in {"running", "paused"}:
            return found.status == "running"
        if found.status in {"deleted", "killed"}:
            raise SandboxNotFound(f"sandbox {sandbox_id} is {found.status}")
        raise ConflictError(f"sandbox {sandbox_id} is {found.status}")

    box = client._tokens.of(sandbox_id)
    return CloudAccess(client._plane, box, info.public_host, is_running)
