"""The agents of a local server's sandboxes: one root process for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import anyio.to_thread

from hopx_async.control.records import Sandbox
from hopx_async.errors import AgentFault, HopxError
from hopx_async.providers.root_process import OURS, RootProcess, stop_by_pid

__all__ = ["AgentMachine", "AgentMachines"]

_CALL_SECONDS = 30.0


class AgentMachine:
    """The agent of one sandbox.

    Args:
        url: Where it listens.
        token: Its own token.
        pid: Its root process.
        root: That process where it ends with this one, None where it outlives it.
    """

    def __init__(self, url: str, token: str, pid: int, root: RootProcess | None = None) -> None:
        self._url = url
        self._token = token
        self._pid = pid
        self._root = root

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._url

    async def pause(self) -> None:
        """Stop its commands; it answers nobody until `resume`. Cancelled, it may be either."""
        await self._post("/v1/pause")

    async def resume(self) -> None:
        """Let its commands go on. Cancelled, they may have gone on."""
        await self._post("/v1/resume")

    async def stop(self, grace: float) -> None:
        """End it with all of its commands; shielded."""
        if self._root is None:
            await stop_by_pid(self._pid, grace=grace)
        else:
            await self._root.stop(grace)

    async def _post(self, path: str) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        timeout = aiohttp.ClientTimeout(_CALL_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(self._url, headers=headers, timeout=timeout) as http,
                http.post(path) as response,
            ):
                if response.status != 200:
                    raise AgentFault(f"the agent answers {path} with {response.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AgentFault(f"the agent does not answer {path}: {error}") from error


class AgentMachines:
    """Starts agents, and finds those that run.

    Args:
        host: Address at which they listen.
        detached: Whether they outlive this process, to be found again.
        program: The module that is an agent's root, and its first arguments.
        isolation: ``none`` or ``namespace``: what surrounds those that are started from now on.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        detached: bool = False,
        program: Sequence[str] = OURS,
        isolation: str = "none",
    ) -> None:
        self._host = host
        self._detached = detached
        self._program = program
        self._isolation = isolation

    @property
    def isolation(self) -> str:
        """What surrounds those that it starts: ``none`` or ``namespace``."""
        return self._isolation

    async def start(self, sandbox: Sandbox, place: Path) -> AgentMachine:
        """Start the agent of *sandbox*; at the port that it had before, if that is free.

        Cancelling it leaves nothing behind.

        Raises:
            HopxError: If it does not come up.
        """
        port = int(sandbox.url.rpartition(":")[2]) if sandbox.url else 0
        try:
            return await self._start(sandbox, place, port)
        except HopxError:
            if not port:
                raise
        return await self._start(sandbox, place, 0)

    async def find(self, sandbox: Sandbox, place: Path) -> AgentMachine | None:
        """Return the agent of *sandbox* if it runs, else None."""
        return await anyio.to_thread.run_sync(_find, place / "state")

    async def _start(self, sandbox: Sandbox, place: Path, port: int) -> AgentMachine:
        config: dict[str, Any] = {
            "sandbox_id": sandbox.id,
            "workspace": str(place / "workspace"),
            "base_env": sandbox.env_vars,
            "token_secret": sandbox.token_secret,
            "host": self._host,
            "port": port,
            "detached": self._detached,
            "isolation": self._isolation,
            "internet_access": sandbox.internet_access,
        }
        root = await RootProcess.start(
            place / "state", config, log=place / "agent.log", program=self._program
        )
        try:
            said = await root.announced()
        except BaseException:
            await root.stop(0.0)
            raise
        if self._detached:
            root.leave()
        kept = None if self._detached else root
        return AgentMachine(said["url"], said["token"], int(said["pid"]), kept)


def _find(state: Path) -> AgentMachine | None:
    """Return the agent that holds a state directory, None if nobody does."""
    import fcntl  # only here: the rest can be imported anywhere

    try:
        with (state / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                facts = json.loads((state / "agent.json").read_text())
                token = (state / "token").read_text().strip()
                return AgentMachine(facts["url"], token, int(facts["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it has left nothing, or nothing that can be used
    return None
