"""The seam to a far side that can only run a program to its end and return its output.

A HopX stock agent is one, by ``POST /commands/run``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import attrs

__all__ = ["Shell", "ShellAnswer"]


@attrs.frozen
class ShellAnswer:
    """What a program printed, and how it ended.

    Attributes:
        stdout: Its output; what is not UTF-8 may have been replaced.
        stderr: Its errors, likewise.
        exit_code: Its code; a signal is told as the far side pleases.
    """

    stdout: str
    stderr: str
    exit_code: int


class Shell(ABC):
    """Runs programs, one request each.

    Attributes:
        name: What errors and logs call the far side; no secrets in it.
    """

    name: str = "sandbox"

    @abstractmethod
    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        seconds: float,
        workdir: str | None = None,
    ) -> ShellAnswer:
        """Run a program without a shell, and wait for it. It is never sent twice.

        Cancelling ``run`` is safe for the connection; the program may run all the same.

        Args:
            argv: The program, found in the far side's PATH, and its arguments.
            env: Variables on top of the far side's own.
            seconds: After how many the far side is to end it.
            workdir: The directory that it runs in, None for any that is there.

        Raises:
            RateLimited: If it was refused for now; it did not run.
            AgentFault: If the far side failed; it may have run.
            TransportError: If nobody answered; it may have run.
            ApiError: If the far side says no; it did not run.
            InvalidArgument: If it takes more bytes than a program can be given; nothing was sent.
            Unsupported: If the far side runs no programs this way.
            RemoteProtocolError: If what answered is no answer.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Free what is held between calls. May be called again."""
