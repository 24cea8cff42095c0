"""A root process with a fake agent, as a test's child."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.keeper.harness import ENV, PATIENCE, reap

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["RootProcess", "alive_below", "eventually", "root_process"]

_FAKE_AGENT = Path(__file__).with_name("fake_agent.py")
_PROGRAM = """
import json, sys
from hopx_async.keeper.root import main
given = json.loads(sys.argv[1])
exec(given["before"])
sys.exit(main(given["arguments"], agent_command=given["agent"], silence=given["silence"]))
"""


class RootProcess:
    """A root and what it announced.

    Attributes:
        said: The announcement, parsed; empty if there was none.
    """

    def __init__(
        self,
        *arguments: str,
        mode: str = "good",
        config: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        silence: float = 30.0,
        before: str = "",
    ) -> None:
        self.lifeline: int | None = None
        theirs = -1
        given = [*arguments, "--announce"]
        if config is not None:
            theirs, self.lifeline = os.pipe()
            os.write(self.lifeline, json.dumps(config).encode() + b"\n")
            given += ["--parent-fd", str(theirs)]
        agent = [sys.executable, str(_FAKE_AGENT), mode]
        program = json.dumps(
            {"arguments": given, "agent": agent, "silence": silence, "before": before}
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[] if config is None else [theirs],
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        if config is not None:
            os.close(theirs)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.said: dict[str, Any] = json.loads(line) if line else {}

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Say one line to the agent and return its answer."""
        host, _, port = self.said["url"].rpartition("//")[2].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(json.dumps(message).encode() + b"\n")
            with connection.makefile("rb") as lines:
                return dict(json.loads(lines.readline()))

    def start(self, process_id: str, command: str, directory: str = "/", *, to: int = 1) -> int:
        """Start a command at one of the keepers and return its pid."""
        public = {"process_id": process_id, "command": command}
        asked = {"op": "start", "rid": 1, "public": public, "env": ENV, "working_dir": directory}
        return int(self.ask({**asked, "to": to})["ok"]["pid"])

    def keepers(self) -> dict[int, dict[str, Any]]:
        """Return what the agent was told of the keepers last, by number."""
        who = self.ask({"op": "who"})
        return {one["number"]: one for one in who["keepers"] or who["config"]["keepers"]}

    def tell(self, message: dict[str, Any]) -> None:
        """Write a line to the lifeline."""
        assert self.lifeline is not None
        os.write(self.lifeline, json.dumps(message).encode() + b"\n")

    def let_go(self) -> None:
        """Close the lifeline, as a parent's death does."""
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None

    def keeper_pid(self) -> int:
        """Return the keeper's pid."""
        for pid in _children(self.process.pid):
            if b"hopx_async.keeper.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise AssertionError("there is no keeper")

    def complaint(self, text: str) -> str:
        """Wait until stderr has a line with *text* and return it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line.decode():
                return line.decode()
        raise AssertionError(f"nobody complained of {text!r}")

    def wait(self) -> int:
        """Wait for its end and return the status."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it, whatever state it is in."""
        self.let_go()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        reap()


@contextlib.contextmanager
def root_process(*arguments: str, **options: Any) -> Generator[RootProcess]:
    """A root that is ended with the block."""
    root = RootProcess(*arguments, **options)
    try:
        yield root
    finally:
        root.close()


def wait_for_end(pid: int) -> None:
    """Wait until a process, no child of ours, has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([pidfd], [], [], PATIENCE)[0], f"{pid} did not end"
    finally:
        os.close(pidfd)


def eventually(condition: Callable[[], Any]) -> Any:
    """Return the first true value of *condition*; for what gives no notice."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def alive_below(pid: int) -> list[int]:
    """Return all descendants of *pid*."""
    found = _children(pid)
    for child in found[:]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += alive_below(child)
    return found
