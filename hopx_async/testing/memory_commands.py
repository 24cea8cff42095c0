"""The commands of a memory sandbox: scripts that write real logs and end for real reasons."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel

from hopx_async.errors import (
    ClosedError,
    CommandNotFound,
    ConflictError,
    SpawnError,
)
from hopx_async.keeper.mask import Masks
from hopx_async.model import refuse
from hopx_async.protocol import lifecycle, records
from hopx_async.protocol.variables import Variables
from hopx_async.testing.memory_idle import MemoryIdle
from hopx_async.testing.memory_input import Interactive
from hopx_async.testing.memory_log import MemoryLogs
from hopx_async.testing.memory_ports import MemoryPorts

__all__ = ["MemoryCommands", "Script", "ScriptedCommand"]

_PAGE = 100
# Signals that a script does not see end; everything else ends it.
_HARMLESS = frozenset({"SIGCONT", "SIGWINCH"})


class ScriptedCommand(Interactive):
    """A command in a memory sandbox, as its script sees it.

    Attributes:
        process_id: Its id.
        pid: A number, unique in the sandbox.
        spec: The full spec of its start, ``env`` included.
        ports: The ports it listens on.
        env: The variables it runs with: those of ``sandbox.env`` at its start, and its own.
    """

    def __init__(self, spec: dict[str, Any], pid: int, owner: MemoryCommands) -> None:
        super().__init__(spec)
        self.process_id: str = spec["process_id"]
        self.pid = pid
        self.spec = spec
        merged = {**owner.variables.values, **(spec.get("env") or {})}
        self.env: dict[str, str] = {
            name: value for name, value in merged.items() if value is not None
        }
        texts = owner.variables.to_mask(spec)
        self._masks = Masks(texts) if texts else None
        self._owner = owner
        self._task: asyncio.Task[None] | None = None
        self._cause: str | None = None
        self._signal: str | None = None
        self._signal_ids: set[str] = set()
        self._tail: deque[tuple[str, bytes]] = deque()
        self._tail_bytes = 0
        self._began = anyio.current_time()
        self._idle = MemoryIdle(spec.get("idle_timeout"))
        self.started_at: float | None = None
        self.exit: dict[str, Any] | None = None
        self.ended = anyio.Event()
        self.ports = MemoryPorts()

    async def stdout(self, data: bytes) -> None:
        """Write to stdout."""
        await self._write(records.STDOUT, "stdout", data)

    async def stderr(self, data: bytes) -> None:
        """Write to stderr."""
        merged = self.spec.get("merge_stderr") or self.spec.get("pty")
        await self._write(
            records.STDOUT if merged else records.STDERR, "stdout" if merged else "stderr", data
        )

    def listen(self, port: int, paths: Mapping[str, int] | None = None) -> None:
        """Listen on a port, as ``wait_for_port`` sees it.

        Args:
            port: Its number.
            paths: What ``wait_for_http`` is answered: a status for each path; others: 404.
        """
        self.ports.open(port, paths or {})

    async def usage(
        self,
        *,
        cpu_seconds: float = 0.0,
        rss_bytes: int = 0,
        read_bytes: int | None = 0,
        write_bytes: int | None = 0,
    ) -> None:
        """Be sampled with these figures; nothing happens unless the start asked for samples."""
        if self.exit is None and self.spec.get("usage_interval") is not None:
            figures: dict[str, Any] = {"cpu_seconds": cpu_seconds, "rss_bytes": rss_bytes}
            figures |= {"read_bytes": read_bytes, "write_bytes": write_bytes}
            self._owner.append(self.process_id, records.USAGE, figures)
        await anyio.lowlevel.checkpoint()

    async def _write(self, kind: int, stream: str, data: bytes) -> None:
        if self._masks is not None:
            data = bytes(self._masks.feed(kind, data))
        self._append(kind, stream, data)
        await anyio.lowlevel.checkpoint()

    def _append(self, kind: int, stream: str, data: bytes) -> None:
        kept = self._owner.logs.end(self.process_id) is not None
        if self.exit is None and data and kept:
            self._idle.touched()
            self._tail.append((stream, data[-lifecycle.TAIL_BYTES :]))
            self._tail_bytes += len(self._tail[-1][1])
            while self._tail_bytes - len(self._tail[0][1]) >= lifecycle.TAIL_BYTES:
                self._tail_bytes -= len(self._tail.popleft()[1])
            self._owner.logs.append_data(self.process_id, kind, self._owner.now(), data)
            self._owner.changed(self.process_id)

    # What its owner does.

    def begin(self, script: Script) -> None:
        """Run the script as a task."""
        self.started_at = self._owner.now()
        started = {"pid": self.pid, "start_ticks": 0, "boot_id": ""}
        self._owner.append(self.process_id, records.STARTED, started)
        self._task = asyncio.create_task(self._run(script))

    def end_by(self, cause: str | None, signal: str) -> None:
        """End the script as a signal does; the first cause counts."""
        if self.exit is None and self._task is not None:
            self._cause = self._cause or cause
            self._signal = self._signal or signal
            self._task.cancel()

    async def gone(self) -> None:
        """Wait until the script's task has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def deliver(self, signal_id: str, name: str, cause: str | None) -> bool:
        """Deliver a signal once; return whether the command was there to get it."""
        if self.exit is not None:
            return False
        again = signal_id in self._signal_ids
        if not again and not self.caught(name) and name not in _HARMLESS:
            self.end_by(cause, name)
        self._signal_ids.add(signal_id)
        return True

    async def _run(self, script: Script) -> None:
        code: int | None = None
        try:
            with anyio.move_on_after(self.spec.get("timeout")) as scope:
                code = await self._idle.watch(script(self))
            if self._idle.over:
                self._cause, self._signal = self._cause or "idle_timed_out", "SIGTERM"
            if scope.cancelled_caught:
                self._cause, self._signal = self._cause or "timed_out", "SIGTERM"
        except asyncio.CancelledError:
            pass  # by `end_by`: nobody else has this task
        except Exception:
            code = 1
            raise
        finally:
            signal = self._signal or (None if code is not None else "SIGKILL")
            self.finish(None if signal else code, signal)

    def finish(self, code: int | None, signal: str | None, **more: Any) -> None:
        """Write the last record."""
        reason = more.pop("reason", None) or lifecycle.reason_for(self._cause, code, signal)
        if self._masks is not None:
            for kind, stream in ((records.STDOUT, "stdout"), (records.STDERR, "stderr")):
                self._append(kind, stream, bytes(self._masks.end(kind)))
        now = self._owner.now()
        self.exit = {
            "exit_code": code,
            "signal": signal,
            "reason": reason,
            "started_at": self.started_at,
            "ended_at": now,
            "duration": anyio.current_time() - self._began,
            "survivors": 0,
            **more,
        }
        tail = {} if (reason, code) == ("exited", 0) else {"tail": self._encoded_tail()}
        self._owner.append(self.process_id, records.EXITED, {**self.exit, **tail})
        self.input.close()
        self.ended.set()
        self.ports.close()

    def _encoded_tail(self) -> list[list[str]]:
        room = lifecycle.TAIL_BYTES
        pieces: list[list[str]] = []
        for stream, data in reversed(self._tail):
            kept = data[-room:] if room else b""
            room -= len(kept)
            if kept:
                pieces.insert(0, [stream, base64.b64encode(kept).decode()])
        return pieces

    def info(self) -> dict[str, Any]:
        """Return what is known of it, as an agent says it."""
        hidden = {"env", "secrets"}
        public = {key: value for key, value in self.spec.items() if key not in hidden}
        public["env_names"] = sorted(self.spec.get("env") or {})
        return {
            "spec": public,
            "pid": self.pid if self.started_at is not None else None,
            "started_at": self.started_at,
            "exit": self.exit,
            "log_end": self._owner.logs.end(self.process_id),
        }


Script: TypeAlias = Callable[[ScriptedCommand], Awaitable[int]]


class MemoryCommands:
    """The commands of one memory sandbox, and the calls about them.

    Attributes:
        logs: Their logs.
        variables: What ``sandbox.env`` has set.
    """

    def __init__(self, scripts: Mapping[str, Script], news: Callable[[str], None]) -> None:
        self.logs = MemoryLogs()
        self.variables = Variables()
        self._scripts = scripts
        self._news = news
        self._commands: dict[str, ScriptedCommand] = {}
        self._pids = itertools.count(1000)
        self._stopped = False

    def __getitem__(self, process_id: str) -> ScriptedCommand:
        """Return a command by its id."""
        try:
            return self._commands[process_id]
        except KeyError:
            raise CommandNotFound(process_id) from None

    def now(self) -> float:
        """Return the time that records carry: the loop's clock, virtual in tests."""
        return anyio.current_time()

    def append(self, process_id: str, kind: int, value: dict[str, Any]) -> None:
        """Append a record and tell the connections; a log that was lost takes nothing."""
        if self.logs.end(process_id) is None:
            return
        self.logs.append_json(process_id, kind, self.now(), value)
        self.changed(process_id)

    def changed(self, process_id: str) -> None:
        """Tell the connections that a log has grown."""
        self._news(process_id)

    def forget(self, process_id: str) -> None:
        """Lose a command with its log, as an agent that lost its state."""
        command = self._commands.pop(process_id)
        command.end_by("killed", "SIGKILL")
        self.logs.forget(process_id)

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Carry out one call."""
        if method in {"start", "list"}:
            return (self._start if method == "start" else self._list)(params)
        if method == "statistics":
            return {"commands": len(self._commands)}
        if method.startswith("env_"):
            if method != "env_get":
                self.variables = self.variables.after(method, params)
            return self.variables.told()
        return await self._about(method, params)

    async def _about(self, method: str, params: dict[str, Any]) -> Any:
        command = self[params["process_id"]]
        if method == "info":
            return {"info": command.info()}
        if method == "signal":
            return {
                "delivered": command.deliver(params["signal_id"], params["name"], params["cause"])
            }
        if method == "kill":
            command.end_by("killed", "SIGTERM")
            await command.ended.wait()
            return {"exit": command.exit, "survivors": [], "means": "ancestry"}
        if method == "wait_port":
            return await command.ports.wait(params["port"], params["path"])
        return await command.input.call(method, params)

    async def stop(self) -> None:
        """End all commands as a stopping sandbox does."""
        self._stopped = True
        for command in list(self._commands.values()):
            command.end_by("sandbox_stopped", "SIGTERM")
            await command.gone()

    def _start(self, spec: dict[str, Any]) -> dict[str, Any]:
        refuse(lifecycle.problem_with_spec(spec))
        known = self._commands.get(spec["process_id"])
        if known is not None:
            if known.spec != spec:
                raise ConflictError(f"{known.process_id} exists with another spec")
            self._raise_if_not_spawned(known)
            return {"created": False, "info": known.info()}
        if self._stopped:
            raise ClosedError("the sandbox is stopping")
        command = ScriptedCommand(spec, next(self._pids), self)
        self._commands[command.process_id] = command
        self.logs.create(command.process_id, command.info()["spec"], self.now())
        text = spec["command"] if isinstance(spec["command"], str) else spec["command"][0]
        script = self._scripts.get(text)
        if script is None:
            command.finish(None, None, reason="spawn_failed", errno=2, filename=text)
        else:
            command.begin(script)
        self._raise_if_not_spawned(command)
        return {"created": True, "info": command.info()}

    def _raise_if_not_spawned(self, command: ScriptedCommand) -> None:
        fate = command.exit
        if fate is not None and fate["reason"] == "spawn_failed":
            name = fate["filename"]
            message = f"{name!r} could not be started: there is no script for it"
            raise SpawnError(message, errno=fate["errno"], filename=name)

    def _list(self, params: dict[str, Any]) -> dict[str, Any]:
        # By their numbers: what the page before ended with may no longer match, or be forgotten.
        after = int(params.get("after") or 0)
        later = [each for each in self._commands.values() if each.pid > after]
        infos = [(each.pid, info) for each in later if _matches(info := each.info(), params)]
        page, rest = infos[:_PAGE], infos[_PAGE:]
        return {"infos": [info for _, info in page], "next": str(page[-1][0]) if rest else None}


def _matches(info: dict[str, Any], wanted: dict[str, Any]) -> bool:
    spec, fate = info["spec"], info["exit"] or {}
    status = lifecycle.status_of(fate.get("reason"), fate.get("exit_code"))
    tags = spec.get("tags") or {}
    return (
        wanted.get("status") in {None, status}
        and wanted.get("name") in {None, spec.get("name")}
        and all(tags.get(key) == value for key, value in (wanted.get("tags") or {}).items())
    )
