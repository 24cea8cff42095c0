"""What can be asked of a sandbox whose commands are kept by markers: the link's calls."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import anyio

from hopx_async import __version__
from hopx_async.errors import (
    AgentFault,
    CommandNotFound,
    ConflictError,
    SpawnError,
    SurvivorsLeft,
    Unsupported,
)
from hopx_async.model import refuse
from hopx_async.protocol import lifecycle, wire
from hopx_async.protocol import marker_answers as answers
from hopx_async.protocol.marker_logs import MarkerLogs
from hopx_async.protocol.markers import (
    Start,
    prepare,
    start_arguments,
    tick_arguments,
)
from hopx_async.transport.batches import Batches
from hopx_async.transport.marker_host import REQUEST_SECONDS, MarkerHost

__all__ = ["KILL_SECONDS", "TIDY_AFTER", "MarkerCalls", "facts"]

#: Seconds of grace that one request waits there; a longer one is asked for piece by piece,
#: for what hangs long is cut by whatever stands between.
KILL_SECONDS = 20.0
#: Starts after which the far side is to forget again what has ended long ago.
TIDY_AFTER = 1_000
_PAGE = 100
T = TypeVar("T")


def facts() -> dict[str, Any]:
    """Return what a far side with markers can do."""
    return {
        "agent": "stock",
        "version": __version__,
        "link_version": wire.LINK_VERSION,
        "capabilities": {"proof": "ancestry", "merge_stderr": True, "idle_timeout": True},
    }


#: Call -> what its user has written, where that is another word.
_WORDS = {f"env_{word}": "sandbox.env" for word in ("get", "set", "update", "delete")}


class MarkerCalls:
    """The calls of one sandbox.

    Starts, kills and questions that come together go in one request.

    Args:
        host: Is asked.
        logs: What is known of the commands.
        sandbox_id: The sandbox.
        workspace: Where a relative working directory begins.
        on_news: Is told of commands of which an answer brought something new.
    """

    def __init__(
        self,
        host: MarkerHost,
        logs: MarkerLogs,
        sandbox_id: str,
        workspace: str,
        on_news: Callable[[set[str]], None],
    ) -> None:
        self._host = host
        self._logs = logs
        self._sandbox_id = sandbox_id
        self._workspace = workspace
        self._on_news = on_news
        self._untidy = 0
        self._page = _PAGE
        self._key = hashlib.sha256(f"hopx_async {sandbox_id}".encode()).digest()
        self._starts = Batches(self._start_all)
        # By grace period; kept by those who ask, and by the requests under way.
        self._kills: WeakValueDictionary[float, Batches[str]] = WeakValueDictionary()
        self._looks = Batches(self._look_all)
        self._methods: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "hello": self._hello,
            "start": self._start,
            "info": self._info,
            "list": self._list,
            "signal": self._signal,
            "kill": self._kill,
            "statistics": self._statistics,
        }

    async def aclose(self) -> None:
        """End the requests under way; what they asked for may happen all the same."""
        await self._starts.aclose()
        for batches in (self._looks, *list(self._kills.values())):
            await batches.aclose()

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Carry out one call. Cancelling it is safe.

        Raises:
            Unsupported: If only an agent of ours can do that.
            HopxError: If the answer is no.
        """
        known = self._methods.get(method)
        if known is None:
            word = _WORDS.get(method, method)
            raise Unsupported(f"{word}: this sandbox runs HopX's own agent, which cannot do it")
        if "process_id" in params:
            refuse(lifecycle.problem_with_id(params["process_id"]))
            if method != "start":
                # A kill that overtook the start would find nothing, and leave a command behind.
                await self._starts.settled(params["process_id"])
        return await known(params)

    async def _hello(self, _params: dict[str, Any]) -> dict[str, Any]:
        await self._host.ready()
        return {**facts(), "sandbox_id": self._sandbox_id}

    async def _statistics(self, _params: dict[str, Any]) -> dict[str, Any]:
        return {"requests": self._host.requests, "commands": len(self._logs)}

    # Starts.

    async def _start(self, params: dict[str, Any]) -> dict[str, Any]:
        start = prepare(params, key=self._key, workspace=self._workspace)
        lines = await self._starts.ask(start.process_id, start, start.size)
        created = False
        for line in lines:
            if isinstance(line, answers.Conflict):
                raise ConflictError(f"command {start.process_id!r} exists with another spec")
            if isinstance(line, answers.Failed):
                raise AgentFault(f"{start.process_id} could not be started: {line.reason.strip()}")
            created = created or (isinstance(line, answers.Started) and line.created)
        report = self._known(start.process_id)
        if report.exit is not None and report.exit.get("reason") == "spawn_failed":
            raise _spawn_error(report.exit)
        return {"created": created, "info": _info(report)}

    async def _start_all(self, batch: Mapping[str, Start]) -> list[answers.Line]:
        self._untidy += len(batch)
        if self._untidy > TIDY_AFTER:
            self._untidy = len(batch)
            await self._host.tidy()

        async def ask(some: Mapping[str, Start]) -> list[answers.Line]:
            arguments, env = start_arguments(list(some.values()))
            return await self._host.ask("start", arguments, env=env, workdir=self._workspace)

        return self._take(await _in_parts(batch, ask))

    # Questions.

    async def _info(self, params: dict[str, Any]) -> dict[str, Any]:
        process_id = params["process_id"]
        await self._looks.ask(process_id, process_id, len(process_id))
        return {"info": _info(self._known(process_id))}

    async def _look_all(self, batch: Mapping[str, str]) -> list[answers.Line]:
        async def ask(some: Mapping[str, str]) -> list[answers.Line]:
            return await self._host.ask("tick", tick_arguments(0, dict.fromkeys(some)))

        return self._take(await _in_parts(batch, ask))

    async def _list(self, params: dict[str, Any]) -> dict[str, Any]:
        while True:
            try:
                arguments = (params.get("after") or "-", str(self._page))
                lines = self._take(await self._host.ask("list", arguments))
                break
            except answers.CutAnswer:
                if self._page == 1:
                    raise
                self._page //= 2  # as in a poll
        reports = [line for line in lines if isinstance(line, answers.Report)]
        infos = [_info(report) for report in reports if _matches(report, params)]
        more = any(isinstance(line, answers.Total) and line.more for line in lines)
        return {"infos": infos, "next": reports[-1].process_id if more and reports else None}

    async def _signal(self, params: dict[str, Any]) -> dict[str, Any]:
        process_id = params["process_id"]
        arguments = (process_id, params["signal_id"], params["name"], params.get("cause") or "-")
        for line in self._take(await self._host.ask("signal", arguments)):
            if isinstance(line, answers.Signaled):
                return {"delivered": line.delivered}
        raise CommandNotFound(process_id)

    async def _kill(self, params: dict[str, Any]) -> dict[str, Any]:
        process_id, grace = params["process_id"], float(params.get("grace", lifecycle.GRACE))
        batches = self._kills.get(grace)
        if batches is None:
            batches = self._kills[grace] = Batches(lambda batch: self._kill_all(grace, batch))
        for line in await batches.ask(process_id, process_id, len(process_id)):
            if isinstance(line, answers.Killed) and line.survivors:
                raise SurvivorsLeft(process_id, line.survivors, "ancestry")
        report = self._known(process_id)
        return {"exit": report.exit, "survivors": [], "means": "ancestry"}

    async def _kill_all(self, grace: float, batch: Mapping[str, str]) -> list[answers.Line]:
        # Whatever is asked for again keeps its number, and is not signalled again.
        number = secrets.token_hex(8)
        end = anyio.current_time() + grace
        while True:
            wait = max(0.0, end - anyio.current_time())
            last = wait <= KILL_SECONDS
            wait = min(wait, KILL_SECONDS)
            options = (number, f"{wait:g}", "1" if last else "0")

            async def ask(some: Mapping[str, str]) -> list[answers.Line]:
                seconds = REQUEST_SECONDS + wait  # noqa: B023  # it is asked within this round
                return await self._host.ask("kill", (*options, *some), seconds=seconds)  # noqa: B023

            lines = await _in_parts(batch, ask)
            left = any(isinstance(line, answers.Killed) and line.survivors for line in lines)
            if last or not left:
                return self._take(lines)

    # What came.

    def _take(self, lines: list[answers.Line]) -> list[answers.Line]:
        news = self._logs.take(lines)
        if news:
            self._on_news(news)
        return lines

    def _known(self, process_id: str) -> answers.Report:
        report = self._logs.report(process_id)
        if report is None:
            raise CommandNotFound(process_id)
        return report


async def _in_parts(
    batch: Mapping[str, T], ask: Callable[[Mapping[str, T]], Awaitable[list[answers.Line]]]
) -> list[answers.Line]:
    """Ask for a batch; in halves, where the far side keeps less of an answer than it takes."""
    try:
        return await ask(batch)
    except answers.CutAnswer:
        if len(batch) == 1:
            raise
    items = [*batch.items()]
    half = len(items) // 2
    first = await _in_parts(dict(items[:half]), ask)
    return [*first, *await _in_parts(dict(items[half:]), ask)]


def _info(report: answers.Report) -> dict[str, Any]:
    return {
        "spec": report.spec or {"process_id": report.process_id, "command": "?"},
        "pid": report.pid,
        "started_at": report.started_at,
        "exit": report.exit,
        "log_end": report.end,
    }


def _matches(report: answers.Report, wanted: Mapping[str, Any]) -> bool:
    spec, fate = report.spec or {}, report.exit or {}
    status = lifecycle.status_of(fate.get("reason"), fate.get("exit_code"))
    tags = spec.get("tags") or {}
    return (
        wanted.get("status") in {None, status}
        and wanted.get("name") in {None, spec.get("name")}
        and all(tags.get(key) == value for key, value in (wanted.get("tags") or {}).items())
    )


def _spawn_error(fate: Mapping[str, Any]) -> SpawnError:
    number, name = int(fate.get("errno") or 0), str(fate.get("filename") or "the program")
    message = f"{name!r} could not be started: {os.strerror(number)}"
    return SpawnError(message, errno=number, filename=name)
