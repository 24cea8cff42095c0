"""What can be asked of an agent: the methods that the link and the HTTP routes share."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hopx_async import __version__
from hopx_async.agent.board import Board, Command
from hopx_async.agent.dialect.disk import can_watch
from hopx_async.agent.environment import SandboxEnvironment
from hopx_async.agent.inputs import Inputs
from hopx_async.agent.keeper_link import Refusal
from hopx_async.agent.keepers import Keepers
from hopx_async.agent.readiness import wait_port
from hopx_async.agent.starts import Starts
from hopx_async.agent.usage import can_sample
from hopx_async.errors import (
    AgentFault,
    HopxError,
    InvalidArgument,
    NotFoundError,
    SurvivorsLeft,
)
from hopx_async.model import refuse
from hopx_async.protocol import lifecycle, ports, wire

__all__ = ["Calls", "facts", "fault"]

# After a proven kill the leader's exit is on its way: it has been drained for a moment at most.
_END_TIME = 10.0
_CAUSES = (None, "killed")
_Params = dict[str, Any]
_Told = Callable[[_Params | None, HopxError | None], None]


class Calls:
    """The methods, by name. Params and results are JSON as it travels.

    Args:
        board: The commands that are known.
        keepers: Carry out signals and kills.
        starts: Carries out starts.
        environment: The sandbox's own variables.
        statistics: Returns figures of everything else.
        sandbox_id: What `hello` says.
        place: What its capabilities say of where it runs.
    """

    def __init__(
        self,
        board: Board,
        keepers: Keepers,
        starts: Starts,
        environment: SandboxEnvironment,
        *,
        statistics: Callable[[], Mapping[str, Any]],
        sandbox_id: str,
        place: Mapping[str, Any],
    ) -> None:
        self._board = board
        self._keepers = keepers
        self._starts = starts
        self._environment = environment
        self._statistics = statistics
        self._sandbox_id = sandbox_id
        self._inputs = Inputs(board, keepers)
        self._place = place
        self._methods: dict[str, Callable[[_Params], Awaitable[_Params]]] = {
            "hello": self._hello,
            "start": self._start,
            "info": self._info,
            "list": self._list,
            "signal": self._signal,
            "kill": self._kill,
            "stdin": self._stdin,
            "resize": self._resize,
            "wait_port": self._wait_port,
            "env_get": self._environment.get,
            "env_set": self._environment.set,
            "env_update": self._environment.update,
            "env_delete": self._environment.delete,
            "statistics": self._figures,
        }

    def facts(self) -> _Params:
        """Return what this agent is and can do, and where it runs."""
        known = facts()
        known["capabilities"].update(self._place)
        return known

    async def call(self, method: str, params: _Params) -> _Params:
        """Carry out one method. Cancelling it is safe: what was begun goes on.

        Raises:
            HopxError: If the answer is no.
        """
        known = self._methods.get(method)
        if known is None:
            raise NotFoundError(f"no method {method[:80]!r} here")
        try:
            return await known(params)
        except HopxError:
            raise
        except Exception as error:  # noqa: BLE001  # a bug of ours is answered, too
            raise fault(error) from None

    def start_now(self, params: _Params, told: _Told) -> bool:
        """Start a command without a task; false if that cannot be done now: call `call` then.

        *told* is called once with what `call` would return or raise.
        """

        def answer(command: Command | None, error: Exception | None) -> None:
            if command is not None:
                told({"created": True, "info": command.info()}, None)
            elif isinstance(error, HopxError):
                told(None, error)
            elif error is not None:
                told(None, fault(error))

        try:
            return self._starts.begin(params, answer)
        except HopxError as error:
            told(None, error)
        except Exception as error:  # noqa: BLE001  # a bug of ours is answered, too
            told(None, fault(error))
        return True

    async def _start(self, params: _Params) -> _Params:
        command, created = await self._starts.start(params)
        return {"created": created, "info": command.info()}

    async def _info(self, params: _Params) -> _Params:
        _check_names(params, "process_id")
        return {"info": self._board.require(params.get("process_id")).info()}

    async def _list(self, params: _Params) -> _Params:
        _check_names(params, "after", "status", "name", "tags")
        after, status, name = params.get("after"), params.get("status"), params.get("name")
        tags = params.get("tags") or {}
        if after is not None:
            _check("after", after, isinstance(after, str), "an id, or null for the first page")
        _check("status", status, status in (None, *lifecycle.STATUSES), _one_of(lifecycle.STATUSES))
        _check("name", name, name is None or isinstance(name, str), "a text")
        _check("tags", tags, _is_texts(tags), "tags map texts to texts")
        page, following = self._board.page(after=after or "", status=status, name=name, tags=tags)
        return {"infos": [command.info() for command in page], "next": following}

    async def _signal(self, params: _Params) -> _Params:
        _check_names(params, "process_id", "signal_id", "name", "cause")
        signal_id: Any = params.get("signal_id")
        name: Any = params.get("name")
        cause: Any = params.get("cause")
        problem = lifecycle.problem_with_id(signal_id)
        if problem is not None:
            raise InvalidArgument("signal_id", problem.value, problem.rule)
        known = isinstance(name, str) and name in lifecycle.SIGNAL_NAMES
        _check("name", name, known, _one_of(lifecycle.SIGNAL_NAMES))
        _check("cause", cause, cause in _CAUSES, "null or 'killed'")
        command = self._board.require(params.get("process_id"))
        try:
            answer = await self._keepers.ask(
                command,
                lambda keeper: keeper.signal(command.process_id, signal_id, name, cause),
            )
        except Refusal as refusal:
            if refusal.code == "command_ended":
                return {"delivered": False}
            raise refusal.error(command.process_id) from None
        return {"delivered": answer.delivered}

    async def _kill(self, params: _Params) -> _Params:
        _check_names(params, "process_id", "grace")
        grace = params.get("grace", lifecycle.GRACE)
        refuse(lifecycle.problem_with_grace(grace))
        command = self._board.require(params.get("process_id"))
        try:
            answer = await self._keepers.ask(
                command, lambda keeper: keeper.kill(command.process_id, float(grace))
            )
        except Refusal as refusal:
            raise refusal.error(command.process_id) from None
        if answer.survivors:
            raise SurvivorsLeft(command.process_id, answer.survivors, answer.means)
        try:
            async with asyncio.timeout(_END_TIME):
                await self._board.ended(command)
        except TimeoutError:
            pass  # its log waits for room on the disk; it is dead all the same
        return {"exit": command.info()["exit"], "survivors": [], "means": answer.means}

    async def _stdin(self, params: _Params) -> _Params:
        _check_names(params, "process_id", "offset", "data", "eof")
        return await self._inputs.stdin(params)

    async def _resize(self, params: _Params) -> _Params:
        _check_names(params, "process_id", "rows", "cols")
        return await self._inputs.resize(params)

    async def _wait_port(self, params: _Params) -> _Params:
        _check_names(params, "process_id", "port", "path")
        port: Any = params.get("port")
        path: Any = params.get("path")
        refuse(ports.problem_with_port(port))
        refuse(ports.problem_with_path(path))
        command = self._board.require(params.get("process_id"))
        return await wait_port(self._board, command, port, path)

    async def _hello(self, params: _Params) -> _Params:
        _check_names(params)
        return {**self.facts(), "sandbox_id": self._sandbox_id}

    async def _figures(self, params: _Params) -> _Params:
        _check_names(params)
        return {
            "commands_live": self._board.live,
            "commands_ended": len(self._board) - self._board.live,
            "commands_forgotten": len(self._board.gone),
            "log_bytes": self._board.log_bytes,
            **self._statistics(),
        }


def facts() -> dict[str, Any]:
    """Return what this agent is and can do; no secret, anybody may know it."""
    return {
        "agent": "hopx_async",
        "version": __version__,
        "link_version": wire.LINK_VERSION,
        "capabilities": {
            "proof": "ancestry",
            "merge_stderr": True,
            "idle_timeout": True,
            "stdin": True,
            "pty": True,
            "overflow_wait": True,
            "limits": True,
            "process_limit": False,
            "env": True,
            "mask_secrets": True,
            "wait_port": True,
            "usage": can_sample(),
            "files": True,
            "watch": can_watch(),
        },
    }


def fault(error: Exception) -> AgentFault:
    """Print a bug of ours to stderr, return what the client is told: nothing of the inside."""
    sys.excepthook(type(error), error, error.__traceback__)
    return AgentFault("a fault of the agent; its stderr says more")


def _check_names(params: _Params, *known: str) -> None:
    for name in params.keys() - set(known):
        raise InvalidArgument(name[:80], repr(params[name])[:80], "no argument of this method")


def _check(parameter: str, value: object, good: bool, rule: str) -> None:
    if not good:
        refuse(lifecycle.Problem(parameter, value, rule))


def _one_of(words: tuple[str, ...] | frozenset[str]) -> str:
    return "one of " + ", ".join(sorted(words))


def _is_texts(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return all(isinstance(item, str) for pair in value.items() for item in pair)
