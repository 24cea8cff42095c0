"""Tests of one reader's face; what it does with a peer stands in `test_link`."""

from __future__ import annotations

import pytest

from hopx_async.errors import ClosedError
from hopx_async.protocol import lifecycle
from hopx_async.protocol.cursor import START
from hopx_async.protocol.events import Exited, Lost, Started, Stdout
from hopx_async.protocol.subscription import Subscription
from tests.protocol.pair import Command, Pair


@pytest.fixture
def pair() -> Pair:
    """Return a pair with one connection."""
    pair = Pair()
    pair.connect()
    return pair


def subscribe(pair: Pair, command: Command) -> Subscription:
    """Return a subscription from which only the test takes."""
    reader = pair.read(command)
    reader.stuck = True
    return reader.subscription


def test_a_reader_takes_what_came_and_is_done_at_the_end(pair: Pair) -> None:
    """Take returns events, then None; done says that nothing more comes."""
    command = pair.start()
    pair.write(command, "stdout", b"x")
    reader = subscribe(pair, command)

    assert reader.take() is None
    assert not reader.done
    assert reader.position == START
    pair.settle()
    assert reader.buffered > 0
    assert isinstance(reader.take(), Started)
    assert isinstance(reader.take(), Stdout)
    assert (reader.take(), reader.buffered, reader.position.stdout_bytes) == (None, 0, 1)
    pair.end(command)
    pair.settle()
    assert isinstance(reader.take(), Exited)
    assert reader.done
    assert reader.take() is None


def test_a_reader_of_the_end_has_no_position(pair: Pair) -> None:
    """Without output a subscription holds nothing and yields the end alone, once."""
    command = pair.start()
    reader = pair.link.subscribe(command.process_id, output=False)
    pair.settle()

    assert reader.take() is None
    pair.write(command, "stdout", b"x" * 1000)
    pair.end(command)
    pair.settle()
    assert (reader.buffered, reader.position, reader.done) == (0, START, False)
    assert isinstance(reader.take(), Exited)
    assert (reader.take(), reader.done) == (None, True)


@pytest.mark.parametrize("output", [True, False])
def test_an_unknown_command_is_lost(pair: Pair, *, output: bool) -> None:
    """A reader of a command that the far side does not know gets Lost, once."""
    reader = pair.link.subscribe("nobody", output=output)
    pair.settle()
    event = reader.take()

    assert isinstance(event, Lost)
    assert (event.exit.reason, event.at) == ("lost", 0.0)
    assert (reader.take(), reader.done) == (None, True)


def test_a_closed_reader_gets_nothing(pair: Pair) -> None:
    """Close drops what came, tells the far side, and may be called twice."""
    command = pair.start()
    reader = subscribe(pair, command)
    pair.settle()
    reader.close()
    reader.close()

    assert (reader.take(), reader.done, reader.buffered) == (None, True, 0)
    assert pair.link.buffered == 0
    pair.settle()
    assert [wire.peer.askings for wire in pair.wires.values()] == [0]


def test_a_closed_reader_of_the_end_gets_nothing(pair: Pair) -> None:
    """Close forgets an end that was not taken."""
    command = pair.start()
    pair.end(command)
    reader = pair.link.subscribe(command.process_id, output=False)
    pair.settle()
    reader.close()

    assert reader.take() is None


def test_a_failed_reader_says_why(pair: Pair) -> None:
    """Error tells what ended a reader before its end."""
    reader = pair.link.subscribe("cmd_1")
    error = ClosedError("closed")

    assert pair.link.fail(error) == [reader]
    assert (reader.error, reader.done, reader.take()) == (error, True, None)


def test_a_parked_reader_asks_again_when_it_is_read() -> None:
    """A reader whose buffer was dropped goes on where it was."""
    pair = Pair(budget=100_000)
    pair.connect()
    command = pair.start()
    pair.write(command, "stdout", b"x" * 90_000)
    pair.end(command)
    first, second = (subscribe(pair, command) for _ in range(2))
    assert command.state == lifecycle.ENDED
    for _ in range(10):
        pair.round()

    assert (first.parked, second.parked) == (False, True)
    assert second.buffered == 0
    read = {first: 0, second: 0}
    while not (first.done and second.done):
        pair.round()
        for reader in read:
            while isinstance(event := reader.take(), Started | Stdout | Exited):
                read[reader] += len(event.data) if isinstance(event, Stdout) else 0
    assert set(read.values()) == {90_000}


def test_a_reader_of_the_end_has_no_buffer_to_drop(pair: Pair) -> None:
    """Parking frees nothing where nothing is held."""
    assert pair.link.subscribe("cmd_1", output=False)._park() == 0
