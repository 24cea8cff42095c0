"""The root's work: keepers and agent of one sandbox, from start to stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time

from hopx_async.keeper.cgroup import find_places
from hopx_async.keeper.channel import Channel
from hopx_async.keeper.keepers import Keepers
from hopx_async.keeper.loop import Loop
from hopx_async.keeper.options import Options, RootError, default_env
from hopx_async.keeper.proc import SCOPE, seal_descriptors
from hopx_async.keeper.state import StateDir
from hopx_async.keeper.store import complain
from hopx_async.keeper.subreaper import become_subreaper
from hopx_async.keeper.supervise import (
    Backoff,
    Child,
    agent_env,
    child_env,
    describe_status,
    socket_pair,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from hopx_async.keeper.loop import Timer

    Message = dict[str, Any]

__all__ = ["Root", "say", "url_host"]

_AGENT_STOP_TIME = 5.0


class Root:
    """Keepers and agent of one sandbox, from start to stop.

    Args:
        options: What it was told.
        state: The state directory, held.
        sock: The listening socket.
        agent_command: The agent's command line.
        silence: Seconds without a word after which an agent counts as dead.
    """

    def __init__(
        self,
        options: Options,
        state: StateDir,
        sock: socket.socket,
        *,
        agent_command: Sequence[str],
        silence: float = 30.0,
    ) -> None:
        self._options = options
        self._state = state
        self._sock = sock
        self._agent_command = agent_command
        self._silence = silence
        self._loop = Loop()
        self._env = child_env(os.environ)
        self._places = find_places()
        self._sandbox_id = options.sandbox_id or state.default_sandbox_id
        self._own = {os.getpid()}
        self._keepers = Keepers(
            self._loop,
            self,
            self._keeper_config(),
            env=self._env,
            fds={"lock": state.lock_fd, **state.fds},
            own=self._own,
            stalled_after=options.stalled_after,
            most_restarts=options.most_restarts,
        )
        self._agent: Child | None = None
        self._to_agent: Channel | None = None
        self._backoff = Backoff(most=options.most_restarts)
        self._heard = 0.0
        self._pings = 0
        self._announced = False
        self._stopping = False
        self._deadline: Timer | None = None
        self._lifeline = b""
        self._status: int | None = None
        self._failure: RootError | None = None

    def run(self, said: bytes = b"") -> int:
        """Run until it is told to stop; return the exit status.

        Args:
            said: What the parent said behind its first line.
        """
        become_subreaper()
        seal_descriptors()
        stop = self._told_to_stop
        signals: list[int] = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        self._loop.catch({**dict.fromkeys(signals, stop), signal.SIGCHLD: self._reap})
        self._keepers.sweep_strangers()
        self._keepers.more()
        self._start_agent()
        self._loop.call_later(self._silence / 6, self._ping)
        if self._options.parent_fd is not None:
            os.set_blocking(self._options.parent_fd, False)
            self._loop.add(self._options.parent_fd, self._parent_said)
            self._take_lines(said)
        if (watcher := self._options.watcher_fd) is not None:
            self._loop.add(watcher, lambda _events: self._watcher_gone(watcher))
        while self._status is None:
            self._loop.turn()
        self._state.untell()
        if self._failure is not None and not self._announced:
            raise self._failure
        return self._status

    # The parent.

    def _parent_said(self, _events: int) -> None:
        fd = self._options.parent_fd
        if fd is None:
            return
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        if data:
            self._take_lines(data)
            return
        self._loop.close(fd)
        self._options.parent_fd = None
        # A parent that said how to stop and went must not change its mind by going.
        if not self._stopping and not self._options.detached:
            self._stop(self._options.grace)

    def _watcher_gone(self, fd: int) -> None:
        # Nobody waits for the root any more; what is outside believes it gone.
        self._loop.close(fd)
        self._stop(self._options.grace)

    def _take_lines(self, data: bytes) -> None:
        *lines, self._lifeline = (self._lifeline + data).split(b"\n")
        for line in lines:
            try:
                self._stop(float(json.loads(line)["stop"]["grace"]))
            except (ValueError, KeyError, TypeError):
                complain(f"the parent said something unknown: {line[:80]!r}")
        if len(self._lifeline) > 65536:
            self._lifeline = b""

    # The keepers.

    def _keeper_config(self) -> Message:
        options = self._options
        return {
            "op": "config",
            "sandbox_id": self._sandbox_id,
            "outer_scope": os.environ.get(SCOPE, ""),
            "state_dir": self._state.path,
            "retention_bytes": options.retention_bytes,
            "keep_bytes": options.sandbox_retention_bytes,
            "keep_commands": options.keep_commands,
            "keep_seconds": options.keep_seconds,
            "segment_bytes": options.segment_bytes,
            "drain_time": options.drain_time,
            "grace": options.grace,
        }

    def keepers_changed(self) -> None:
        """Tell the agent how the keepers are (for :class:`Keepers`)."""
        if self._to_agent is not None:
            self._to_agent.send_json({"op": "keepers", "keepers": self._keepers.table})

    def keepers_failed(self, error: RootError) -> None:
        """Stop, since no keeper comes up (for :class:`Keepers`)."""
        self._failure = self._failure or error
        self._stop(0.0)

    def keepers_gone(self) -> None:
        """Let the agent go, too: there are no commands any more (for :class:`Keepers`)."""
        self._stop_agent()

    # The agent.

    def _start_agent(self) -> None:
        if self._stopping:
            return
        ours, its = socket_pair()
        with its:
            fds = {"listen": self._sock.fileno(), "root": its.fileno(), **self._state.fds}
            try:
                self._agent = Child(self._agent_command, fds, agent_env(os.environ))
            except OSError as error:
                # Commands may have taken all the processes there are; they go on.
                ours.close()
                self._start_agent_again(f"could not be started: {error}")
                return
        self._own.add(self._agent.pid)
        self._heard = time.monotonic()
        self._to_agent = Channel(ours, self._loop, self._from_agent, self._agent_let_go)
        self._to_agent.send_json(self._agent_config())
        self._keepers.connect(self._to_agent)

    def _agent_config(self) -> Message:
        options = self._options
        workspace = options.workspace or self._state.file("workspace")
        return {
            "op": "config",
            "sandbox_id": self._sandbox_id,
            "workspace": workspace,
            "base_env": {**default_env(workspace, os.environ), **options.base_env},
            "state_dir": self._state.path,
            "token": self._state.token,
            "secret": self._state.secret,
            "url_host": url_host(options.host),
            "port": self._sock.getsockname()[1],
            "allow_hosts": options.allow_hosts,
            "token_secret": options.token_secret,
            "retention_bytes": options.retention_bytes,
            "keepers": self._keepers.table,
            "keeper_commands": options.keeper_commands,
            "isolation": options.isolation,
            "internet_access": options.internet_access,
            "proof": "cgroup" if self._places.cheap else "ancestry",
            "process_limit": self._places.counts,
        }

    def _from_agent(self, message: Message) -> None:
        self._heard = time.monotonic()
        op = message.get("op")
        if op == "ready" and not self._announced:
            try:
                self._announce()
                self._announced = True
            except RootError as error:
                self._failure = self._failure or error
                self._stop(0.0)
        elif op == "more":
            self._keepers.more(busy=message.get("busy") is True)
        elif op == "gone":
            # Mostly it has ended, and that is known first.
            self._reap()
            self._keepers.reconnect(message.get("number"))

    def _announce(self) -> None:
        url = f"http://{url_host(self._options.host)}:{self._sock.getsockname()[1]}"
        pid = self._options.outer_pid or os.getpid()
        self._state.tell(url, pid)
        if self._options.announce:
            agent_pid = self._agent.pid if self._agent is not None else None
            facts = {"url": url, "token": self._state.token, "pid": pid, "agent_pid": agent_pid}
            missing = self._options.isolation_missing
            say(json.dumps({**facts, **({"isolation_missing": missing} if missing else {})}))
        else:
            say(f"hopx_async agent at {url}, token in {self._options.state_dir}/token")

    def _agent_let_go(self) -> None:
        # It closed its channel, hence it is ending, or does not keep the agreement.
        if self._agent is not None and not self._stopping:
            self._agent.kill()

    def _ping(self) -> None:
        if self._agent is not None and self._to_agent is not None:
            silent = time.monotonic() - self._heard
            if silent > self._silence:
                complain(f"the agent has been silent for {silent:.0f} s and is killed")
                self._agent.kill()
            elif not self._to_agent.backlog:
                self._pings += 1
                self._to_agent.send_json({"op": "ping", "n": self._pings})
        self._loop.call_later(self._silence / 6, self._ping)

    def _agent_ended(self, status: int) -> None:
        if self._to_agent is not None:
            self._to_agent.close()
        self._to_agent = self._agent = None
        self._keepers.connect(None)
        if self._stopping:
            if self._deadline is not None:
                self._finish()
            return
        self._start_agent_again(describe_status(status))

    def _start_agent_again(self, how: str) -> None:
        delay = self._backoff.delay(time.monotonic())
        if delay is not None:
            complain(f"the agent {how}; it is started again")
            self._loop.call_later(delay, self._start_agent)
            return
        most, window = self._backoff.most, self._backoff.window
        restarts = f"{most} restarts in {window:.0f} s"
        complain(f"the agent {how} after {restarts}: it stays down, commands go on")
        if not self._announced:
            self._failure = RootError("agent_failed", f"the agent {how}, again and again")
            self._stop(0.0)

    # The end.

    def _told_to_stop(self) -> None:
        # Whoever asks twice is in a hurry.
        self._stop(0.0 if self._stopping else self._options.grace)

    def _stop(self, grace: float) -> None:
        self._stopping = True
        self._keepers.stop(grace)

    def _stop_agent(self) -> None:
        if self._agent is None or self._to_agent is None:
            self._finish()
            return
        self._to_agent.send_json({"op": "stop"})
        self._agent.go_on()
        self._deadline = self._loop.call_later(_AGENT_STOP_TIME, self._agent.kill)

    def _finish(self) -> None:
        self._status = 0 if self._failure is None else 1

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._keepers.reaped(pid, status):
                continue
            if self._agent is not None and pid == self._agent.pid:
                self._own.discard(pid)
                self._agent.alive = False
                self._agent_ended(status)


def url_host(host: str) -> str:
    """Return *host* as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def say(line: str) -> None:
    """Print *line* to stdout; nobody may listen."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())
