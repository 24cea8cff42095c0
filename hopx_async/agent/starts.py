"""Starting a command once, however often and by however many it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from hopx_async.agent.board import Board, Command
from hopx_async.agent.environment import SandboxEnvironment
from hopx_async.agent.keeper_link import Answer, KeeperGone, KeeperLink, Refusal, spawn_error
from hopx_async.agent.keepers import MAX_LIVE, Keepers
from hopx_async.agent.loading import read_log
from hopx_async.agent.usage import Sampler
from hopx_async.errors import AgentFault, ConflictError, RateLimited, Unsupported
from hopx_async.model import refuse
from hopx_async.protocol import lifecycle

__all__ = ["Starts", "digest_of", "normal_spec", "same_again"]

# What a terminal of ours understands is up to whoever shows it; most show these.
_TERMINAL_ENV = {"TERM": "xterm-256color"}
# Seconds in which the keeper that has claimed an id is to tell of it.
_NEWS_TIME = 10.0
_canonical = msgspec.json.Encoder(order="sorted")


class _SpawnFailure(msgspec.Struct, frozen=True):
    reason: str
    errno: int | None = None
    filename: str | None = None


_failure = msgspec.json.Decoder(_SpawnFailure)


def normal_spec(params: dict[str, Any]) -> dict[str, Any]:
    """Return a full spec with everything in it that *params* may leave out.

    Raises:
        InvalidArgument: If something in it breaks a rule.
    """
    refuse(lifecycle.problem_with_spec(params))
    timeout, idle_timeout = params.get("timeout"), params.get("idle_timeout")
    pty = params.get("pty")
    limits = params.get("limits") or {}
    interval = params.get("usage_interval")
    masked = params.get("mask_secrets", False)
    return {
        "process_id": params["process_id"],
        "command": params["command"],
        "env": params.get("env") or {},
        "working_dir": params.get("working_dir"),
        "timeout": None if timeout is None else float(timeout),
        "name": params.get("name"),
        "tags": params.get("tags") or {},
        "merge_stderr": params.get("merge_stderr", False) or pty is not None,
        "idle_timeout": None if idle_timeout is None else float(idle_timeout),
        "stdin": params.get("stdin", False) or pty is not None,
        "pty": pty,
        "overflow": params.get("overflow", "drop"),
        "limits": {name: limits[name] for name in limits if limits[name] is not None} or None,
        "usage_interval": None if interval is None else float(interval),
        "mask_secrets": masked,
        "secrets": sorted({*(params.get("secrets") or ())}) if masked else [],
    }


def digest_of(spec: Mapping[str, Any], secret: bytes) -> str:
    """Return what tells two full specs apart without telling what is in them."""
    return hmac.digest(secret, _canonical.encode(spec), "sha256").hex()


class Starts:
    """Get-or-create of commands.

    A start that has been sent to the keeper goes on although whoever asked for it has
    gone; equal ones that come meanwhile share its answer.

    Args:
        board: The commands that are known.
        keepers: Start the others.
        environment: The sandbox's own variables, between *base_env* and a command's own.
        sampler: Is told of commands whose usage is to be sampled.
        state_dir: Where logs are read when an id is claimed and unknown.
        secret: Key of the digests.
        workspace: Absolute path that a relative ``working_dir`` is relative to.
        base_env: Environment that a command's own is added to.
        process_limit: Whether the number of a command's processes can be limited.
    """

    def __init__(
        self,
        board: Board,
        keepers: Keepers,
        environment: SandboxEnvironment,
        sampler: Sampler,
        *,
        state_dir: Path,
        secret: bytes,
        workspace: str,
        base_env: Mapping[str, str],
        process_limit: bool = False,
    ) -> None:
        self._board = board
        self._keepers = keepers
        self._sandbox_env = environment
        self._sampler = sampler
        self._state_dir = state_dir
        self._secret = secret
        self._workspace = str(Path(workspace))
        self._base_env = dict(base_env)
        self._process_limit = process_limit
        self._under_way: dict[str, tuple[str, asyncio.Task[Command]]] = {}

    async def start(self, params: dict[str, Any]) -> tuple[Command, bool]:
        """Return the command of this spec, and whether this call is what created it.

        Cancelling it is safe: a start under way goes on, and asking again finds it.

        Raises:
            InvalidArgument: If the spec breaks a rule.
            Unsupported: If it asks for a limit that cannot be set here.
            ConflictError: If the id exists with another spec, or did and was forgotten.
            SpawnError: If it could not be started, now or when it was asked for before.
            RateLimited: If too many commands run.
            AgentFault: If there is no room on the disk, or the sandbox is being stopped.
        """
        spec = normal_spec(params)
        if not self._process_limit and "processes" in (spec["limits"] or {}):
            raise Unsupported("limits.processes: this agent has no cgroup to count processes by")
        process_id = spec["process_id"]
        digest = digest_of(spec, self._secret)
        known = self._board.get(process_id)
        if known is not None:
            return same_again(known, digest), False
        if process_id in self._board.gone:
            raise ConflictError(f"command {process_id!r} has run, and was forgotten since")
        created = process_id not in self._under_way
        if created:
            if self._board.live + len(self._under_way) >= MAX_LIVE:
                raise RateLimited(f"{MAX_LIVE} commands run here, more are not taken")
            task = asyncio.create_task(self._start(spec, digest))
            self._under_way[process_id] = (digest, task)
            task.add_done_callback(lambda done: self._done(process_id, done))
        first, task = self._under_way[process_id]
        if first != digest:
            raise _conflict(process_id)
        return await asyncio.shield(task), created

    async def aclose(self) -> None:
        """Wait for no start any more. What was sent to the keeper is carried out."""
        tasks = [task for _, task in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, process_id: str, task: asyncio.Task[Command]) -> None:
        del self._under_way[process_id]
        # An exception was told to those who asked; nobody may be left.
        if not task.cancelled() and task.exception() is None:
            self._sampler.watch(task.result())

    async def _start(self, spec: dict[str, Any], digest: str) -> Command:
        process_id = spec["process_id"]
        public = _public_spec(spec, digest)
        working_dir = self._working_dir(spec["working_dir"])
        env = self._environment(spec)
        self._sampler.check(spec["usage_interval"])
        mask = self._sandbox_env.variables.to_mask(spec)
        while True:
            async with self._keepers.place() as keeper:
                try:
                    answer = await keeper.start(public, env, working_dir, mask)
                    return same_again(self._started(process_id, public, answer, keeper), digest)
                except Refusal as refusal:
                    if refusal.code != "conflict_claimed":
                        raise refusal.error(process_id) from None
                    return same_again(await self._claimed(process_id), digest)
                except KeeperGone:
                    pass
            # Nothing is sent blindly twice: if it was started, its log has its end by then.
            await self._keepers.returned(keeper.number)
            known = await self._recorded(process_id)
            if known is not None:
                return same_again(known, digest)

    def _started(
        self, process_id: str, public: bytes, answer: Answer, keeper: KeeperLink
    ) -> Command:
        known = self._board.get(process_id)
        if known is None:
            known = Command(process_id, public, keeper.number)
            known.pid, known.started_at = answer.pid, answer.started_at
            self._board.put(known)
        return known

    def _working_dir(self, wanted: str | None) -> str:
        return self._workspace if wanted is None else str(Path(self._workspace) / wanted)

    def _environment(self, spec: Mapping[str, Any]) -> dict[str, str]:
        terminal = {} if spec["pty"] is None else _TERMINAL_ENV
        merged = {
            **self._base_env,
            **terminal,
            **self._sandbox_env.variables.values,
            **spec["env"],
        }
        return {name: value for name, value in merged.items() if value is not None}

    async def _claimed(self, process_id: str) -> Command:
        """Return the command that holds an id which nobody has told of."""
        known = await self._recorded(process_id)
        if known is None:
            # Another keeper has it, whose news are on their way.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NEWS_TIME):
                    return await self._board.known(process_id)
            known = await self._recorded(process_id)
        if known is None:
            raise AgentFault(f"the id {process_id!r} is taken by a log that cannot be read")
        return known

    async def _recorded(self, process_id: str) -> Command | None:
        """Return a command that is known, or that has ended as its log tells."""
        known = self._board.get(process_id)
        if known is not None:
            return known
        read = await asyncio.to_thread(read_log, self._state_dir / "logs", process_id)
        return self._board.get(process_id) if read is None else self._board.put(read)


def same_again(command: Command, digest: str) -> Command:
    """Return *command* to one who asks for a start with this digest.

    Raises:
        ConflictError: If it was started with another spec.
        SpawnError: If it could not be started.
    """
    if not hmac.compare_digest(command.view().spec_digest, digest):
        raise _conflict(command.process_id)
    if command.exit is not None and command.pid is None:
        failure = _failure.decode(command.exit)
        if failure.reason == "spawn_failed":
            raise spawn_error(failure.errno, failure.filename)
    return command


def _conflict(process_id: str) -> ConflictError:
    return ConflictError(f"command {process_id!r} exists with another spec")


def _public_spec(spec: Mapping[str, Any], digest: str) -> bytes:
    public = {name: value for name, value in spec.items() if name not in {"env", "secrets"}}
    public["env_names"] = sorted(spec["env"])
    public["spec_digest"] = digest
    public["created_at"] = time.time()
    return msgspec.json.encode(public)
