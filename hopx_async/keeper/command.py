"""One command's life, from its leader's start to the last word in its log."""

from __future__ import annotations

import os
import time

from hopx_async.keeper.channel import compact
from hopx_async.keeper.exits import encode_tail, signal_name, totals
from hopx_async.keeper.head import spec_of
from hopx_async.keeper.idle import Idle
from hopx_async.keeper.pipe import Pipe
from hopx_async.keeper.plumbing import resize
from hopx_async.keeper.stdin import Stdin
from hopx_async.protocol import lifecycle, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resource import struct_rusage
    from typing import Protocol

    from hopx_async.keeper.log import Log
    from hopx_async.keeper.loop import Loop, Timer
    from hopx_async.keeper.mask import Masks
    from hopx_async.keeper.plumbing import Plumbing
    from hopx_async.keeper.spawn import Spawned

    class _Host(Protocol):
        """What a command needs of its keeper."""

        loop: Loop
        buffer: memoryview
        drain_time: float

        def changed(self, command: Command) -> None: ...
        def stuck(self, command: Command) -> None: ...
        def timed_out(self, command: Command) -> None: ...
        def count_survivors(self, command: Command) -> int: ...
        def ended(self, command: Command) -> None: ...


__all__ = ["Command"]

_REMEMBERED_SIGNALS = 64
_NO_CODE = '"exit_code":null,"signal":"{}"'


class Command:
    """A command whose leader has been started.

    Args:
        host: Its keeper.
        log: Its log, claimed, where ``Started`` has been appended.
        spawned: Its leader.
        plumbing: What connects it with us.
        timeout: Seconds it may run, None for no limit.
        idle_timeout: Seconds it may print nothing, None for no limit.
    """

    __slots__ = (
        "_ended_at",
        "_idle",
        "_pipes",
        "_signals",
        "_timer",
        "cause",
        "dead",
        "duration",
        "ended",
        "host",
        "log",
        "masks",
        "outcome",
        "paused",
        "spawned",
        "status",
        "stdin",
        "terminal",
        "told_segments",
        "typed",
        "usage",
    )

    def __init__(
        self,
        host: _Host,
        log: Log,
        spawned: Spawned,
        *,
        plumbing: Plumbing,
        timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        self.host = host
        self.log = log
        self.spawned = spawned
        #: The first cause of its end recorded before the end was seen.
        self.cause: str | None = None
        #: What hides secrets in its output, None where nobody asked for that.
        self.masks: Masks | None = None
        #: Whether the leader has ended (and is reaped).
        self.dead = False
        #: Whether its terminal record is in the log.
        self.ended = False
        self.paused = False
        #: The exit as JSON without the tail, and the terminal record; empty before the end.
        self.outcome = ""
        self.terminal = b""
        #: The segments that an agent was told of last.
        self.told_segments: list[int] = []
        self._signals: dict[str, bool] | None = None
        #: Whether it has a terminal.
        self.typed = plumbing.terminal is not None
        self._pipes = [
            Pipe(self, host.buffer, fd, kind, terminal=self.typed) for fd, kind in plumbing.readers
        ]
        #: What is sent to it, None if that is nothing.
        self.stdin: Stdin | None = None
        if plumbing.writer is not None:
            self.stdin = Stdin(host.loop, plumbing.writer, terminal=self.typed)
        self._idle: Idle | None = None
        if idle_timeout is not None:
            fds = lambda: [pipe.fd for pipe in self._pipes]  # noqa: E731
            self._idle = Idle(host.loop, idle_timeout, fds, lambda: self._run_out("idle_timed_out"))
        for pipe in self._pipes:
            host.loop.add(pipe.fd, pipe)
        if log.stuck:
            self._pause()
        self._timer: Timer | None = None
        if timeout is not None:
            due = spawned.monotonic + timeout
            self._timer = host.loop.call_at(due, lambda: self._run_out("timed_out"))

    @property
    def process_id(self) -> str:
        """The command's id."""
        return self.log.process_id

    def spec(self) -> str:
        """Return its public spec as JSON; see `spec_of`."""
        return spec_of(self.log)

    # Output.

    def output(self, kind: int, data: memoryview) -> None:
        """Take output. What comes after the end is dropped: it must not block a survivor."""
        if self.ended:
            return
        if self._idle is not None:
            self._idle.touched()
        if self.masks is not None:
            data = self.masks.feed(kind, data)
        self.log.append_data(kind, data)
        if self.log.stuck:
            self._pause()
        self.host.changed(self)

    def sample(self, usage: bytes) -> bool:
        """Append a sample of what it uses, unless it has ended or there is no room at once."""
        if self.dead or self.paused or not self.log.offer(records.USAGE, usage):
            return False
        self.host.changed(self)
        return True

    def pipe_ended(self, pipe: Pipe) -> None:
        """Take note that nobody holds the other end any more."""
        self._pipes.remove(pipe)
        self.host.loop.close(pipe.fd)
        self._let_go(pipe.kind)
        if self.dead and not self._pipes and not self.ended:
            self._finish()

    def _let_go(self, kind: int) -> None:
        """Append what a mask holds back, now that nothing follows it."""
        if self.masks is not None and not self.ended and (rest := self.masks.end(kind)):
            self.log.append_data(kind, rest)
            if self.log.stuck:
                self._pause()
            self.host.changed(self)

    def resume(self) -> None:
        """Go on after the log had no room, and has."""
        self.paused = False
        if self._idle is not None:
            self._idle.go_on()
        for pipe in self._pipes:
            self.host.loop.add(pipe.fd, pipe)
        self.host.changed(self)
        if self.terminal:
            self._end()
        elif self.dead:
            self._drain()

    def _pause(self) -> None:
        if not self.paused:
            self.paused = True
            if self._idle is not None:
                self._idle.hold()
            if self.dead and self._timer is not None:
                # Time in which nothing can be read is no time to drain.
                self._timer.cancel()
            for pipe in self._pipes:
                self.host.loop.remove(pipe.fd)
            self.host.stuck(self)

    def resize(self, rows: int, columns: int) -> bool:
        """Give its terminal another size; return whether it has one that is in use."""
        if not self._pipes:
            return False
        resize(self._pipes[0].fd, rows, columns)
        return True

    # Signals.

    def signal(self, signal_id: str, number: int, cause: str | None) -> bool:
        """Signal the leader's group once per *signal_id*; return whether it was delivered.

        The leader must not be dead: its pid stands for its group only while it is not reaped.
        """
        if self._signals is None:
            self._signals = {}
        sent = self._signals
        if signal_id in sent:
            return sent[signal_id]
        if cause is not None:
            self.blame(cause)
        delivered = sent[signal_id] = self.signal_group(number)
        if len(sent) > _REMEMBERED_SIGNALS:
            del sent[next(iter(sent))]
        return delivered

    def signal_group(self, number: int) -> bool:
        """Signal the leader's group; return whether there was anybody."""
        try:
            os.killpg(self.spawned.pid, number)
        except OSError:
            return False
        return True

    def blame(self, cause: str) -> None:
        """Record why it ends, unless it has ended or a cause came first."""
        if not self.dead and self.cause is None:
            self.cause = cause

    def _run_out(self, cause: str) -> None:
        self.blame(cause)
        self.host.timed_out(self)

    # The end.

    def died(self, status: int, usage: struct_rusage) -> None:
        """Take the leader's end; the log's waits for the rest of the output, but not long."""
        self.dead = True
        self.status = status
        self.usage = usage
        self._ended_at = time.time()
        self.duration = time.monotonic() - self.spawned.monotonic
        if self._timer is not None:
            self._timer.cancel()
        if self._idle is not None:
            self._idle.stop()
        if self.stdin is not None:
            self.stdin.close()
        self._drain()

    def abandon(self) -> int:
        """Drop output that waits for room and end the log; return how many bytes it was.

        For the sandbox's end, which waits for nobody's disk.
        """
        dropped = self.log.give_up()
        if self.masks is not None:
            dropped += self.masks.held
            self.masks = None
        if self.terminal:
            self._end()
        else:
            self._finish()
        return dropped

    def _drain(self) -> None:
        if not self._pipes:
            self._finish()
        elif not self.paused:
            self._timer = self.host.loop.call_later(self.host.drain_time, self._finish)

    def _finish(self) -> None:
        if self.ended or self.terminal or self.log.stuck:
            return
        for kind in (records.STDOUT, records.STDERR):
            self._let_go(kind)
        if self.log.stuck:
            return
        if self._timer is not None:
            self._timer.cancel()
        ok, text = self._exit()
        self.outcome = text
        if not ok and (tail := self.log.tail()):
            text = f'{text[:-1]},"tail":{compact(encode_tail(tail))}}}'
        self.terminal = self.log.append(records.EXITED, text.encode("ascii"))
        if self.log.stuck:
            self._pause()
        else:
            self._end()

    def _end(self) -> None:
        self.ended = True
        self.log.close()
        self.host.ended(self)

    def _exit(self) -> tuple[bool, str]:
        """Return whether all is well, and the exit as JSON (not by the encoder: it is dear)."""
        code = os.waitstatus_to_exitcode(self.status)
        exit_code = code if code >= 0 else None
        name = signal_name(-code) if code < 0 else None
        reason = lifecycle.reason_for(self.cause, exit_code, name)
        ended = f'"exit_code":{code},"signal":null' if code >= 0 else _NO_CODE.format(name)
        return reason == "exited" and code == 0, (
            f'{{{ended},"reason":"{reason}","started_at":{self.spawned.started_at!r},'
            f'"ended_at":{self._ended_at!r},"duration":{self.duration:.6f},'
            f'"survivors":{self.host.count_survivors(self)},"errno":null,"filename":null,'
            f'"usage":{totals(self.usage)}}}'
        )
