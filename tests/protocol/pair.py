"""Client link and agent peers, joined back to back over logs in memory, without a network.

A `Pair` holds the truth (what each command wrote) beside the two halves, moves frames
when told to, and checks after each step what must always hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hopx_async.protocol import lifecycle, records, wire
from hopx_async.protocol.cursor import START, Position, parse_cursor
from hopx_async.protocol.events import Event, Exited, Lost, Started, Stderr, Stdout, Truncated
from hopx_async.protocol.link import BUDGET, Link
from hopx_async.protocol.peer import Peer
from hopx_async.testing.memory_log import MemoryLogs
from tests.protocol.wires import PollWire, Wire

if TYPE_CHECKING:
    from hopx_async.protocol.subscription import Subscription

__all__ = ["Command", "Pair", "Reader"]

# A round moves one frame a way and connection; this many rounds without an end are a hang.
_MOST_ROUNDS = 5_000


class Command:
    """What a command really wrote, and how far its life has come."""

    def __init__(self, process_id: str, spec_size: int) -> None:
        self.process_id = process_id
        self.spec_size = spec_size
        self.written = {"stdout": bytearray(), "stderr": bytearray()}
        self.state = lifecycle.CLAIMED
        self.forgotten = False


class Reader:
    """A consumer of one subscription, which checks each event against the truth."""

    def __init__(self, pair: Pair, command: Command, position: Position, *, output: bool) -> None:
        self.command = command
        self.output = output
        self.stuck = False
        #: Whether it looks: at first, after an event, and when it was rung.
        self.rung = True
        self.position = position
        self.events: list[Event] = []
        self.subscription: Subscription = pair.link.subscribe(
            command.process_id, position, output=output
        )

    @property
    def done(self) -> bool:
        """Whether its subscription says that nothing more comes."""
        return self.subscription.done

    def take(self) -> Event | None:
        """Take an event as a waiting consumer does, and check it."""
        event = self.subscription.take()
        assert self.subscription.error is None, self.subscription.error
        if event is None:
            self.rung = False
            return None
        before = self.events[-1] if self.events else None
        assert not isinstance(before, Exited | Lost), f"{event} after {before}"
        assert event.process_id == self.command.process_id
        if self.output:
            self._check(event, before)
        else:
            assert isinstance(event, Exited | Lost)
        self.events.append(event)
        return event

    def _check(self, event: Event, before: Event | None) -> None:
        _, out, err = self.position
        if isinstance(event, Started):
            assert before is None
            assert self.position.offset == 0
        elif isinstance(event, Stdout | Stderr | Truncated):
            assert before is not None or self.position.offset
        if isinstance(event, Stdout):
            assert event.data == self.command.written["stdout"][out : out + len(event.data)]
            out += len(event.data)
        elif isinstance(event, Stderr):
            assert event.data == self.command.written["stderr"][err : err + len(event.data)]
            err += len(event.data)
        elif isinstance(event, Truncated):
            assert event.stdout_bytes or event.stderr_bytes
            out += event.stdout_bytes
            err += event.stderr_bytes
        position = parse_cursor(event.process_id, event.cursor)
        assert position[1:] == (out, err), f"{event} counts not {out} and {err}"
        assert position == self.subscription.position
        self.position = position

    def check_complete(self) -> None:
        """Check that it has got everything up to the end, or what came before a forgotten rest."""
        assert self.done, f"{self.command.process_id} starves"
        last = self.events[-1] if self.events else None
        if isinstance(last, Exited | Lost):
            forgotten = isinstance(last, Lost) and last.exit.ended_at is None
            assert self.command.forgotten or not forgotten
        else:
            # Only who began behind the last record gets nothing.
            assert last is None
            assert self.position.offset
            return
        written = self.command.written
        if self.output and not forgotten:
            assert self.position[1:] == (len(written["stdout"]), len(written["stderr"]))


class CuttingLogs(MemoryLogs):
    """Logs that are read in pieces that end anywhere, within records too."""

    def read(self, process_id: str, offset: int, limit: int) -> tuple[int, bytes] | None:
        """Return somewhat less than there is; how much depends on nothing but the offset."""
        less = offset * 7919 % min(limit, records.BLOCK)
        return super().read(process_id, offset, limit - less)


class Pair:
    """A link and any number of connections to one agent.

    Args:
        budget: The link's budget, in bytes.
        segment_bytes: The size of the logs' segments.
        single: Whether frames come once and over one connection at a time; nothing may
            then be sent twice.
        cut: Whether the agent cuts records anywhere when it sends them.
    """

    def __init__(
        self,
        *,
        budget: int = BUDGET,
        segment_bytes: int = records.BLOCK,
        single: bool = True,
        cut: bool = False,
    ) -> None:
        logs = CuttingLogs if cut else MemoryLogs
        self.logs = logs(segment_bytes=segment_bytes)
        self.link = Link(budget=budget)
        self.commands: list[Command] = []
        self.readers: list[Reader] = []
        self.wires: dict[int, Wire] = {}
        #: Frames that reached the client.
        self.frames = 0
        self._budget = budget
        self._single = single
        self._last_feed = 0
        self._feeds = 0

    # The agent's world.

    def start(self, *, spec_size: int = 0, started: bool = True) -> Command:
        """Begin a command whose spec has about *spec_size* bytes."""
        command = Command(f"cmd_{len(self.commands)}", spec_size)
        self.logs.create(command.process_id, {"command": "x" * spec_size}, 1.0)
        self.commands.append(command)
        if started:
            self.begin(command)
        return command

    def begin(self, command: Command) -> None:
        """Note the start of a command that was only claimed."""
        self._append(command, records.STARTED, {"pid": 42})

    def write(self, command: Command, stream: str, data: bytes) -> None:
        """Let a command print."""
        kind = records.STDOUT if stream == "stdout" else records.STDERR
        self.logs.append_data(command.process_id, kind, 2.0, data)
        command.written[stream] += data
        self._news(command)

    def end(self, command: Command, *, lost: bool = False) -> None:
        """Let a command end."""
        kind = records.LOST if lost else records.EXITED
        value = {"reason": "lost"} if lost else {"reason": "exited", "exit_code": 3}
        self._append(command, kind, {**value, "ended_at": 3.0})

    def forget(self, command: Command) -> None:
        """Let the agent lose a command's log."""
        self.logs.forget(command.process_id)
        command.state = lifecycle.ENDED
        command.forgotten = True
        self._news(command)

    def _append(self, command: Command, kind: int, value: dict[str, Any]) -> None:
        command.state = lifecycle.advance(command.state, kind)
        self.logs.append_json(command.process_id, kind, 2.0, value)
        self._news(command)

    def _news(self, command: Command) -> None:
        for one in self.wires.values():
            one.news.add(command.process_id)

    # The network.

    def connect(self, *, poll: bool = False) -> int:
        """Make a connection."""
        self._last_feed += 1
        self._feeds = max(self._feeds, len(self.wires) + 1)
        self.wires[self._last_feed] = (PollWire if poll else Wire)(Peer(self.logs))
        self.link.connected(self._last_feed)
        return self._last_feed

    def drop(self, feed: int) -> None:
        """Lose a connection, with everything under way on it."""
        del self.wires[feed]
        self.link.disconnected(feed)

    def ring(self, feed: int) -> bool:
        """Let the agent's shell ring the news of one command."""
        one = self.wires[feed]
        if one.news:
            one.peer.news(one.news.pop())
            return True
        return False

    def send_up(self, feed: int) -> bool:
        """Move what the client says by one frame, or one post."""
        return self.wires[feed].up(self.link, feed)

    def send_down(self, feed: int, *, hold: bool = False) -> bool:
        """Move what the agent says by one frame, or one answer; *hold* leaves it under way."""
        one = self.wires[feed]
        moved = one.down()
        under_way = one.under_way
        for frame in () if hold else one.arrived():
            self.deliver(feed, frame)
        return moved or (under_way and not hold)

    def duplicate(self, feed: int) -> None:
        """Deliver the last frame of a connection again."""
        self.deliver(feed, self.wires[feed].last)

    def deliver(self, feed: int, frame: str | bytes) -> None:
        """Hand a frame to the client, and ring those whom it concerns."""
        self.frames += 1
        if isinstance(frame, bytes) and self._single:
            self._check_new(frame)
        news = self.link.receive(feed, frame)
        for reader in self.readers:
            reader.rung |= reader.subscription in news.subscriptions
        self.check()

    def _check_new(self, frame: bytes) -> None:
        for ask, offset, _ in wire.pieces(frame):
            asking = self.link._askings.get(ask)
            reader = None if asking is None else asking.subscription._reader
            assert reader is None or offset >= reader.fed, "log bytes were sent twice"

    # The client's world.

    def read(self, command: Command, position: Position = START, *, output: bool = True) -> Reader:
        """Begin to read a command."""
        reader = Reader(self, command, position, output=output)
        self.readers.append(reader)
        return reader

    def take(self, reader: Reader) -> bool:
        """Let a consumer take an event, if it looks."""
        if reader.done or not reader.rung:
            return False
        event = reader.take()
        self.check()
        return event is not None

    # What always holds.

    def check(self) -> None:
        """Check the bounds."""
        held = 0
        holders = 0
        for reader in self.readers:
            subscription = reader.subscription
            buffered = subscription.buffered
            # A record larger than the window is let in, so that it can be read at all.
            largest = max(records.BLOCK, reader.command.spec_size + 1024)
            assert buffered <= self._feeds * subscription._window + largest, "above its window"
            held += buffered
            holders += buffered > 0
        assert self.link.buffered == held, "miscounted"
        assert held <= self._budget or holders <= 1, "above the budget"

    # Fair runs.

    def round(self) -> bool:
        """Let everybody have one turn; return whether anything happened."""
        moved = False
        for feed in list(self.wires):
            while self.ring(feed):
                moved = True
            moved |= self.send_up(feed)
            moved |= self.send_down(feed)
        for reader in self.readers:
            while not reader.stuck and self.take(reader):
                moved = True
        return moved or any(map(self.link.has_data, self.wires))

    def settle(self) -> int:
        """Run fair rounds until nothing happens any more; return how many it took."""
        for count in range(_MOST_ROUNDS):
            if not self.round():
                return count
        raise AssertionError("no end in sight")

    def finish(self) -> None:
        """End every command on a fair network and check that every reader gets everything."""
        for command in self.commands:
            if command.state != lifecycle.ENDED:
                self.end(command)
        if not self.wires:
            self.connect()
        self.settle()
        for reader in self.readers:
            if not reader.stuck:
                reader.check_complete()
        for reader in self.readers:
            reader.stuck = False
            reader.rung = True
        self.settle()
        for reader in self.readers:
            reader.check_complete()
        assert self.link.buffered == 0
        assert all(one.peer.askings == 0 for one in self.wires.values())
