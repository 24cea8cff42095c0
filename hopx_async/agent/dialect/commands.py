"""The routes of commands and code, of their listings, and every form of a kill."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from hopx_async.agent.board import Command
from hopx_async.agent.dialect.answers import Refused, read_json, stamp
from hopx_async.agent.dialect.asks import BACKGROUND_SECONDS, LANGUAGE, Asks, execution_id, text_of
from hopx_async.agent.dialect.processes import system_processes
from hopx_async.agent.dialect.rows import Rows
from hopx_async.agent.dialect.running import Ended, Running, code_of
from hopx_async.agent.guard import json_response
from hopx_async.errors import SpawnError

__all__ = ["CommandRoutes"]

_Body = dict[str, Any]


class CommandRoutes:
    """The handlers.

    Args:
        asks: Makes specs from bodies.
        running: Carries them out.
        rows: Lists them.
    """

    def __init__(self, asks: Asks, running: Running, rows: Rows) -> None:
        self._asks = asks
        self._running = running
        self._rows = rows

    def add_to(self, app: web.Application) -> None:
        """Add every route to *app*."""
        app.add_routes(
            [
                web.post("/commands/run", self._run),
                web.post("/commands/background", self._background),
                web.post("/execute", self._execute),
                web.post("/execute/background", self._execute_background),
                web.post("/execute/async", _not_here),
                web.post("/execute/ipython", _not_here),
                web.post("/execute/rich", _not_here),
                web.get("/execute/processes", self._list),
                web.get("/processes", self._list_all),
                web.post("/execute/kill", self._kill),
                web.delete("/execute/kill", self._kill),
                web.post("/execute/kill/{process_id}", self._kill),
                web.delete("/execute/kill/{process_id}", self._kill),
                web.post("/processes/{process_id}/kill", self._kill),
            ]
        )

    async def _run(self, request: web.Request) -> web.Response:
        spec = self._asks.command(await read_json(request), "run")
        ended = await self._running.finish(spec)
        return json_response({**_told(spec, ended), "command": text_of(spec["command"])})

    async def _execute(self, request: web.Request) -> web.Response:
        spec = self._asks.code(await read_json(request), "run")
        ended = await self._running.finish(spec)
        return json_response({**_told(spec, ended), "language": spec["tags"][LANGUAGE]})

    async def _background(self, request: web.Request) -> web.Response:
        body = await read_json(request)
        spec = self._asks.command(body, "background", BACKGROUND_SECONDS)
        return await self._begin(spec, "Background process started")

    async def _execute_background(self, request: web.Request) -> web.Response:
        body = await read_json(request)
        spec = self._asks.code(body, "background", BACKGROUND_SECONDS)
        return await self._begin(spec, "Background execution started")

    async def _begin(self, spec: _Body, message: str) -> web.Response:
        process_id, pid, begun, status = spec["process_id"], 0, None, "running"
        try:
            command = await self._running.start(spec)
            pid, begun = command.pid or 0, command.started_at
        except SpawnError as error:
            # It has a row like the others, and says there how it failed.
            message, status = error.message, "failed"
        text = text_of(spec["command"])
        return json_response(
            {
                "process_id": process_id,
                "processId": process_id,
                "execution_id": execution_id(process_id),
                "status": status,
                "success": status == "running",
                "pid": pid,
                "name": spec["name"] or text.partition("\n")[0][:80],
                "command": text,
                "language": spec["tags"][LANGUAGE],
                "timeout": spec["timeout"],
                **dict.fromkeys(("start_time", "started_at"), stamp(begun)),
                "message": message,
                "timestamp": stamp(),
            }
        )

    async def _list(self, request: web.Request) -> web.Response:
        rows = await self._rows.all()
        return json_response({"processes": rows, "count": len(rows), "timestamp": stamp()})

    async def _list_all(self, request: web.Request) -> web.Response:
        rows = await self._rows.all()
        known = {row["pid"] for row in rows if row["status"] == "running"}
        others = [row for row in await system_processes() if row["pid"] not in known]
        rows += others
        return json_response({"processes": rows, "count": len(rows), "timestamp": stamp()})

    async def _kill(self, request: web.Request) -> web.Response:
        name = request.match_info.get("process_id") or await _named(request)
        command = self._running.find(name)
        ended = command.exit is not None
        await self._running.kill(command)
        status = _status(command)
        message = f"it had ended before: {status}" if ended else "Process killed"
        return json_response(
            {
                **dict.fromkeys(("process_id", "processId"), command.process_id),
                "status": status,
                "success": True,
                "message": message,
                "timestamp": stamp(),
            }
        )


async def _named(request: web.Request) -> str:
    """Return the id that is in the query or in the body."""
    body = await read_json(request)
    named = [body.get(key) for key in ("process_id", "processId", "execution_id")]
    for name in named:
        if name is not None and not isinstance(name, str):
            raise Refused("INVALID_REQUEST", "process_id: a text")
    for name in (request.query.get("process_id"), *named):
        if name:
            return str(name)
    raise Refused("MISSING_PARAMETER", "process_id is missing")


def _status(command: Command) -> str:
    return "killed" if command.exit is None else command.status


def _told(spec: _Body, ended: Ended) -> _Body:
    code = code_of(ended.exit)
    return {
        "stdout": ended.stdout,
        "stderr": ended.stderr,
        "exit_code": code,
        "success": code == 0,
        "execution_time": round(ended.exit.duration or 0.0, 6),
        "timed_out": ended.exit.reason == "timed_out",
        "signal": ended.exit.signal,
        "pid": ended.pid or 0,
        "process_id": spec["process_id"],
        "stdout_truncated": ended.cut[0],
        "stderr_truncated": ended.cut[1],
        "timestamp": stamp(),
    }


async def _not_here(request: web.Request) -> web.Response:
    message = f"{request.path} is not offered here: code runs as a plain child process"
    raise Refused("NOT_IMPLEMENTED", message, status=501)
