"""A keeper's double that writes real logs and spawns nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from hopx_async.protocol import records

if TYPE_CHECKING:
    import socket
    from pathlib import Path

__all__ = [
    "PATIENCE",
    "PID",
    "STARTED_AT",
    "FakeKeeper",
    "FakeLog",
    "full_spec",
    "make_state",
    "public",
]

#: Seconds after which a test that waits for an event has failed.
PATIENCE = 30.0
PID = 4242
STARTED_AT = 1_700_000_000.5


def make_state(path: Path) -> Path:
    """Make an empty state directory."""
    (path / "logs").mkdir(parents=True)
    (path / "workspace").mkdir()
    return path


def full_spec(process_id: str = "one", **changes: Any) -> dict[str, Any]:
    """Return a full spec as a client sends it."""
    return {"process_id": process_id, "command": "echo hi", **changes}


def public(process_id: str = "one", **changes: Any) -> dict[str, Any]:
    """Return a public spec as it stands in a log."""
    spec: dict[str, Any] = {"process_id": process_id, "command": "x", "env_names": []}
    spec |= {"tags": {}, "name": None}
    return {**spec, "spec_digest": "00" * 32, "created_at": STARTED_AT, **changes}


class FakeLog:
    """Writes one command's log as a keeper does, but rolls and frees when it is told to."""

    def __init__(self, logs: Path, process_id: str, spec: dict[str, Any]) -> None:
        self._logs = logs
        self.process_id = process_id
        self.spec = spec
        self.segments = [0]
        self.end = 0
        self.last: bytes | None = None
        self.exit: dict[str, Any] = {}
        self._counts = [0, 0]
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        os.close(os.open(self._path(0), flags, 0o600))
        self._append(records.encode_base(STARTED_AT, 0, 0, 0))
        self._append(records.encode_json(records.SPEC, STARTED_AT, spec))

    def start(self) -> None:
        started = {"pid": PID, "start_ticks": 1, "boot_id": "b"}
        self._record(records.encode_json(records.STARTED, STARTED_AT, started))

    def write(self, data: bytes, kind: int = records.STDOUT) -> None:
        stream = kind - records.STDOUT
        pieces, _ = records.place_data(self.end, kind, STARTED_AT, self._counts[stream], data)
        self._append(b"".join(pieces))
        self._counts[stream] += len(data)

    def roll(self) -> None:
        """Begin the next segment."""
        self._append(bytes([records.PAD]) * (-self.end % records.BLOCK))
        self.segments = [*self.segments, self.end]
        self._append(records.encode_base(STARTED_AT, self.end, *self._counts))

    def free(self, *, told: bool = True) -> None:
        """Unlink the oldest segment but the head."""
        self._path(self.segments[1]).unlink()
        if told:
            self.segments = [0, *self.segments[2:]]

    def finish(self, kind: int = records.EXITED, **exit_: Any) -> None:
        self.exit = {"exit_code": 0, "signal": None, "reason": "exited", "ended_at": STARTED_AT}
        self.exit |= {"started_at": STARTED_AT, "duration": 0.5, "survivors": 0, **exit_}
        value = {**self.exit, "tail": [["stdout", base64.b64encode(b"tail").decode()]]}
        record = records.encode_json(kind, STARTED_AT, value)
        self._record(record)
        self.last = record

    def entry(self, **known: Any) -> dict[str, Any]:
        entry = {"id": self.process_id, "end": self.end, "segments": self.segments, **known}
        if self.last is not None:
            entry["last"] = base64.b64encode(self.last).decode()
        return entry

    def index_lines(self) -> str:
        begun = {"id": self.process_id, "spec": self.spec, "pid": PID, "started_at": STARTED_AT}
        lines = json.dumps(begun) + "\n"
        if self.last is not None:
            where = [self.end - len(self.last), len(self.last)]
            ended = {"id": self.process_id, "end": self.end, "last": where, "exit": self.exit}
            lines += json.dumps(ended) + "\n"
        return lines

    def _record(self, record: bytes) -> None:
        self._append(records.pad_before(self.end, len(record)) + record)

    def _append(self, data: bytes) -> None:
        with self._path(self.segments[-1]).open("r+b" if self._exists() else "wb") as file:
            file.seek(self.end - self.segments[-1])
            file.write(data)
        self.end += len(data)

    def _exists(self) -> bool:
        return self._path(self.segments[-1]).exists()

    def _path(self, start: int) -> Path:
        return self._logs / records.segment_name(self.process_id, start)


class FakeKeeper:
    """Answers an agent; commands do what the test says, and nothing by themselves.

    Unrealistic: nothing is spawned, and news are sent at once, one line each.

    Attributes:
        requests: What the agent has asked, in order.
        refusals: Errors for the next requests, taken before anything else is done.
        silent: Whether requests are noted and not answered.
    """

    def __init__(self, state_dir: Path, sock: socket.socket) -> None:
        self.state_dir = state_dir
        self.logs: dict[str, FakeLog] = {}
        self.requests: list[dict[str, Any]] = []
        self.refusals: deque[dict[str, Any]] = deque()
        self.silent = False
        self.survivors: list[tuple[int, str]] = []
        self._sock = sock
        self._arrived = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def introduce(self, *, index: str | None = "") -> None:
        """Send the snapshot; *index* is the index file's text, None for a broken one."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._sock, limit=1 << 25)
        known = {"pid": PID, "started_at": STARTED_AT}
        for log in self.logs.values():
            if log.last is None:
                self.send({"snapshot": [log.entry(spec=log.spec, **known)]})
        if index is not None:
            (self.state_dir / "index.1").write_text(index)
        self.send({"ready": True, "index": None if index is None else len(index)})
        self._reader = asyncio.create_task(self._read(reader))

    async def aclose(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        else:
            self._sock.close()

    async def asked(self, count: int) -> dict[str, Any]:
        """Wait until so many requests have come; return the last of them."""
        async with asyncio.timeout(PATIENCE):
            while len(self.requests) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.requests[count - 1]

    def send(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(json.dumps(message).encode() + b"\n")

    def tell(self, *logs: FakeLog, **known: Any) -> None:
        """Send the news of these logs in one line."""
        self.send({"news": [log.entry(**known) for log in logs]})

    def log(self, process_id: str, **changes: Any) -> FakeLog:
        """Write the beginning of a log, without telling."""
        log = FakeLog(self.state_dir / "logs", process_id, public(process_id, **changes))
        log.start()
        self.logs[process_id] = log
        return log

    def running(self, process_id: str, **changes: Any) -> FakeLog:
        """Start a command and tell of it."""
        log = self.log(process_id, **changes)
        self.tell(log, spec=log.spec, pid=PID, started_at=STARTED_AT)
        return log

    def finish(self, process_id: str, **exit_: Any) -> None:
        self.logs[process_id].finish(**exit_)
        self.tell(self.logs[process_id])

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            request = json.loads(line)
            self.requests.append(request)
            self._arrived.set()
            if not self.silent:
                self.answer(request)

    def answer(self, request: dict[str, Any]) -> None:
        if self.refusals:
            self.send({"re": request["rid"], "error": self.refusals.popleft()})
        elif request["op"] == "start":
            self._start(request)
        elif request["op"] == "kill":
            log = self.logs[request["id"]]
            if log.last is None and not self.survivors:
                self.finish(request["id"], exit_code=None, signal="SIGKILL", reason="killed")
            ok = {"survivors": self.survivors, "means": "ancestry"}
            self.send({"re": request["rid"], "ok": ok})
        else:
            self.send({"re": request["rid"], "ok": {"delivered": True}})

    def _start(self, request: dict[str, Any]) -> None:
        spec = request["public"]
        try:
            log = FakeLog(self.state_dir / "logs", spec["process_id"], spec)
        except FileExistsError:
            error = {"code": "conflict_claimed", "message": "claimed"}
            self.send({"re": request["rid"], "error": error})
            return
        log.start()
        self.logs[spec["process_id"]] = log
        self.tell(log, spec=spec, pid=PID, started_at=STARTED_AT)
        ok = {"pid": PID, "started_at": STARTED_AT, "created": True}
        self.send({"re": request["rid"], "ok": ok})
