"""Sandboxes, and what has many of them, as classes whose methods block."""

# ruff: noqa: SLF001  # what stands for a thing looks into it

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar, cast

from hopx_async import listing as _listing
from hopx_async import pooling as _pooling
from hopx_async import sandbox as _sandbox
from hopx_async.blocking.entering import enter
from hopx_async.blocking.files import Files
from hopx_async.blocking.portal import Portal
from hopx_async.blocking.words import Commands, Environment
from hopx_async.blocking.wrapping import Closing, Iterated, Wrapper, awaited, giving
from hopx_async.model import Capabilities
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.protocol.cloud import SandboxInfo
from hopx_async.providers import cloud as _cloud
from hopx_async.secret import Secret

__all__ = ["Client", "Listing", "Pool", "PoolLease", "Sandbox"]

T_co = TypeVar("T_co", covariant=True)


class Listing(Iterated[T_co], Generic[T_co], of=_listing.Listing):
    """An iterator of what the service has, fetched page by page."""


class Client(Closing[_cloud.Client], of=_cloud.Client):
    """A client of the HopX service, shared by sandboxes; see ``hopx_async.Client``.

    Args:
        api_key: As there.
        base_url: As there.
        give_up_after: As there.

    Raises:
        MissingApiKey: If there is no key, or an empty one.
        InvalidArgument: If an argument breaks a rule.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> None:
        inner = _cloud.Client(api_key=api_key, base_url=base_url, give_up_after=give_up_after)
        portal = Portal.take()
        portal.keep(inner)
        super().__init__(portal, inner)
        portal.known[id(inner)] = self

    @property
    def base_url(self) -> str:
        """Where the service is, without a slash at its end."""
        return self._inner.base_url

    def list_sandboxes(
        self, *, status: str | None = None, region: str | None = None
    ) -> Listing[SandboxInfo]:
        """Iterate over the sandboxes of the account; see the asynchronous one.

        Raises:
            InvalidArgument: If an argument breaks a rule.
        """
        function = partial(self._inner.list_sandboxes, status=status, region=region)
        return cast("Listing[SandboxInfo]", self._carry_out(function))

    list_templates = awaited(_cloud.Client.list_templates)
    get_template = awaited(_cloud.Client.get_template)
    get_sandbox = awaited(_cloud.Client.get_sandbox)
    kill_sandbox = awaited(_cloud.Client.kill_sandbox)

    def close(self) -> None:
        """Close the connections. Sandboxes that were opened with it are closed before it."""
        super().close()
        self._portal.let_go(self._inner)


class Sandbox(Closing[_sandbox.Sandbox], of=_sandbox.Sandbox):
    """A place where commands run. Entered, it is closed when the block is left."""

    @property
    def sandbox_id(self) -> str:
        """Its id."""
        return self._inner.sandbox_id

    @property
    def commands(self) -> Commands:
        """Its commands."""
        return cast("Commands", self._as_ours(self._inner.commands))

    @property
    def env(self) -> Environment:
        """The variables that its commands get."""
        return cast("Environment", self._as_ours(self._inner.env))

    @property
    def files(self) -> Files:
        """Its files."""
        return cast("Files", self._as_ours(self._inner.files))

    @property
    def capabilities(self) -> Capabilities:
        """What the far side can do, as it said itself."""
        return self._inner.capabilities

    @staticmethod
    def create(
        template: str = "code-interpreter",
        *,
        template_id: str | int | None = None,
        region: str | None = None,
        timeout_seconds: int | None = None,
        internet_access: bool | None = None,
        env_vars: Mapping[str, str | Secret] | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        client: Client | None = None,
        detached: bool = False,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> Sandbox:
        """Create a sandbox of the HopX service and open it; see ``hopx_async.Sandbox.create``.

        Raises:
            HopxError: As there.
        """
        opening = _sandbox.Sandbox.create(
            template,
            template_id=template_id,
            region=region,
            timeout_seconds=timeout_seconds,
            internet_access=internet_access,
            env_vars=env_vars,
            api_key=api_key,
            base_url=base_url,
            client=_inner(client),
            detached=detached,
            give_up_after=give_up_after,
        )
        return cast("Sandbox", enter(opening))

    @staticmethod
    def connect(
        sandbox_id: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        client: Client | None = None,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> Sandbox:
        """Open a sandbox that is there already; see ``hopx_async.Sandbox.connect``.

        Raises:
            HopxError: As there.
        """
        opening = _sandbox.Sandbox.connect(
            sandbox_id,
            api_key=api_key,
            base_url=base_url,
            client=_inner(client),
            give_up_after=give_up_after,
        )
        return cast("Sandbox", enter(opening))

    get_info = awaited(_sandbox.Sandbox.get_info)
    pause = awaited(_sandbox.Sandbox.pause)
    resume = awaited(_sandbox.Sandbox.resume)
    set_timeout = awaited(_sandbox.Sandbox.set_timeout)

    def get_preview_url(self, port: int) -> str:
        """Return the address at which what listens on *port* in the sandbox is reached.

        Raises:
            InvalidArgument: If *port* is none.
            Unsupported: If no service made it, or its address does not tell.
        """
        return cast("str", self._carry_out(partial(self._inner.get_preview_url, port)))

    statistics = awaited(_sandbox.Sandbox.statistics)
    list_processes = awaited(_sandbox.Sandbox.list_processes)
    kill_process = awaited(_sandbox.Sandbox.kill_process)

    def kill(self) -> None:
        """End the sandbox with everything in it, detached or not, and close it.

        Raises:
            Unsupported: If this far side cannot be ended from here.
        """
        self._carry_out(self._inner.kill)
        self._portal.let_go(self._inner)

    def close(self, *, grace: float | None = None) -> None:
        """Close it: what is not detached ends (TERM, grace, KILL), then the connection.

        Any number of times, from any thread. If a signal's handler raises meanwhile (Ctrl-C),
        what is left is killed without more grace.

        Args:
            grace: Seconds between TERM and KILL, None for what the door was given.

        Raises:
            InvalidArgument: If *grace* is negative or not finite.
        """
        inner = self._inner
        if not self._portal.running:
            return
        try:
            close = partial(inner.aclose, grace=grace)
            self._portal.call(close, hurry=partial(inner.aclose, grace=0))
        finally:
            if inner._closed:
                self._portal.let_go(inner)


class PoolLease(Wrapper[_pooling.PoolLease], of=_pooling.PoolLease):
    """One use of a pool's sandbox, made by ``pool.sandbox()``; entered once."""

    def __enter__(self) -> Sandbox:
        return cast("Sandbox", self._carry_out(self._inner.__aenter__))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(partial(self._inner.__aexit__, None, None, None))


class Pool(Closing[_pooling.Pool], of=_pooling.Pool):
    """Sandboxes that are lent, one user at a time, made by `pool`."""

    @property
    def size(self) -> int:
        """How many sandboxes there are: ready, in use, or on their way in or out."""
        return self._inner.size

    @property
    def lendable(self) -> int:
        """How many more users there could be without one of them waiting for another."""
        return self._inner.lendable

    sandbox = giving(_pooling.Pool.sandbox, PoolLease)
    warm = awaited(_pooling.Pool.warm)
    take = giving(_pooling.Pool.take, Sandbox)

    def give(self, sandbox: Sandbox) -> None:
        """Take a sandbox back after its use."""
        self._portal.call(partial(self._inner.give, sandbox._inner))

    def close(self) -> None:
        """End all sandboxes, concurrently and bounded; who waits for one gets `ClosedError`."""
        try:
            super().close()
        finally:
            # Interrupted, it has ended all the same, unless that was twice.
            if self._inner._closed and not self._inner.size:
                self._portal.let_go(self._inner)


def _inner(client: Client | None) -> _cloud.Client | None:
    return client._inner if isinstance(client, Client) else client
