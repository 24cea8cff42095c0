"""The keeper: spawns commands, reads their pipes, writes their logs, ends and reaps them.

``python -m hopx_async.keeper.keeper --root-fd N [--lock-fd N]`` is started by the root.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import signal
import socket
import sys
import time

from hopx_async.keeper import proc
from hopx_async.keeper.beside import run_beside
from hopx_async.keeper.cgroup import find_places
from hopx_async.keeper.channel import Channel
from hopx_async.keeper.command import Command
from hopx_async.keeper.desk import Desk
from hopx_async.keeper.groups import Groups
from hopx_async.keeper.holding import Holding
from hopx_async.keeper.index import Index, end_line
from hopx_async.keeper.keeping import Ended, Keeping, restored
from hopx_async.keeper.kill import Killer
from hopx_async.keeper.loop import Loop
from hopx_async.keeper.orphans import Orphans
from hopx_async.keeper.pipe import READ_BYTES
from hopx_async.keeper.recover import recover
from hopx_async.keeper.scan import EVERYTHING, Scanner
from hopx_async.keeper.spawn import Spawner
from hopx_async.keeper.store import RETRY_DELAY, Store, complain
from hopx_async.keeper.subreaper import become_subreaper, become_unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hopx_async.keeper.log import Log
    from hopx_async.keeper.loop import Timer
    from hopx_async.keeper.scan import Wanted

    Message = dict[str, Any]

__all__ = ["Keeper", "main"]

# Seconds that a leaving keeper waits for its agent to read the last news.
_FAREWELL = 1.0


class Keeper:
    """The commands of one keeper, in one thread.

    Args:
        loop: Its loop.
        sock: The connection to the root.
        config: The root's first message.
    """

    def __init__(self, loop: Loop, sock: socket.socket, config: Message) -> None:
        self.loop = loop
        # Only what hot streams need of it becomes memory.
        self.buffer = memoryview(mmap.mmap(-1, READ_BYTES, mmap.MAP_PRIVATE))
        self.drain_time: float = config["drain_time"]
        self._grace: float = config["grace"]
        nonce, outer = config["sandbox_id"], config["outer_scope"]
        state_dir: str = config["state_dir"]
        #: Which of the sandbox's keepers it is.
        self.number: int = config["number"]
        self._alone = config["recover"] == "all"
        segment_bytes, retention_bytes = config["segment_bytes"], config["retention_bytes"]
        self.store = Store(state_dir, segment_bytes, retention_bytes, number=self.number)
        self.index = Index(state_dir, self.number)
        self.keeping = Keeping(
            self,
            self._to_root,
            keep_bytes=config["keep_bytes"],
            keep_commands=config["keep_commands"],
            keep_seconds=config["keep_seconds"],
        )
        self.spawner = Spawner(nonce, outer)
        self.orphans = Orphans()
        self.boot_id = proc.boot_id()
        self.commands: dict[str, Command] = {}
        self.leaders: dict[int, Command] = {}
        self._stuck: set[Command] = set()
        self._desk = Desk(self)
        self.holding = Holding(loop, self._go_on)
        self._retry: Timer | None = None
        self._scans = 0
        self.stopping = False
        self._all_gone = False
        self._scanner = Scanner(nonce, outer, os.getpid(), {os.getpid()})
        self.groups = Groups(find_places(), f"hopx-{nonce}.{self.number}")
        self.killer = Killer(
            loop,
            self._ask_root,
            self._scanner.scan,
            self.commands,
            self._known,
            slay=self.groups.slay,
        )
        loop.catch({signal.SIGCHLD: self._reap, signal.SIGTERM: self._stop})
        self._root: Channel | None = Channel(sock, loop, self._from_root, self._root_gone)

    def run(self) -> None:
        """Recover what an earlier keeper left, then work until told to stop."""
        lost = recover(self.store, self.index, owner=None if self._alone else self.number)
        # What another keeper of this root has left behind was ended before this one began.
        for process_id in lost if self._alone else ():
            self.killer.kill(process_id, 0.0, _nobody_asked)
        self.keeping.restore(restored(self.store, self.index.ends()))
        self._to_root({"op": "ready"})
        while not self._done():
            self.loop.turn(wait=not self._desk.busy)
            self._desk.work()
            self._end_turn()
        self._farewell()

    def _end_turn(self) -> None:
        self.keeping.tidy()
        self.index.flush()
        self._desk.flush()
        if self.store.troubled and self._retry is None:
            self._retry = self.loop.call_later(RETRY_DELAY, self._retry_logs)

    # What commands ask of their host.

    def changed(self, command: Command) -> None:
        """Tell the agent of more output."""
        if self._desk.agent is not None:
            self._desk.agent.changed(command)

    def stuck(self, command: Command) -> None:
        """Resume *command* when its log has room."""
        self._stuck.add(command)

    def timed_out(self, command: Command) -> None:
        """End *command*, whose time is over."""
        self.killer.kill(command.process_id, self._grace, _nobody_asked)

    def count_survivors(self, command: Command) -> int:
        """Return how many processes outlive the leader of *command*."""
        return self.orphans.count(command.process_id)

    def ended(self, command: Command) -> None:
        """Let go of *command*, whose log is complete."""
        del self.commands[command.process_id]
        self._stuck.discard(command)
        self.orphans.forget(command.spawned.pid, command.spawned.mark)
        self.groups.ended(command.process_id)
        size = len(command.terminal)
        self.index.add(end_line(command.process_id, command.log.end, size, command.outcome))
        self.holding.ended(command)
        self.kept(command.log)
        self.changed(command)

    def kept(self, log: Log) -> None:
        """Keep the complete *log* of a command that has ended, as long as there is room."""
        self.keeping.ended(log.process_id, Ended(time.time(), log.kept_bytes, log.segments))

    def forgotten(self, process_id: str, at: float) -> None:
        """Tell the agent that nothing of a command is kept any more."""
        if self._desk.agent is not None:
            self._desk.agent.forgotten(process_id, at)

    def _go_on(self, command: Command) -> None:
        """Resume *command* if its log was held and is not any more."""
        if command not in self._stuck:
            return
        if command.log.retry():
            self._stuck.discard(command)
            command.resume()
        else:
            # What had room is to be read, or nobody would make room for the rest.
            self.changed(command)

    def _retry_logs(self) -> None:
        self._retry = None
        self.store.refill()
        for command in [command for command in self._stuck if not command.log.stuck]:
            self._stuck.discard(command)
            command.resume()

    def _known(self, process_id: str) -> list[tuple[int, int]]:
        return self.orphans.known(process_id) + self.groups.known(process_id)

    def _reap(self) -> None:
        self.orphans.changed()
        dead = []
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            command = self.leaders.pop(pid, None)
            if command is None:
                self.orphans.reaped(pid)
            else:
                dead.append((command, status, usage))
        # All first: an orphan of one of them is none before its leader is known to be dead.
        for command, status, usage in dead:
            self.groups.explain(command, status)
            command.died(status, usage)
        self.groups.tidy()

    # The root.

    def _to_root(self, message: Message) -> None:
        if self._root is not None:
            self._root.send_json(message)

    def _from_root(self, message: Message) -> None:
        op = message.get("op")
        if op == "agent":
            self._take_agent()
        elif op == "scanned" and message["seq"] == self._scans:
            self.killer.scanned(message["found"])
        elif op == "share":
            self.keeping.share(message)
        elif op == "ping":
            self.keeping.tell()
            self._to_root({"op": "pong"})
        elif op == "stop":
            self._stop(message.get("grace"))

    def _take_agent(self) -> None:
        fd = self._root.take_fd() if self._root is not None else None
        if fd is None:
            complain("the root announced an agent without its socket")
        else:
            self._desk.connect(socket.socket(fileno=fd))

    def _root_gone(self) -> None:
        self._root = None
        self._stop()
        self.killer.ask_again()

    def _ask_root(self, wanted: Wanted) -> None:
        self._scans += 1
        if self._root is not None:
            self._to_root({"op": "scan", "seq": self._scans, "wanted": wanted})
        else:
            # Nobody else can look; nothing but the end is left to do anyway.
            self.loop.call_later(0, lambda: self.killer.scanned(self._scanner.scan(wanted)))

    # The end.

    def _stop(self, grace: float | None = None) -> None:
        if not self.stopping:
            self.stopping = True
            for command in self.commands.values():
                command.blame("sandbox_stopped")
        grace = self._grace if grace is None else grace
        self.killer.kill(EVERYTHING, grace, self._everything_gone)

    def _everything_gone(self, left: list[tuple[int, str]]) -> None:
        if left and not self._all_gone:
            named = ", ".join(f"{pid} ({name})" for pid, name in left)
            complain(f"these processes would not end: {named}")
        self._all_gone = True
        self._reap()
        for command in list(self._stuck):
            if command.dead:
                dropped = command.abandon()
                complain(f"no room for the last {dropped} bytes of {command.process_id}")
                if not command.ended:
                    # Not even for its end: whoever opens the log next calls it lost.
                    del self.commands[command.process_id]

    def _done(self) -> bool:
        # A leader that even KILL did not end has no end to be told of.
        return self._all_gone and not any(command.dead for command in self.commands.values())

    def _farewell(self) -> None:
        self.groups.close()
        self._to_root({"op": "stopped"})
        late: list[bool] = []
        self.loop.call_later(_FAREWELL, lambda: late.append(True))
        while self._desk.agent is not None and self._desk.agent.backlog and not late:
            self.loop.turn()
            self._desk.flush()


def _nobody_asked(_left: list[tuple[int, str]]) -> None:
    return None


def main(arguments: list[str]) -> int:
    """Be the keeper: ``--root-fd N``, and ``--lock-fd N`` of the lock to hold until the end."""
    fds = {name: int(fd) for name, fd in zip(arguments[::2], arguments[1::2], strict=True)}
    proc.seal_descriptors()
    if "--state-fd" in fds:
        become_unreadable()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    sock = socket.socket(fileno=fds["--root-fd"])
    config = _first_message(sock)
    if config is None:
        return 0
    keeper = Keeper(Loop(), sock, config)
    # What was made so far stays for good: collections need not look at it again.
    gc.freeze()
    # Commands leave no cycles behind; looking for them at each seven hundredth object is vain.
    gc.set_threshold(50_000, 20, 100)
    return run_beside(keeper.run)


def _first_message(sock: socket.socket) -> Message | None:
    """Return the root's first line, None if it has gone; what follows stays unread."""
    line = b""
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        if not byte:
            return None
        line += byte
    config: Message = json.loads(line)
    return config


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
