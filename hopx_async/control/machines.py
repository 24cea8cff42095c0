"""What the control plane needs of whatever runs its sandboxes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from hopx_async.control.records import Sandbox

__all__ = ["Machine", "Machines"]


class Machine(Protocol):
    """The agent of one sandbox that runs."""

    @property
    def url(self) -> str:
        """Where it listens."""
        ...

    async def pause(self) -> None:
        """Stop its commands; it answers nobody until `resume`."""
        ...

    async def resume(self) -> None:
        """Let its commands go on."""
        ...

    async def stop(self, grace: float) -> None:
        """End it with all of its commands; return when it has ended."""
        ...


class Machines(Protocol):
    """Starts agents, and finds those that a control plane before this one has started."""

    @property
    def isolation(self) -> str:
        """What surrounds those that it starts: ``none`` or ``namespace``."""
        ...

    async def start(self, sandbox: Sandbox, place: Path) -> Machine:
        """Start the agent of *sandbox*, whose directory is *place*.

        Raises:
            HopxError: If it does not come up.
        """
        ...

    async def find(self, sandbox: Sandbox, place: Path) -> Machine | None:
        """Return the agent of *sandbox* if it runs, else None."""
        ...
