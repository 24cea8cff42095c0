"""Programs of a HopX stock agent, one by one: ``POST /commands/run``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hopx_async.errors import RateLimited
from hopx_async.protocol.rate import DEFAULT_RETRY_AFTER
from hopx_async.protocol.shell_answers import RUN_PATH, read_run, run_request
from hopx_async.transport.access import Access, exchange, read_body, send
from hopx_async.transport.bodies import JsonBody
from hopx_async.transport.shell import Shell, ShellAnswer

__all__ = ["ANSWER_SECONDS", "MAX_ANSWER_BYTES", "HopxShell"]

#: Seconds in which an answer is there, beyond those that the program may take.
ANSWER_SECONDS = 30.0
#: Bytes of an answer; a longer one is an error, and is not held.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_ANY_DIRECTORY = "/tmp"  # noqa: S108  # it is always there; nothing is made in it


class HopxShell(Shell):
    """Runs programs by HopX's route.

    What a program prints is exact where it is UTF-8; the far side replaces what is not.

    Args:
        access: The way to the agent; closed with the shell.
    """

    def __init__(self, access: Access) -> None:
        self.name = access.name
        self._access = access

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        seconds: float,
        workdir: str | None = None,
    ) -> ShellAnswer:
        """Run a program and return what it printed. It is sent once, and again only after a 401.

        Cancelling it closes its connection; the program may run all the same.
        """
        # Always said, for far sides have other ideas of where a program runs if nobody says.
        where = workdir or _ANY_DIRECTORY
        body = JsonBody(run_request(argv, env or {}, seconds=seconds, workdir=where))
        async with exchange(self._access, f"POST {RUN_PATH}", seconds + ANSWER_SECONDS):
            response = await send(self._access, "POST", RUN_PATH, {}, body, admitted=True)
            async with response:
                answer = await read_body(response, MAX_ANSWER_BYTES)
        headers = response.headers
        try:
            ran = read_run(
                response.status,
                answer,
                retry_after=headers.get("Retry-After"),
                request_id=headers.get("X-Request-ID"),
            )
        except RateLimited as error:
            self._access.refused(error.retry_after or DEFAULT_RETRY_AFTER)
            raise
        return ShellAnswer(*ran)

    async def aclose(self) -> None:
        """Close the access."""
        await self._access.aclose()
