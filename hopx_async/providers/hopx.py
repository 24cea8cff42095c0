"""Sandboxes of the HopX service: created, or found again, and how each of them ends."""

# ruff: noqa: SLF001  # a client, its doors and its leases are one thing in four files

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from hopx_async.arguments import check_seconds
from hopx_async.errors import (
    AgentUnreachable,
    ConflictError,
    HopxError,
    InvalidArgument,
    RemoteProtocolError,
    SandboxNotFound,
    TlsError,
)
from hopx_async.model import refuse
from hopx_async.protocol import cloud, lifecycle
from hopx_async.protocol.cloud import SandboxInfo
from hopx_async.providers.cloud import Client
from hopx_async.providers.creating import CREATE_VARIABLE, Wish, created
from hopx_async.providers.reaching import access_to
from hopx_async.providers.remote import open_agent
from hopx_async.providers.stock import open_stock
from hopx_async.sandbox import Sandbox
from hopx_async.secret import plain_env
from hopx_async.transport.cloud_access import CloudAccess, TokenBox, ask_agent
from hopx_async.transport.patience import Patience

__all__ = ["KILL_SECONDS", "CloudLease", "open_created", "open_known", "our_client", "wish_of"]

#: Seconds in which a sandbox is deleted at its end, or an error says that it may be left.
KILL_SECONDS = 30.0
_log = logging.getLogger("hopx_async")


def our_client(
    client: Client | None, api_key: str | None, base_url: str | None, give_up_after: float
) -> tuple[Client, bool]:
    """Return the client of a door, and whether it is the door's own.

    Raises:
        InvalidArgument: If both a client and what would make one are given.
        MissingApiKey: If there is no key.
    """
    check_seconds("give_up_after", give_up_after)
    if client is None:
        return Client(api_key=api_key, base_url=base_url, give_up_after=give_up_after), True
    if not isinstance(client, Client):
        raise InvalidArgument("client", type(client).__name__, "a hopx_async.Client")
    for name, value in (("api_key", api_key), ("base_url", base_url)):
        if value is not None:
            raise InvalidArgument(name, "(given)", "either client, or what makes one")
    return client, False


def wish_of(
    template: object,
    template_id: object,
    *,
    region: object,
    timeout_seconds: object,
    internet_access: object,
    env_vars: Mapping[str, Any] | None,
) -> Wish:
    """Return what is asked of the service.

    Raises:
        InvalidArgument: If an argument breaks a rule; values of variables are not shown.
    """
    body: dict[str, Any] = {}
    if template_id is not None:
        number = isinstance(template_id, int) and not isinstance(template_id, bool)
        text = str(template_id) if number else template_id
        body["template_id"] = cloud.check_id("template_id", text)
    else:
        body["template_name"] = cloud.check_id("template", template)
    if region is not None:
        body["region"] = cloud.check_id("region", region)
    if timeout_seconds is not None:
        body["timeout_seconds"] = cloud.check_timeout(timeout_seconds)
    if internet_access is not None:
        if not isinstance(internet_access, bool):
            raise InvalidArgument("internet_access", repr(internet_access)[:80], "True or False")
        body["internet_access"] = internet_access
    return Wish(body=body, env_vars=_variables(env_vars))


def _variables(env_vars: Mapping[str, Any] | None) -> dict[str, str]:
    if env_vars is None:
        return {}
    if not isinstance(env_vars, Mapping):
        raise InvalidArgument("env_vars", type(env_vars).__name__, "it maps names to texts")
    plain, _ = plain_env(env_vars)
    refuse(lifecycle.problem_with_env(plain, "env_vars"))
    for name, value in plain.items():
        if value is None:
            raise InvalidArgument(f"env_vars[{name!r}]", "None", "a text")
        if name == CREATE_VARIABLE:
            raise InvalidArgument("env_vars", repr(name), "this library's own")
    return plain


async def open_created(
    client: Client, own: bool, wish: Wish, *, detached: bool, give_up_after: float
) -> Sandbox:
    """Create a sandbox and open it; cancelled or failed, nothing of it is left.

    Raises:
        HopxError: As for ``Sandbox.create``.
    """
    try:
        info, box = await created(client, wish)
    except BaseException:
        if own:
            await client.aclose()
        raise
    lease = CloudLease(client, info.sandbox_id, box, detached=detached, own=own)
    try:
        if info.status != "running" or not info.public_host:
            info = await _running(client, info.sandbox_id)
        return await _open(client, info, lease, give_up_after, wish.env_vars)
    except BaseException:
        await lease.abandon()
        raise


async def open_known(
    client: Client, own: bool, sandbox_id: str, *, give_up_after: float
) -> Sandbox:
    """Open a sandbox that is there; one that is paused is resumed.

    Raises:
        HopxError: As for ``Sandbox.connect``.
    """
    try:
        info = await _running(client, sandbox_id)
        box = client._tokens.of(sandbox_id)
        lease = CloudLease(client, sandbox_id, box, detached=True, own=own)
        sandbox = await _open(client, info, lease, give_up_after)
    except BaseException:
        if own:
            await client.aclose()
        raise
    client._known.append(sandbox_id)
    return sandbox


async def _running(client: Client, sandbox_id: str) -> SandboxInfo:
    """Return what is known of a sandbox once it runs.

    Raises:
        ConflictError: If it is neither running nor paused.
    """
    info = await client._settled(sandbox_id)
    if info.status == "paused":
        info = await client._turn(sandbox_id, "resume", "running")
        client._tokens.of(sandbox_id).clear()  # the old one has gone with the pause
    if info.status != "running":
        rule = "only one that runs or is paused can be opened"
        raise ConflictError(f"sandbox {sandbox_id} is {info.status}: {rule}")
    return info


async def _open(
    client: Client,
    info: SandboxInfo,
    lease: CloudLease,
    give_up_after: float,
    env_vars: Mapping[str, str] | None = None,
) -> Sandbox:
    access = access_to(client, info)
    lease.access, lease.public_host = access, info.public_host
    patience = Patience(access.name, give_up_after)
    facts = await patience.call(
        lambda: ask_agent(access, "GET", "/info"), client._plane.check, polite=True
    )
    if cloud.is_ours(facts):
        sandbox = await open_agent(access, lease, give_up_after=give_up_after)
    else:
        sandbox = await open_stock(
            access, info.sandbox_id, lease, facts, give_up_after=give_up_after
        )
        if env_vars:
            try:
                await _tell_variables(access, env_vars, patience, client._plane.check)
            except BaseException:
                await sandbox.aclose()
                raise
    if sandbox.sandbox_id != info.sandbox_id:
        await sandbox.aclose()
        raise RemoteProtocolError(
            f"{access.name} is the agent of {sandbox.sandbox_id}, not of {info.sandbox_id}"
        )
    if lease.own:
        access.closers.append(client.aclose)  # not before: what fails still needs it
    return sandbox


async def _tell_variables(
    access: CloudAccess,
    env_vars: Mapping[str, str],
    patience: Patience,
    check: Callable[[], None],
) -> None:
    """Give a stock agent its variables: the service does not push them there itself."""
    body = {"env_vars": dict(env_vars), "merge": True}
    await patience.call(lambda: ask_agent(access, "PATCH", "/env", body), check, polite=True)


class CloudLease:
    """What ends a sandbox of the service, and what else its control plane does with it.

    Args:
        client: The way to the control plane.
        sandbox_id: The sandbox.
        box: Its token.
        detached: Whether it goes on when it is closed.
        own: Whether the client is closed with it.

    Attributes:
        access: The way to its agent, once there is one.
        public_host: That agent's URL.
    """

    def __init__(
        self, client: Client, sandbox_id: str, box: TokenBox, *, detached: bool, own: bool
    ) -> None:
        self._client = client
        self._sandbox_id = sandbox_id
        self._box = box
        self._detached = detached
        self._gone = False
        self.own = own
        self.access: CloudAccess | None = None
        self.public_host = ""

    async def release(self, grace: float | None) -> None:
        """Delete it, unless it is detached."""
        if not self._detached:
            await self.kill()

    async def kill(self) -> None:
        """Delete it with everything in it. Shielded and bounded.

        Raises:
            AgentUnreachable: If that was not confirmed: it may be left.
            ApiError: If the service says no.
            TlsError: If the service is not to be trusted now: it may be left.
        """
        if self._gone:
            return
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(KILL_SECONDS):
                    await self._client.kill_sandbox(self._sandbox_id)
            except SandboxNotFound:
                pass
            except TlsError as error:
                told = f"{self._sandbox_id} was not deleted, it may be left: {error}"
                raise TlsError(told) from error
            except TimeoutError:
                raise AgentUnreachable(
                    f"{self._sandbox_id} was not confirmed to be deleted in {KILL_SECONDS:g} s, "
                    "it may be left",
                    seconds=KILL_SECONDS,
                ) from None
        self._gone = True
        self._box.clear()

    async def abandon(self) -> None:
        """Delete what a door that failed has created; say so in the log where that fails, too."""
        try:
            await self.kill()
        except (HopxError, asyncio.CancelledError) as error:
            why = str(error) or "it was not confirmed to be deleted, it may be left"
            _log.warning("%s was created, could not be opened, and: %s", self._sandbox_id, why)
            if isinstance(error, asyncio.CancelledError):
                raise  # once more: asyncio's own cancellations know no shield
        finally:
            with anyio.CancelScope(shield=True):
                if self.own:
                    await self._client.aclose()

    async def get_info(self) -> SandboxInfo:
        """Return what the service knows of it."""
        return await self._client.get_sandbox(self._sandbox_id)

    async def pause(self) -> None:
        """Pause it, and send nothing there until it runs again."""
        await self._client._turn(self._sandbox_id, "pause", "paused")
        if self.access is not None:
            self.access.hold()

    async def resume(self) -> None:
        """Resume it; its token is another from then on."""
        await self._client._turn(self._sandbox_id, "resume", "running")
        if self.access is not None:
            self.access.go_on()

    async def set_timeout(self, timeout_seconds: int) -> None:
        """Let it be deleted so many seconds from now."""
        await self._client._set_timeout(self._sandbox_id, timeout_seconds)
