"""A sandbox: where commands run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from hopx_async.arguments import check_flag
from hopx_async.client import AgentClient
from hopx_async.commands import Commands
from hopx_async.environment import Environment
from hopx_async.errors import Unsupported
from hopx_async.files import Files
from hopx_async.model import Capabilities, CommandInfo, Exit, refuse
from hopx_async.opening import Opening
from hopx_async.protocol import cloud, lifecycle
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.protocol.cloud import SandboxInfo
from hopx_async.secret import Secret

if TYPE_CHECKING:
    from hopx_async.providers.cloud import Client

__all__ = ["Control", "Lease", "Sandbox"]


class Lease(Protocol):
    """What a provider holds for a sandbox: how it ends."""

    async def release(self, grace: float | None) -> None:
        """End what this use of the sandbox owns; what is detached goes on.

        Called again while it runs, with another *grace*, that one counts from then on.
        """

    async def kill(self) -> None:
        """End the sandbox itself."""


@runtime_checkable
class Control(Protocol):
    """What a lease can do as well where a control plane made the sandbox.

    Attributes:
        public_host: The base URL of the sandbox's agent.
    """

    public_host: str

    async def get_info(self) -> SandboxInfo:
        """Return what the control plane knows of it."""
        ...

    async def pause(self) -> None:
        """Stop everything in it, memory kept."""

    async def resume(self) -> None:
        """Let it go on."""

    async def set_timeout(self, timeout_seconds: int) -> None:
        """Let it be deleted so many seconds from now."""


class Sandbox:
    """A place where commands run, and the way to it.

    Opened by a door such as ``hopx.local()`` or ``Sandbox.create()``; ended by `aclose`, or
    by leaving the ``async with`` of the door. One that is dropped without either gives a
    `ResourceWarning`.

    Attributes:
        sandbox_id: Its id.
        commands: Its commands.
        env: The variables that its commands get.
        files: Its files.
        capabilities: What the far side can do, as it said itself.
    """

    _closed = True  # unless it was made to its end

    def __init__(self, client: AgentClient, lease: Lease, capabilities: Capabilities) -> None:
        self._client = client
        self._lease = lease
        self._closing = 0
        self.sandbox_id = client.sandbox_id
        self.commands = Commands(client)
        self.env = Environment(client)
        self.files = Files(client, capabilities)
        self.capabilities = capabilities
        self._pid = os.getpid()
        self._closed = False

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
    ) -> Opening[Sandbox]:
        """Create a sandbox of the HopX service, or of ``hopx-async serve``, and open it.

        Closing it deletes it. A create is never sent twice: if its answer is lost, the sandbox is
        looked for, and taken if it is proven to be the one. Cancelled, or if it cannot be opened,
        what was created is deleted again.

        Args:
            template: The name of the template that it is made of.
            template_id: That template's id instead; it wins.
            region: Where it is to be, None for what the service chooses.
            timeout_seconds: Seconds after which the service deletes it, None for never.
            internet_access: Whether it reaches the network, None for what the service does.
            env_vars: Variables that all its commands get, beside ``HOPX_CREATE_ID``.
            api_key: The key, None for what ``HOPX_API_KEY`` holds.
            base_url: The service, None for what ``HOPX_BASE_URL`` holds, else HopX's own.
            client: What it shares with other sandboxes, None for connections of its own.
            detached: Leave it as it is when it is closed.
            give_up_after: Seconds without an answer after which calls, streams and waits fail.

        Raises:
            MissingApiKey: If there is no key; raised by the call, before anything is sent.
            InvalidArgument: If an argument breaks a rule; raised by the call.
            TemplateNotFound: If there is no such template, with names that come near.
            CreateUncertain: If its answer was lost, and no sandbox is proven to be its.
            ApiError: If the service says no: no money, too many sandboxes, a wrong key.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        from hopx_async.providers import hopx

        check_flag("detached", detached)
        wish = hopx.wish_of(
            template,
            template_id,
            region=region,
            timeout_seconds=timeout_seconds,
            internet_access=internet_access,
            env_vars=env_vars,
        )
        shared, own = hopx.our_client(client, api_key, base_url, give_up_after)
        return Opening(
            hopx.open_created(shared, own, wish, detached=detached, give_up_after=give_up_after)
        )

    @staticmethod
    def connect(
        sandbox_id: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        client: Client | None = None,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> Opening[Sandbox]:
        """Open a sandbox of the HopX service, or of ``hopx-async serve``, that is there already.

        One that is paused is resumed. Closing it leaves it and its commands as they are.

        Args:
            sandbox_id: Its id.
            api_key: The key, None for what ``HOPX_API_KEY`` holds.
            base_url: The service, None for what ``HOPX_BASE_URL`` holds, else HopX's own.
            client: What it shares with other sandboxes, None for connections of its own.
            give_up_after: Seconds without an answer after which calls, streams and waits fail.

        Raises:
            MissingApiKey: If there is no key; raised by the call, before anything is sent.
            InvalidArgument: If an argument breaks a rule; raised by the call.
            SandboxNotFound: If there is no such sandbox.
            ConflictError: If it is stopped, or in another state in which nothing can run.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        from hopx_async.providers import hopx

        cloud.check_id("sandbox_id", sandbox_id)
        shared, own = hopx.our_client(client, api_key, base_url, give_up_after)
        return Opening(hopx.open_known(shared, own, sandbox_id, give_up_after=give_up_after))

    def __repr__(self) -> str:
        state = "closed" if self._closed else "up" if self._client.connected else "connecting"
        return f"<Sandbox {self.sandbox_id} {state}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # Nothing else is done here: it runs in any thread, at any time, up to the interpreter's
        # very end, and its handles may be in use still. After a fork it is the parent's.
        if not (self._closed or self._closing) and self._pid == os.getpid():
            _warn(
                f"sandbox {self.sandbox_id} was never closed: say 'async with' at its door, or "
                "'await sandbox.aclose()'",
                ResourceWarning,
                source=self,
            )

    async def statistics(self) -> dict[str, Any]:
        """Return numbers of both sides: the link here, commands and connections there.

        Cancelling it is safe.

        Raises:
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        there = await self._client.call("statistics")
        return {"client": self._client.statistics(), "agent": there}

    async def list_processes(self) -> list[CommandInfo]:
        """Return the sandbox's commands: HopX's name for ``commands.list()``."""
        return await self.commands.list()

    async def kill_process(self, process_id: str, grace: float = lifecycle.GRACE) -> Exit:
        """End a command with all it started: HopX's name for ``commands.kill()``."""
        return await self.commands.kill(process_id, grace)

    async def get_info(self) -> SandboxInfo:
        """Return what the service knows of the sandbox. Cancelling it is safe.

        Raises:
            Unsupported: If no service made it.
            SandboxNotFound: If it is no longer there.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        return await self._control("get_info").get_info()

    async def pause(self) -> None:
        """Pause the sandbox: its commands stop where they are, memory is kept.

        Streams and waits just wait, however long, until `resume`; so do calls, up to
        *give_up_after*. Cancelled, it may be paused or not.

        Raises:
            Unsupported: If no service made it.
            ConflictError: If it cannot be paused as it is.
            AgentUnreachable: If it did not come to pass until the policy gave up.
        """
        await self._control("pause").pause()

    async def resume(self) -> None:
        """Let a paused sandbox go on, its commands and streams too.

        Cancelled, it may run or not.

        Raises:
            Unsupported: If no service made it.
            ConflictError: If it cannot be resumed as it is.
            AgentUnreachable: If it did not come to pass until the policy gave up.
        """
        await self._control("resume").resume()

    async def set_timeout(self, timeout_seconds: int) -> None:
        """Let the service delete the sandbox so many seconds from now, instead of before.

        Cancelled, it may have been set or not.

        Raises:
            InvalidArgument: If *timeout_seconds* is no whole number above 0.
            Unsupported: If no service made it.
            SandboxNotFound: If it is no longer there.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        cloud.check_timeout(timeout_seconds)
        await self._control("set_timeout").set_timeout(timeout_seconds)

    def get_preview_url(self, port: int) -> str:
        """Return the address at which what listens on *port* in the sandbox is reached.

        Raises:
            InvalidArgument: If *port* is none.
            Unsupported: If no service made it, or its address does not tell.
        """
        return cloud.preview_url(self._control("get_preview_url").public_host, port)

    def _control(self, what: str) -> Control:
        self._client.check_open()
        if not isinstance(self._lease, Control):
            raise Unsupported(f"{what} is for sandboxes of the HopX service, this is none")
        return self._lease

    async def kill(self) -> None:
        """End the sandbox with everything in it, detached or not, and close it.

        Raises:
            Unsupported: If this far side cannot be ended from here.
        """
        self._client.check()
        await self._lease.kill()
        await self.aclose()

    async def aclose(self, *, grace: float | None = None) -> None:
        """Close it: what is not detached ends (TERM, grace, KILL), then the connection.

        From any task, in any order, any number of times; a call while another
        runs waits for the same end. Bounded, and shielded from cancellation: a task
        that is cancelled while it closes, as by a second Ctrl-C, loses patience, and no
        grace is left.

        Args:
            grace: Seconds between TERM and KILL, None for what the door was given. A second
                call with 0 is how to lose patience with the first.

        Raises:
            InvalidArgument: If *grace* is negative or not finite.
        """
        self._client.check()
        if grace is not None:
            refuse(lifecycle.problem_with_grace(grace))
        if self._closed:
            return
        self._closing += 1
        try:
            await self._lease.release(grace)
        finally:
            self._closing -= 1
            if not self._closing:
                self._closed = True
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
