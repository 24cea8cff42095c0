"""The sandbox's own variables: changed by calls, kept in the state directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from hopx_async.errors import AgentFault, InvalidArgument
from hopx_async.protocol.variables import Variables

__all__ = ["FILE_NAME", "SandboxEnvironment"]

#: The file in the state directory, ours alone, whole at any moment.
FILE_NAME = "env.json"
_NO_ROOM = 507


class SandboxEnvironment:
    """What `Starts` adds to the environment of each command, and the calls that change it.

    Changes happen one after the other, each on the disk before it counts. One that has
    begun goes on although whoever asked for it has gone.

    Args:
        state_dir: Where it is kept.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME
        self._lock = asyncio.Lock()
        self._changes: set[asyncio.Task[Variables]] = set()
        self.variables = Variables()

    def load(self) -> None:
        """Read what an agent before this one has kept. Not for the event loop: it blocks."""
        try:
            self.variables = Variables.from_dict(msgspec.json.decode(self._path.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError):
            # Why is not told: it might show what is in there.
            sys.stderr.write(f"hopx_async agent: {self._path} cannot be read, nothing is set\n")

    async def get(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the names that are set, values masked."""
        _check_names(params)
        return self.variables.told()

    async def set(self, params: dict[str, Any]) -> dict[str, Any]:
        """Replace everything. Cancelling it is safe, as for the other changes."""
        _check_names(params, "variables", "secrets")
        return await self._change("env_set", params)

    async def update(self, params: dict[str, Any]) -> dict[str, Any]:
        """Set some, leave the others."""
        _check_names(params, "variables", "secrets")
        return await self._change("env_update", params)

    async def delete(self, params: dict[str, Any]) -> dict[str, Any]:
        """Forget one."""
        _check_names(params, "name")
        return await self._change("env_delete", params)

    async def aclose(self) -> None:
        """Wait for the changes under way."""
        await asyncio.gather(*self._changes, return_exceptions=True)

    async def _change(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        task = asyncio.create_task(self._carry_out(method, params))
        self._changes.add(task)
        task.add_done_callback(self._done)
        return (await asyncio.shield(task)).told()

    def _done(self, task: asyncio.Task[Variables]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # was told to who asked; nobody may be left

    async def _carry_out(self, method: str, params: dict[str, Any]) -> Variables:
        async with self._lock:
            changed = self.variables.after(method, params)
            data = msgspec.json.encode(changed.to_dict())
            try:
                await asyncio.to_thread(_write, self._path, data)
            except OSError as error:
                raise AgentFault(f"no room for {FILE_NAME}: {error}", status=_NO_ROOM) from None
            self.variables = changed
            return changed


def _check_names(params: dict[str, Any], *known: str) -> None:
    for name in params.keys() - set(known):
        # What came with it may be a value that is meant for a variable.
        raise InvalidArgument(name[:80], "(not shown)", "no argument of this method")


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
