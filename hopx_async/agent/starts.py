"""Starting a command once, however often and by however many it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from hopx_async.agent.board import Board, Command
from hopx_async.agent.environment import SandboxEnvironment
from hopx_async.agent.keeper_link import Answer, KeeperGone, KeeperLink, Refusal, spawn_error
from hopx_async.agent.keepers import MAX_LIVE, Keepers
from hopx_async.agent.loading import read_log
from hopx_async.agent.specs import digest_of, normal_spec, public_spec
from hopx_async.agent.usage import Sampler
from hopx_async.errors import AgentFault, ConflictError, RateLimited, Unsupported

__all__ = ["Starts", "same_again"]

# What a terminal of ours understands is up to whoever shows it; most show these.
_TERMINAL_ENV = {"TERM": "xterm-256color"}
# Seconds in which the keeper that has claimed an id is to tell of it.
_NEWS_TIME = 10.0
# What a keeper says of an id that it did not start.
_CLAIMED = "conflict_claimed"
Told: TypeAlias = Callable[[Command | None, Exception | None], None]
_UnderWay: TypeAlias = tuple[str, asyncio.Future[Command], asyncio.Task[Command] | None]


class _SpawnFailure(msgspec.Struct, frozen=True):
    reason: str
    errno: int | None = None
    filename: str | None = None


_failure = msgspec.json.Decoder(_SpawnFailure)


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
        # The digest, what others of the same wait for, and the task if there is one.
        self._under_way: dict[str, _UnderWay] = {}
        self._closed = False
        self._held = False

    def begin(self, params: dict[str, Any], told: Told) -> bool:
        """Start a command as `start` does, but without a task; false if that cannot be done now.

        Most starts are like this: nobody has asked for the id, and a keeper has room.

        Args:
            params: The spec.
            told: Called once with the command that this call has created, or with why not.

        Raises:
            HopxError: As `start`; then *told* is not called.
        """
        spec = self._checked(params)
        process_id = spec["process_id"]
        known = self._board.get(process_id) is not None or process_id in self._board.gone
        full = self._board.live + len(self._under_way) >= MAX_LIVE
        if known or full or process_id in self._under_way or spec["mask_secrets"] or self._closed:
            return False
        self._sampler.check(spec["usage_interval"])
        digest = digest_of(spec, self._secret)
        public = public_spec(spec, digest)
        working_dir, env = self._working_dir(spec["working_dir"]), self._environment(spec)
        keeper = self._keepers.take_place()
        if keeper is None:
            return False

        def settle(command: Command | None, error: Exception | None) -> None:
            self._settle(spec, command, error)
            told(command, error)

        def answered(answer: Answer | None, error: Exception | None) -> None:
            self._keepers.give_back(keeper)
            if answer is not None:
                # It is the one that was asked for: there is no other spec to compare with.
                settle(self._started(process_id, public, answer, keeper), None)
            elif isinstance(error, Refusal) and error.code != _CLAIMED:
                settle(None, error.error(process_id))
            elif self._closed or error is None:
                settle(None, error)
            else:
                task = asyncio.create_task(self._after(spec, digest, keeper, error))
                self._under_way[process_id] = (digest, first, task)
                task.add_done_callback(lambda done: settle(*_outcome(done)))

        first: asyncio.Future[Command] = asyncio.get_running_loop().create_future()
        if not keeper.start_now(public, env, working_dir, answered):
            self._keepers.give_back(keeper)
            return False
        self._under_way[process_id] = (digest, first, None)
        return True

    async def start(self, params: dict[str, Any]) -> tuple[Command, bool]:
        """Return the command of this spec, and whether this call is what created it.

        Cancelling it is safe: a start under way goes on, and asking again finds it.

        Raises:
            InvalidArgument: If the spec breaks a rule.
            Unsupported: If it asks for a limit that cannot be set here.
            ConflictError: If the id exists with another spec, or did and was forgotten.
            SpawnError: If it could not be started, now or when it was asked for before.
            RateLimited: If too many commands run.
            AgentFault: If there is no room on the disk, or the sandbox is paused or being stopped.
        """
        spec = self._checked(params)
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
            first: asyncio.Future[Command] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._start(spec, digest))
            self._under_way[process_id] = (digest, first, task)
            task.add_done_callback(lambda done: self._settle(spec, *_outcome(done)))
        asked, first, _ = self._under_way[process_id]
        if asked != digest:
            raise _conflict(process_id)
        return await asyncio.shield(first), created

    def hold(self, held: bool) -> None:
        """Refuse starts from now on (true), or take them again (false)."""
        self._held = held

    @property
    def under_way(self) -> int:
        """How many starts are under way."""
        return len(self._under_way)

    async def quiet(self) -> None:
        """Wait until no start is under way. Cancelling it is safe: they go on."""
        while asked := [first for _, first, _ in self._under_way.values() if not first.done()]:
            await asyncio.wait(asked)

    async def aclose(self) -> None:
        """Wait for no start any more. What was sent to the keeper is carried out."""
        self._closed = True
        tasks = [task for _, _, task in self._under_way.values() if task is not None]
        for _, first, _ in self._under_way.values():
            first.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _checked(self, params: dict[str, Any]) -> dict[str, Any]:
        if self._held:
            raise AgentFault("the sandbox is paused: resume it", status=503)
        spec = normal_spec(params)
        if not self._process_limit and "processes" in (spec["limits"] or {}):
            raise Unsupported("limits.processes: this agent has no cgroup to count processes by")
        return spec

    def _settle(
        self, spec: Mapping[str, Any], command: Command | None, error: Exception | None
    ) -> None:
        _, first, _ = self._under_way.pop(spec["process_id"])
        if command is not None and spec["usage_interval"] is not None:
            self._sampler.watch(command)
        if first.done():
            return
        if command is not None:
            first.set_result(command)
        elif error is None:
            first.cancel()
        else:
            first.set_exception(error)
            # It was told to those who asked; nobody may be left.
            first.exception()

    async def _start(self, spec: dict[str, Any], digest: str) -> Command:
        process_id = spec["process_id"]
        public = public_spec(spec, digest)
        working_dir = self._working_dir(spec["working_dir"])
        env = self._environment(spec)
        self._sampler.check(spec["usage_interval"])
        mask = self._sandbox_env.variables.to_mask(spec)
        async with self._keepers.place() as keeper:
            try:
                answer = await keeper.start(public, env, working_dir, mask)
                return same_again(self._started(process_id, public, answer, keeper), digest)
            except Refusal as refusal:
                if refusal.code != _CLAIMED:
                    raise refusal.error(process_id) from None
                problem: Exception = refusal
            except KeeperGone as gone:
                problem = gone
        return await self._after(spec, digest, keeper, problem)

    async def _after(
        self, spec: dict[str, Any], digest: str, keeper: KeeperLink, problem: Exception
    ) -> Command:
        """Return the command although its id was claimed, or the keeper has gone."""
        process_id = spec["process_id"]
        if isinstance(problem, Refusal):
            return same_again(await self._claimed(process_id), digest)
        # Nothing is sent blindly twice: if it was started, its log has its end by then.
        await self._keepers.returned(keeper.number)
        known = await self._recorded(process_id)
        return await self._start(spec, digest) if known is None else same_again(known, digest)

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


def _outcome(task: asyncio.Task[Command]) -> tuple[Command | None, Exception | None]:
    """Return what a task has brought: neither the one nor the other if it was cancelled."""
    if task.cancelled():
        return None, None
    error = task.exception()
    if error is None:
        return task.result(), None
    return None, error if isinstance(error, Exception) else None


def _conflict(process_id: str) -> ConflictError:
    return ConflictError(f"command {process_id!r} exists with another spec")
