"""Random schedules over a `Pair`: what may happen between a client and an agent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import NamedTuple

from hopx_async.protocol import lifecycle, records
from hopx_async.protocol.cursor import START, Position, parse_cursor
from tests.protocol.pair import Command, Pair, Reader
from tests.protocol.wires import PollWire

__all__ = ["KINDS", "Kind", "Schedule", "run"]


class Kind(NamedTuple):
    """What a kind of schedule allows beside the ordinary."""

    drops: bool = False
    feeds: int = 1
    duplicates: bool = False
    #: Whether every connection is a long-poll; None for every other.
    polls: bool | None = False
    #: Whether posts and answers get lost, repeated and overtaken.
    faults: bool = False

    @property
    def single(self) -> bool:
        """Whether log bytes come once: nothing is sent twice, over one connection at a time."""
        return self.feeds == 1 and not self.duplicates


KINDS: dict[str, Kind] = {
    "quiet": Kind(),
    "drops": Kind(drops=True),
    "overlapped": Kind(feeds=2, duplicates=True),
    "restarts": Kind(drops=True, feeds=3, duplicates=True),
    "poll": Kind(polls=True),
    "poll with faults": Kind(polls=True, faults=True),
    "poll with drops": Kind(polls=True, faults=True, drops=True),
    "socket and poll": Kind(feeds=2, polls=None, faults=True),
}
_BUDGETS = (64 << 20, 1 << 20, 300 << 10, 200 << 10)
_MOST_COMMANDS, _MOST_READERS = 4, 10


class Schedule:
    """One random run. Everything comes from the seed."""

    def __init__(self, kind: str, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  # chance, no secret
        self.kind = KINDS[kind]
        self.connections = 0
        self.pair = Pair(
            budget=self.random.choice(_BUDGETS),
            segment_bytes=records.BLOCK * self.random.choice((1, 2, 5)),
            single=self.kind.single,
            cut=self.random.random() < 0.5,
        )

    def run(self, steps: int) -> None:
        """Take random steps, then let everything come to its end."""
        for _ in range(self.kind.feeds):
            self.connect()
        self.read(self.start())
        network = [self.up, self.down, self.down, self.ring]
        common = [*network, *network, self.consume, self.consume, self.consume, self.write]
        rare = [self.start_one, self.begin, self.roll, self.retain, self.read_any, self.resume]
        rare += [self.end, self.stick, self.close]
        if self.kind.drops or self.kind.feeds > 1:
            rare += [self.reconnect] * 3
        if self.kind.duplicates:
            rare += [self.duplicate] * 3
        if self.kind.faults:
            rare += [self.fault] * 6
        if self.kind.drops:
            rare += [self.drop] * 3 + [self.forget]
        for _ in range(steps):
            self.random.choice(common if self.random.random() < 0.8 else rare)()
        self.pair.finish()

    # Picking.

    def any_command(self) -> Command:
        """Return some command."""
        return self.random.choice(self.pair.commands)

    def any_feed(self) -> int | None:
        """Return some connection, None if there is none."""
        return self.random.choice(list(self.pair.wires)) if self.pair.wires else None

    def any_reader(self) -> Reader:
        """Return some reader."""
        return self.random.choice(self.pair.readers)

    # The commands.

    def start(self) -> Command:
        """Start a command; its spec is sometimes larger than a window."""
        size = self.random.choice((0, 0, 0, 100, 70_000, 400_000))
        return self.pair.start(spec_size=size, started=self.random.random() < 0.8)

    def start_one(self) -> None:
        """Start another command."""
        if len(self.pair.commands) < _MOST_COMMANDS:
            self.read(self.start())

    def begin(self) -> None:
        """Let a claimed command begin."""
        command = self.any_command()
        if command.state == lifecycle.CLAIMED:
            self.pair.begin(command)

    def write(self) -> None:
        """Let a command print from one byte to 300 KiB."""
        command = self.any_command()
        if command.state == lifecycle.RUNNING:
            most = self.random.choice((8, 200, 30_000, 300 << 10))
            stream = self.random.choice(("stdout", "stdout", "stderr"))
            self.pair.write(command, stream, self.random.randbytes(self.random.randint(1, most)))

    def roll(self) -> None:
        """Let a log begin a segment early."""
        command = self.any_command()
        if command.state == lifecycle.RUNNING:
            self.pair.logs[command.process_id].roll(2.5)

    def retain(self) -> None:
        """Let a log lose its oldest segments."""
        command = self.any_command()
        if not command.forgotten:
            self.pair.logs[command.process_id].retain(self.random.choice((0, 200_000, 1 << 20)))

    def end(self) -> None:
        """End a command, not too often."""
        command = self.any_command()
        if command.state != lifecycle.ENDED and self.random.random() < 0.3:
            self.pair.end(command, lost=self.random.random() < 0.2)

    def forget(self) -> None:
        """Let the agent lose a command, seldom."""
        command = self.any_command()
        if not command.forgotten and self.random.random() < 0.1:
            self.pair.forget(command)

    # The readers.

    def read(self, command: Command, position: Position = START) -> None:
        """Begin to read a command, for its output or for its end."""
        if len(self.pair.readers) < _MOST_READERS:
            output = position.offset > 0 or self.random.random() < 0.8
            reader = self.pair.read(command, position, output=output)
            reader.stuck = self.random.random() < 0.2

    def read_any(self) -> None:
        """Begin to read some command, late perhaps."""
        self.read(self.any_command())

    def resume(self) -> None:
        """Begin to read where another reader has been."""
        reader = self.any_reader()
        if reader.output and reader.events:
            event = self.random.choice(reader.events)
            if reader.command.state != lifecycle.ENDED or not reader.command.forgotten:
                self.read(reader.command, parse_cursor(event.process_id, event.cursor))

    def consume(self) -> None:
        """Let a reader take some events."""
        reader = self.any_reader()
        for _ in range(0 if reader.stuck else self.random.choice((1, 1, 3, 20))):
            self.pair.take(reader)

    def stick(self) -> None:
        """Let a reader stop reading, or go on."""
        reader = self.any_reader()
        reader.stuck = not reader.stuck

    def close(self) -> None:
        """Let a reader go away, seldom."""
        if len(self.pair.readers) > 1 and self.random.random() < 0.1:
            reader = self.any_reader()
            reader.subscription.close()
            self.pair.readers.remove(reader)

    # The network.

    def up(self) -> None:
        """Move a frame of the client."""
        feed = self.any_feed()
        if feed is not None:
            self.pair.send_up(feed)

    def down(self) -> None:
        """Move a frame of the agent, or only send it off."""
        feed = self.any_feed()
        if feed is not None:
            self.pair.send_down(feed, hold=self.random.random() < 0.3)

    def ring(self) -> None:
        """Ring some news."""
        feed = self.any_feed()
        if feed is not None:
            self.pair.ring(feed)

    def drop(self) -> None:
        """Lose a connection, or all of them."""
        feeds = list(self.pair.wires)
        for feed in feeds if self.random.random() < 0.3 else feeds[:1]:
            self.pair.drop(feed)

    def reconnect(self) -> None:
        """Have one more connection, or a fresh one for the oldest."""
        if len(self.pair.wires) == self.kind.feeds and self.kind.feeds > 1:
            self.pair.drop(next(iter(self.pair.wires)))
        if len(self.pair.wires) < self.kind.feeds:
            self.connect()

    def connect(self) -> None:
        """Make a connection, of the other sort than the last where there are both."""
        self.connections += 1
        polls = self.connections % 2 == 0 if self.kind.polls is None else self.kind.polls
        self.pair.connect(poll=polls)

    def fault(self) -> None:
        """Lose, repeat or overtake a post or an answer of a long-poll, or let one time out."""
        feed = self.any_feed()
        one = None if feed is None else self.pair.wires[feed]
        if isinstance(one, PollWire) and feed is not None:
            lose_post = partial(one.lose_post, self.pair.link, feed)
            faults: list[Callable[[], None]] = [
                lose_post,
                one.lose_answer,
                one.lose_answer,
                one.swap_answers,
            ]
            self.random.choice([*faults, one.repeat_post, one.repeat_post, one.time_out])()

    def duplicate(self) -> None:
        """Deliver a frame again."""
        feed = self.any_feed()
        if feed is not None:
            self.pair.duplicate(feed)


def run(kind: str, seed: int, *, steps: int = 250) -> None:
    """Run one schedule; it raises if anything is wrong."""
    Schedule(kind, seed).run(steps)
