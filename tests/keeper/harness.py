"""A keeper process driven by hand: the test plays its root and its agent."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hopx_async.keeper.scan import Scanner
from hopx_async.protocol import records

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
__all__ = [
    "NONCE",
    "KeeperProcess",
    "keeper_process",
    "make_state",
    "output",
    "read_log",
    "running",
]

#: Seconds after which a test that waits for an event has failed.
PATIENCE = 60.0
#: Stands for this test process in scopes and marks: those are looked for on the whole machine,
#: where other workers run the same tests.
NONCE = f"sbx_{uuid.uuid4().hex}"
ENV = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": "/"}


class Lines:
    """One end of a channel: whole messages in, whole messages out."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._rest = b""

    def send(self, message: dict[str, Any]) -> None:
        self.sock.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]] | None:
        """Return what has come; None when the other side has gone."""
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionError:
            data = b""
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


_PROGRAM = ("-m", "hopx_async.keeper.keeper")


class KeeperProcess:
    """A keeper, and what it has said so far.

    Attributes:
        known: By process id everything that news and snapshots told, merged.
        replies: By request id.
    """

    def __init__(self, state_dir: Path, program: tuple[str, str] = _PROGRAM, **config: Any) -> None:
        self.state_dir = state_dir
        mine, its = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, *program, "--root-fd", str(its.fileno())],
            pass_fds=[its.fileno()],
            start_new_session=True,
        )
        its.close()
        self.root: Lines | None = Lines(mine)
        self.agent: Lines | None = None
        self.config = {
            "op": "config",
            # No two directories share one: each keeper ends whatever has its scope.
            "sandbox_id": f"sbx_{uuid.uuid5(uuid.NAMESPACE_URL, str(state_dir)).hex}",
            "outer_scope": "",
            "state_dir": str(state_dir),
            "retention_bytes": records.RETENTION_BYTES,
            "segment_bytes": records.SEGMENT_BYTES,
            "keep_bytes": records.SANDBOX_RETENTION_BYTES,
            "keep_commands": records.KEEP_COMMANDS,
            "keep_seconds": records.KEEP_SECONDS,
            "drain_time": 0.25,
            "grace": 5.0,
            "number": 1,
            "recover": "all",
            **config,
        }
        pid = self.process.pid
        self._scanner = Scanner(str(self.config["sandbox_id"]), "", pid, {pid, os.getpid()})
        self.known: dict[str, dict[str, Any]] = {}
        self.news: list[dict[str, Any]] = []
        self.replies: dict[int, dict[str, Any]] = {}
        self.root_said: list[dict[str, Any]] = []
        self.index_bytes: int | None = None
        self._rid = 0
        self._introduced = False
        self.root.send(self.config)
        try:
            self.wait(lambda: {"op": "ready"} in self.root_said)
            self.connect_agent()
        except BaseException:
            self.process.kill()
            self.close()
            raise

    def connect_agent(self) -> None:
        """Give the keeper a new agent and take its snapshot."""
        if self.agent is not None:
            self.agent.sock.close()
        mine, its = socket.socketpair()
        assert self.root is not None
        socket.send_fds(self.root.sock, [b'{"op":"agent"}\n'], [its.fileno()])
        its.close()
        self.agent = Lines(mine)
        self._introduced = False
        self.wait(lambda: self._introduced)

    # Waiting.

    def wait(self, condition: Callable[[], object]) -> None:
        """Take what comes until *condition* holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "the keeper did not do it"
            self._pump(deadline - time.monotonic())

    def _pump(self, patience: float) -> None:
        ends = [end for end in (self.root, self.agent) if end is not None]
        assert ends, "the keeper has gone"
        readable, _, _ = select.select([end.sock for end in ends], [], [], patience)
        for end in ends:
            if end.sock in readable:
                messages = end.receive()
                if messages is None:
                    end.sock.close()
                    if end is self.root:
                        self.root = None
                    else:
                        self.agent = None
                for message in messages or []:
                    (self._from_root if end is self.root else self._from_agent)(message)

    def _from_root(self, message: dict[str, Any]) -> None:
        self.root_said.append(message)
        if message["op"] == "scan" and self.root is not None:
            found = self._scanner.scan(message["wanted"])
            # A keeper on its way out may ask and not wait for the answer.
            with contextlib.suppress(BrokenPipeError):
                self.root.send({"op": "scanned", "seq": message["seq"], "found": found})

    def _from_agent(self, message: dict[str, Any]) -> None:
        if "re" in message:
            self.replies[message["re"]] = message
        for entry in message.get("news", []) + message.get("snapshot", []):
            self.news.append(entry)
            self.known.setdefault(entry["id"], {}).update(entry)
        if "ready" in message:
            self._introduced = True
            self.index_bytes = message["index"]

    # Requests.

    def send(self, op: str, **message: Any) -> int:
        """Send a request; return its number."""
        self._rid += 1
        assert self.agent is not None
        self.agent.send({"op": op, "rid": self._rid, **message})
        return self._rid

    def ask(self, op: str, **message: Any) -> dict[str, Any]:
        """Send a request and return what is answered: ``ok`` or ``error``."""
        rid = self.send(op, **message)
        self.wait(lambda: rid in self.replies)
        return self.replies[rid]

    def send_start(self, process_id: str, command: str | list[str], **options: Any) -> int:
        """Ask for a start; keywords are those of the spec, and ``env`` and ``directory``."""
        env = {**ENV, **options.pop("env", {})}
        directory = options.pop("directory", str(self.state_dir))
        more = {"mask": options.pop("mask")} if "mask" in options else {}
        public = {
            "process_id": process_id,
            "command": command,
            "env_names": [],
            "working_dir": None,
            "timeout": None,
            "name": None,
            "tags": {},
            "merge_stderr": False,
            "spec_digest": "d",
            "created_at": time.time(),
            **options,
        }
        return self.send("start", public=public, env=env, working_dir=directory, **more)

    def start(self, process_id: str, command: str | list[str], **options: Any) -> dict[str, Any]:
        """Start a command and return the answer."""
        rid = self.send_start(process_id, command, **options)
        self.wait(lambda: rid in self.replies)
        return self.replies[rid]

    def end_of(self, process_id: str) -> dict[str, Any]:
        """Wait for the end of a command and return its exit."""
        self.wait(lambda: "last" in self.known.get(process_id, {}))
        reader = records.RecordReader()
        reader.feed(base64.b64decode(self.known[process_id]["last"]))
        record = reader.read()
        assert record is not None
        assert record.kind in records.TERMINAL_KINDS
        return dict(record.json())

    def run(self, process_id: str, command: str | list[str], **options: Any) -> dict[str, Any]:
        """Start a command and return its exit."""
        self.start(process_id, command, **options)
        return self.end_of(process_id)

    def wait_for_output(self, process_id: str, text: bytes) -> None:
        """Wait until the command's log holds *text* on its stdout."""
        self.wait(lambda: text in output(self.state_dir, process_id)[0])

    # The end.

    def stop(self, grace: float = 5.0) -> int:
        """Stop the keeper and return its status."""
        assert self.root is not None
        self.root.send({"op": "stop", "grace": grace})
        self.wait(lambda: {"op": "stopped"} in self.root_said)
        return self.close()

    def close(self) -> int:
        """Leave the keeper alone, wait until it has gone and return its status."""
        for end in (self.root, self.agent):
            if end is not None:
                end.sock.close()
        self.root = self.agent = None
        return self.process.wait(PATIENCE)


def make_state(directory: Path) -> Path:
    """Make an empty state directory, as the root would."""
    (directory / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def keeper_process(
    directory: Path, program: tuple[str, str] = _PROGRAM, **config: Any
) -> Generator[KeeperProcess]:
    """A keeper over the state directory *directory*; its commands are ended with the block."""
    keeper = KeeperProcess(make_state(directory), program, **config)
    try:
        yield keeper
        if keeper.root is not None:
            assert keeper.stop(grace=0.0) == 0
    finally:
        if keeper.root is not None and keeper.process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                keeper.root.send({"op": "stop", "grace": 0.0})
        keeper.close()
        reap()


def reap() -> None:
    """Wait for what this process has adopted and has ended (it may be a subreaper)."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def read_log(state_dir: Path, process_id: str) -> list[records.Record]:
    """Read a whole log, checking that each segment stands where its name says."""
    found: list[records.Record] = []
    names = sorted(path.name for path in (state_dir / "logs").glob(f"{process_id}.*"))
    end = 0
    for name in names:
        parsed = records.parse_segment_name(name)
        assert parsed is not None
        data = (state_dir / "logs" / name).read_bytes()
        reader = records.RecordReader(parsed[1])
        reader.feed(data)
        assert parsed[1] % records.BLOCK == 0
        assert parsed[1] >= end
        while (record := reader.read()) is not None:
            found.append(record)
        end = reader.offset
    return found


def output(state_dir: Path, process_id: str) -> tuple[bytes, bytes]:
    """Return both streams of a command as its log has them."""
    found = read_log(state_dir, process_id)
    return (
        b"".join(record.data for record in found if record.kind == records.STDOUT),
        b"".join(record.data for record in found if record.kind == records.STDERR),
    )


def running(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
