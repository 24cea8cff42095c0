"""A sandbox: where commands run."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

from hopx_async.client import AgentClient
from hopx_async.commands import Commands
from hopx_async.environment import Environment
from hopx_async.files import Files
from hopx_async.model import Capabilities, CommandInfo, Exit, refuse
from hopx_async.protocol import lifecycle

__all__ = ["Lease", "Sandbox"]


class Lease(Protocol):
    """What a provider holds for a sandbox: how it ends."""

    async def release(self, grace: float | None) -> None:
        """End what this use of the sandbox owns; what is detached goes on.

        Called again while it runs, with another *grace*, that one counts from then on.
        """

    async def kill(self) -> None:
        """End the sandbox itself."""


class Sandbox:
    """A place where commands run, and the way to it.

    Opened by a door such as ``hopx.local()``; ended by `aclose`, or by leaving the
    ``async with`` of the door.

    Attributes:
        sandbox_id: Its id.
        commands: Its commands.
        env: The variables that its commands get.
        files: Its files.
        capabilities: What the far side can do, as it said itself.
    """

    def __init__(self, client: AgentClient, lease: Lease, capabilities: Capabilities) -> None:
        self._client = client
        self._lease = lease
        self._closed = False
        self._closing = 0
        self.sandbox_id = client.sandbox_id
        self.commands = Commands(client)
        self.env = Environment(client)
        self.files = Files(client, capabilities)
        self.capabilities = capabilities

    def __repr__(self) -> str:
        state = "closed" if self._closed else "up" if self._client.connected else "connecting"
        return f"<Sandbox {self.sandbox_id} {state}>"

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
