"""The keeper's desk: what agents ask for, a few requests a turn, and what they are told."""

from __future__ import annotations

import collections
import os
import signal
from base64 import b64decode

from hopx_async.keeper import checks
from hopx_async.keeper.agent_link import AgentLink
from hopx_async.keeper.channel import compact
from hopx_async.keeper.command import Command
from hopx_async.keeper.exits import failed_exit, started_payload
from hopx_async.keeper.index import end_line, start_line
from hopx_async.keeper.log import DiskFullError, Log
from hopx_async.keeper.mask import Masks
from hopx_async.keeper.plumbing import Plumbing
from hopx_async.keeper.spawn import Spawned, SpawnFailedError, arguments_of
from hopx_async.protocol import lifecycle, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from hopx_async.keeper.keeper import Keeper

    Message = dict[str, Any]

__all__ = ["Desk"]

# Exits are not to queue behind spawns, each of which takes some tenths of a millisecond.
_SPAWNS_PER_TURN = 4
_MOST_QUEUED = 512


class Desk:
    """Serves one agent at a time; what was asked before an agent died is done all the same."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        #: The agent, None while there is none.
        self.agent: AgentLink | None = None
        self._queue: collections.deque[Message] = collections.deque()
        self._queued: dict[str, int] = {}

    @property
    def busy(self) -> bool:
        """Whether requests wait for :meth:`work`."""
        return bool(self._queue)

    def connect(self, sock: socket.socket) -> None:
        """Serve a new agent, in the place of the one before."""
        if self.agent is not None:
            self.agent.close()
        keeper = self._keeper
        self.agent = AgentLink(
            sock,
            keeper.loop,
            keeper.commands,
            keeper.index,
            on_request=self._take,
            on_end=self._gone,
        )

    def flush(self) -> None:
        """Say what there is to say, at the end of a turn."""
        if self.agent is not None:
            self.agent.flush()
            if self.agent is not None:
                self.agent.hold(len(self._queue) >= _MOST_QUEUED)

    def _gone(self) -> None:
        # Commands do not notice; the root brings another agent.
        self.agent = None

    # Requests.

    def _take(self, message: Message) -> None:
        # Another agent that comes meanwhile has numbers of its own.
        message["link"] = self.agent
        problem = checks.problem_with_request(message)
        if problem is not None:
            self._refuse_argument(message, problem)
            return
        process_id = checks.id_of(message)
        if message["op"] == "start" or process_id in self._queued:
            # What is said of a command waits behind its start.
            self._queued[process_id] = self._queued.get(process_id, 0) + 1
            self._queue.append(message)
        else:
            self._handle(message)

    def work(self) -> None:
        """Handle a few of the requests that wait, and let the loop look at other things."""
        if not self._queue:
            return
        for _ in range(min(_SPAWNS_PER_TURN, len(self._queue))):
            message = self._queue.popleft()
            process_id = checks.id_of(message)
            self._queued[process_id] -= 1
            if not self._queued[process_id]:
                del self._queued[process_id]
            self._handle(message)
        self._keeper.spawner.rest()

    def _handle(self, message: Message) -> None:
        op = message["op"]
        if op == "start":
            self._start(message)
        elif op == "signal":
            self._signal(message)
        elif op == "stdin":
            self._stdin(message)
        elif op == "resize":
            self._resize(message)
        elif op == "hold":
            self._hold(message)
        elif op == "usage":
            self._usage(message)
        else:
            self._kill(message)

    def _refuse_argument(self, message: Message, problem: lifecycle.Problem) -> None:
        self._refuse(
            message,
            "invalid_argument",
            str(problem),
            parameter=problem.parameter,
            value=problem.value,
            rule=problem.rule,
        )

    def _asks(self, message: Message) -> AgentLink | None:
        """Return the agent that has sent *message*, if it still is there."""
        return self.agent if message["link"] is self.agent else None

    def _refuse(self, message: Message, code: str, sentence: str, **data: object) -> None:
        if (agent := self._asks(message)) is not None:
            agent.refuse(message.get("rid"), code, sentence, **data)

    def _reply(self, message: Message, ok: str) -> None:
        if (agent := self._asks(message)) is not None:
            agent.reply(message["rid"], ok)

    def _signal(self, message: Message) -> None:
        command = self._keeper.commands.get(message["id"])
        if command is None or command.dead:
            self._refuse(message, "command_ended", f"{message['id']} has ended")
            return
        number = getattr(signal, message["name"])
        if number == signal.SIGKILL:
            self._keeper.groups.asked_to_die(command.process_id)
        delivered = command.signal(message["signal_id"], number, message.get("cause"))
        self._reply(message, f'{{"delivered":{compact(delivered)}}}')

    def _stdin(self, message: Message) -> None:
        process_id = message["id"]
        command = self._keeper.commands.get(process_id)
        if command is None or command.dead:
            self._refuse(message, "command_ended", f"{process_id} has ended")
        elif command.stdin is None:
            self._refuse(message, "no_stdin", f"{process_id} was started without stdin")
        else:
            # What waits for the command is to be kept once.
            data = b64decode(message.pop("data"))

            def answer(problem: str | None, offset: int) -> None:
                if problem is None:
                    self._reply(message, f'{{"offset":{offset}}}')
                else:
                    self._refuse(
                        message, problem, f"{process_id} has taken {offset} bytes of stdin"
                    )

            command.stdin.take(message["offset"], data, message["eof"], answer)

    def _resize(self, message: Message) -> None:
        command = self._keeper.commands.get(message["id"])
        if command is None or command.dead:
            self._refuse(message, "command_ended", f"{message['id']} has ended")
        elif not command.typed:
            self._refuse(message, "no_terminal", f"{message['id']} has no terminal")
        else:
            done = command.resize(*message["size"])
            self._reply(message, f'{{"delivered":{compact(done)}}}')

    def _hold(self, message: Message) -> None:
        command = self._keeper.commands.get(message["id"])
        if command is not None:
            self._keeper.holding.hold(command, message["offset"], message["seconds"])
        self._reply(message, "{}")

    def _usage(self, message: Message) -> None:
        command = self._keeper.commands.get(message["id"])
        told = command is not None and command.sample(compact(message["usage"]).encode("ascii"))
        self._reply(message, f'{{"delivered":{compact(told)}}}')

    def _kill(self, message: Message) -> None:
        command = self._keeper.commands.get(message["id"])
        if command is not None:
            command.blame("killed")
        means = self._keeper.groups.means(message["id"])

        def done(left: list[tuple[int, str]]) -> None:
            self._reply(message, compact({"survivors": left, "means": means}))

        self._keeper.killer.kill(message["id"], message["grace"], done)

    def _start(self, message: Message) -> None:
        public = message["public"]
        if self._keeper.stopping:
            self._refuse(message, "stopping", "the sandbox is being stopped")
            return
        # Whoever finds the log tells by it whose it is.
        spec = compact({**public, "keeper": self._keeper.number})
        log = Log(self._keeper.store, public["process_id"])
        try:
            log.claim(spec.encode("ascii"))
        except FileExistsError:
            self._refuse(message, "conflict_claimed", f"the id {log.process_id} is in use")
        except DiskFullError as error:
            self._keeper.store.tell(str(error))
            self._refuse(message, "disk_full", f"no room for the log of {log.process_id}: {error}")
        except OSError as error:
            self._refuse(message, "keeper_fault", str(error), errno=error.errno)
        else:
            self._run(log, spec, message)

    def _run(self, log: Log, spec: str, message: Message) -> None:
        public = message["public"]
        try:
            plumbing = Plumbing(public)
        except OSError as error:
            self._spawn_failed(message, log, spec, error.errno or 0, "pipe")
            return
        try:
            with self._keeper.groups.around(log.process_id, public):
                spawned = self._keeper.spawner.spawn(
                    log.process_id,
                    arguments_of(public["command"]),
                    message["env"],
                    message["working_dir"],
                    plumbing.outputs,
                    stdin=plumbing.stdin,
                    terminal=plumbing.terminal,
                    limits=public.get("limits"),
                )
        except (SpawnFailedError, OSError) as error:
            plumbing.close_ours()
            named = error.filename if isinstance(error, SpawnFailedError) else "spawn"
            self._spawn_failed(message, log, spec, error.errno or 0, named)
            return
        finally:
            plumbing.close_theirs()
        self._started(log, spec, spawned, plumbing, message)
        if "mask" in message:
            self._keeper.commands[log.process_id].masks = Masks(message["mask"])

    def _started(
        self,
        log: Log,
        spec: str,
        spawned: Spawned,
        plumbing: Plumbing,
        message: Message,
    ) -> None:
        public = message["public"]
        log.append(records.STARTED, started_payload(spawned, self._keeper.boot_id))
        command = Command(
            self._keeper,
            log,
            spawned,
            plumbing=plumbing,
            timeout=public.get("timeout"),
            idle_timeout=public.get("idle_timeout"),
        )
        self._keeper.commands[log.process_id] = command
        self._keeper.leaders[spawned.pid] = command
        if public.get("overflow") == "wait":
            # Its first reader is on the way, and is to miss nothing.
            self._keeper.holding.hold(command, 0, lifecycle.LEASE_SECONDS)
        self._keeper.orphans.expect(log.process_id, spawned.pid, spawned.mark)
        self._keeper.index.add(start_line(log.process_id, spec, spawned.pid, spawned.started_at))
        if self.agent is not None:
            self.agent.changed(command, spec=spec)
        started = f'"pid":{spawned.pid},"started_at":{spawned.started_at!r},"created":true'
        self._reply(message, f"{{{started}}}")

    def _spawn_failed(
        self, message: Message, log: Log, spec: str, number: int, filename: str
    ) -> None:
        outcome = compact(failed_exit(number, filename))
        record = log.append(records.EXITED, outcome.encode("ascii"))
        log.close()
        self._keeper.index.add(start_line(log.process_id, spec, None, None))
        self._keeper.index.add(end_line(log.process_id, log.end, len(record), outcome))
        self._keeper.kept(log)
        if self.agent is not None:
            self.agent.failed(log.process_id, spec, log.end, record)
        sentence = f"{os.strerror(number)}: {filename!r}"
        self._refuse(message, "spawn_failed", sentence, errno=number, filename=filename)
