"""The embedded agent: a root process of our own, on this machine."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread

from hopx_async.arguments import check_flag, check_seconds
from hopx_async.errors import BusyError, InvalidArgument, Unsupported
from hopx_async.model import refuse
from hopx_async.opening import Opening
from hopx_async.protocol import lifecycle, records
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.providers.isolation import check_asked, check_found, warn_of_fallback
from hopx_async.providers.root_process import RootProcess, stop_by_pid

if TYPE_CHECKING:
    from hopx_async.sandbox import Sandbox

__all__ = ["local"]

# What an embedded agent's commands see of this process's environment.
_KEPT = ("PATH", "LANG", "LC_*", "TERM", "USER", "TZ")
# The least that can be asked for of what is kept.
_LEAST = {
    "retention_bytes": 4 * records.BLOCK,
    "sandbox_retention_bytes": 4 * records.BLOCK,
    "keep_commands": 1,
}
_DEFAULTS = {"PATH": os.defpath, "LANG": "C.UTF-8", "TERM": "dumb"}


def local(
    *,
    workspace: str | os.PathLike[str] | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    inherit_env: Sequence[str] = (),
    detached: bool = False,
    retention_bytes: int | None = None,
    sandbox_retention_bytes: int | None = None,
    keep_commands: int | None = None,
    keep_seconds: float | None = None,
    grace: float = lifecycle.GRACE,
    give_up_after: float = GIVE_UP_AFTER,
    isolation: Literal["none", "namespace", "auto"] = "none",
    internet_access: bool = True,
) -> Opening[Sandbox]:
    """Open a sandbox on this machine: an agent is started for it, and ends with it.

    Commands run as this user, without isolation unless it is asked for. The environment
    is clean (PATH, HOME, LANG, TERM, USER, TMPDIR). If this process dies, even by
    SIGKILL, the agent ends its commands and goes.

    Args:
        workspace: Where commands run; None for a fresh directory that is removed at the end.
        state_dir: Where logs and the token are kept (0700); None for a fresh directory that
            is removed at the end.
        inherit_env: Names of variables to take over from this process; ``*`` matches, as in
            ``"CUDA_*"``.
        detached: Leave the agent and its commands running when closed, and attach to it if it
            runs already; needs *state_dir*.
        retention_bytes: Log bytes kept of each command, None for 256 MiB.
        sandbox_retention_bytes: Log bytes kept of all commands together, None for 4 GiB: the
            oldest that have ended are forgotten first, then the oldest output of others goes.
        keep_commands: Commands kept after their end, None for 10000.
        keep_seconds: Seconds for which they are kept, None for a day.
        grace: Seconds between TERM and KILL when the sandbox ends.
        give_up_after: Seconds without an answer after which calls, streams and waits fail.
        isolation: ``"namespace"`` runs everything inside of Linux namespaces made by bubblewrap:
            the workspace is ``/workspace``, the system's directories are read-only, the rest of
            this machine is not there. ``"auto"`` does so where it can be done, and warns where
            not; ``sandbox.capabilities.isolation`` says what it became.
        internet_access: False for a network of its own with nothing but loopback; needs isolation.

    Raises:
        Unsupported: Elsewhere than on Linux; raised by the call. If the isolation asked for
            cannot be had here; it says why, and nothing was started.
        InvalidArgument: If an argument breaks a rule, the state directory's owner and mode among
            them.
        BusyError: If another agent holds the state directory and *detached* is false.
        AgentFault: If the agent could not start.
    """
    if sys.platform != "linux":
        raise Unsupported(
            f"local() needs Linux, this is {sys.platform}; "
            "run `python -m hopx_async.agent` on a Linux host and open it with hopx_async.remote()"
        )
    _check_arguments(workspace, state_dir, inherit_env, detached=detached)
    kept = {
        "retention_bytes": retention_bytes,
        "sandbox_retention_bytes": sandbox_retention_bytes,
        "keep_commands": keep_commands,
    }
    for name, least in _LEAST.items():
        _check_number(name, kept[name], least)
    if keep_seconds is not None:
        check_seconds("keep_seconds", keep_seconds)
    refuse(lifecycle.problem_with_grace(grace))
    check_seconds("give_up_after", give_up_after)
    check_asked(isolation, internet_access=internet_access)
    config = {
        "workspace": None if workspace is None else str(Path(workspace).resolve()),
        "base_env": _base_env(os.environ, inherit_env),
        **kept,
        "keep_seconds": keep_seconds,
        "grace": grace,
        "detached": detached,
        "isolation": isolation,
        "internet_access": internet_access,
    }
    state = None if state_dir is None else Path(state_dir).resolve()
    return Opening(_open(state, config, grace, detached=detached, give_up_after=give_up_after))


def _check_arguments(
    workspace: object,
    state_dir: object,
    inherit_env: object,
    *,
    detached: bool,
) -> None:
    check_flag("detached", detached)
    if detached and state_dir is None:
        raise InvalidArgument("detached", "True", "needs state_dir, where it is found again")
    if not isinstance(inherit_env, Sequence) or isinstance(inherit_env, (str, bytes)):
        raise InvalidArgument("inherit_env", repr(inherit_env), "a sequence of names")
    for name in inherit_env:
        if not isinstance(name, str):
            raise InvalidArgument("inherit_env", repr(name), "each name is a text")
    _check_path("state_dir", state_dir)
    _check_path("workspace", workspace)
    if workspace is not None and not Path(str(workspace)).is_dir():
        raise InvalidArgument("workspace", repr(str(workspace)), "a directory that exists")


def _check_path(parameter: str, value: object) -> None:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if value is not None and (not isinstance(path, str) or not path or "\0" in path):
        raise InvalidArgument(parameter, repr(value), "a path: a text that is not empty, no NUL")


def _check_number(parameter: str, value: object, least: int) -> None:
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if value is not None and not fits:
        raise InvalidArgument(parameter, repr(value), f"a whole number, at least {least}")


def _base_env(environ: Mapping[str, str], inherit_env: Sequence[str]) -> dict[str, str]:
    wanted = [*_KEPT, *inherit_env]
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith("HOPX_") and any(fnmatch.fnmatchcase(name, p) for p in wanted)
    }
    return {**_DEFAULTS, **kept}


async def _open(
    state: Path | None,
    config: dict[str, Any],
    grace: float,
    *,
    detached: bool,
    give_up_after: float,
) -> Sandbox:
    home: Path | None = None
    if state is None:
        home = Path(await anyio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="hopx-")))
        state = home / "state"
        # The root removes it at its end: it outlives this process even if that is killed.
        config = {**config, "ephemeral": str(home)}
        if config["workspace"] is None:
            config["workspace"] = str(home / "workspace")
    lease = _LocalLease(state, home, grace, detached=detached)
    try:
        await lease.start(config)
        # What talks to an agent takes as long to import as one takes to come up: meanwhile.
        from hopx_async.providers.remote import open_agent
        from hopx_async.transport.access import TokenAccess

        url, token = await lease.announced()
        access = TokenAccess(url, token)
        sandbox = await open_agent(access, lease, give_up_after=give_up_after)
        if lease.found:
            await _check_found(sandbox, config)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await lease.abandon()
        raise
    else:
        return sandbox


async def _check_found(sandbox: Sandbox, config: dict[str, Any]) -> None:
    isolation, internet = config["isolation"], config["internet_access"]
    try:
        check_found(sandbox.capabilities, isolation, internet_access=internet)
    except Unsupported:
        await sandbox.aclose()
        raise


class _LocalLease:
    """How an embedded agent ends: by its lifeline, or, when attached to, by its pid."""

    def __init__(self, state: Path, home: Path | None, grace: float, *, detached: bool) -> None:
        self._state = state
        self._home = home
        self._grace = grace
        self._detached = detached
        self._root: RootProcess | None = None

    @property
    def found(self) -> bool:
        """Whether the agent ran before."""
        return self._root is None

    async def start(self, config: dict[str, Any]) -> None:
        """Start a root, which ends at once if another one holds the state directory."""
        self._root = await RootProcess.start(self._state, config)

    async def announced(self) -> tuple[str, str]:
        """Wait until it is up, or find the other one; return URL and token."""
        assert self._root is not None
        try:
            announced = await self._root.announced()
        except BusyError:
            root, self._root = self._root, None
            root.leave()
            if not self._detached:
                raise
            return await anyio.to_thread.run_sync(self._find)
        if why := announced.get("isolation_missing"):
            warn_of_fallback(why)
        return announced["url"], announced["token"]

    async def release(self, grace: float | None) -> None:
        """End the agent with its commands; leave it running if it is detached."""
        if self._root is None:
            return
        if self._detached:
            self._root.leave()
        else:
            await self._end(self._grace if grace is None else grace)

    async def kill(self) -> None:
        """End the agent with its commands, detached or not."""
        if self._root is None:
            await stop_by_pid(self._pid(), grace=self._grace)
        else:
            await self._end(self._grace)

    async def abandon(self) -> None:
        """End what a door that failed has begun; what was merely found goes on."""
        if self._root is not None:
            await self._end(0.0)

    async def _end(self, grace: float) -> None:
        if self._root is None:
            return
        try:
            await self._root.stop(grace)
        finally:
            self._root = None
            if self._home is not None:
                # The root has done it, unless it was killed.
                home = self._home
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(home, ignore_errors=True))

    def _find(self) -> tuple[str, str]:
        try:
            facts = json.loads((self._state / "agent.json").read_text())
            return facts["url"], (self._state / "token").read_text().strip()
        except (OSError, ValueError, KeyError) as error:
            raise BusyError(
                f"{self._state} is held by an agent that is not up yet or is ending: {error}"
            ) from error

    def _pid(self) -> int:
        return int(json.loads((self._state / "agent.json").read_text())["pid"])
