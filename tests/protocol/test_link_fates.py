"""Tests of how readers end on the client's half of the link, and of its budget."""

from __future__ import annotations

from hopx_async.errors import BadCursor, CommandNotFound, RemoteProtocolError
from hopx_async.protocol import records, wire
from hopx_async.protocol.cursor import Position
from hopx_async.protocol.events import Exited, Lost, Started
from hopx_async.protocol.subscription import FIRST_WINDOW
from tests.protocol.by_hand import EXIT, HEAD, asked, drain, one, refused, said
from tests.protocol.pair import Pair


def test_a_reader_behind_the_last_record_is_done() -> None:
    """Over ends a reader whose cursor was the end's."""
    link, subscription = asked(Position(500, 1, 1))
    link.receive(1, wire.encode([wire.Over(1)]))

    assert (subscription.done, subscription.error, subscription.take()) == (True, None, None)


def test_over_waits_for_what_is_buffered() -> None:
    """What came before a lost connection is still taken, up to the end."""
    link, subscription = asked()
    link.receive(1, one(1, 0, HEAD + EXIT))
    link.disconnected(1)
    link.connected(2)
    assert said(link, 2)[1].after == len(HEAD + EXIT)
    link.receive(2, wire.encode([wire.Over(2)]))

    assert [type(event) for event in drain(subscription)] == [Started, Exited]
    assert subscription.error is None


def test_over_without_an_end_is_refused() -> None:
    """A log that is over must have had a last record."""
    link, subscription = asked()
    link.receive(1, one(1, 0, HEAD))
    link.receive(1, wire.encode([wire.Over(1)]))

    assert [type(event) for event in drain(subscription)] == [Started]
    assert isinstance(subscription.error, RemoteProtocolError)
    assert "is over without an end" in str(subscription.error)


def test_a_lost_command_still_yields_what_came() -> None:
    """Lost comes behind the events that are buffered, with their cursor, and frees the rest."""
    link, subscription = asked()
    link.receive(1, one(1, 0, HEAD + EXIT[:20]))
    link.receive(1, refused(1, CommandNotFound("cmd_1")))
    started, lost = drain(subscription)

    assert isinstance(started, Started)
    assert isinstance(lost, Lost)
    assert (lost.cursor, lost.at) == (started.cursor, started.at)
    assert link.buffered == 0


def test_an_end_that_came_before_is_not_lost() -> None:
    """A command that is forgotten after its end was received has ended once."""
    link, subscription = asked()
    link.receive(1, one(1, 0, HEAD + EXIT))
    link.disconnected(1)
    link.connected(2)
    link.receive(2, refused(2, CommandNotFound("cmd_1")))

    assert [type(event) for event in drain(subscription)] == [Started, Exited]


def test_another_refusal_fails_the_reader() -> None:
    """A refusal for another reason than loss is the reader's error; the agent knows it."""
    link, subscription = asked(Position(500, 1, 1))
    link.receive(1, refused(1, BadCursor("after", "500", "too far")))

    assert isinstance(subscription.error, BadCursor)
    assert said(link) == []


def test_a_damaged_log_fails_its_reader_alone() -> None:
    """Garbage in one log is one reader's error; what it held is given back."""
    link, subscription = asked()
    other = link.subscribe("cmd_2")
    spec = records.encode_json(records.SPEC, 1.0, {})
    link.receive(1, one(1, 0, spec + b"\0" * 20))

    assert drain(subscription) == []
    assert isinstance(subscription.error, RemoteProtocolError)
    assert link.buffered == 0
    assert not other.done


def test_a_waiting_reader_whose_buffer_is_dropped_is_rung() -> None:
    """Whoever waits for the rest of a record hears that it has to ask again."""
    link, first = asked(budget=1000)
    second = link.subscribe("cmd_2")
    said(link)
    link.receive(1, one(1, 0, HEAD[:10]))
    assert first.take() is None
    link.receive(1, one(2, 0, records.HEADER.pack(records.SPEC, 5000, 1.0)))
    assert second.take() is None
    news = link.receive(1, one(2, 16, b"{" * 990))

    assert list(news.subscriptions) == [second]
    assert second.parked
    assert link.buffered == 10
    assert said(link) == [wire.Leave(2)]
    assert second.take() is None
    assert said(link) == [wire.Ask(3, "cmd_2", 0, FIRST_WINDOW)]


def test_a_single_reader_may_hold_more_than_the_budget() -> None:
    """A record larger than the budget is still read, if nobody else holds anything."""
    pair = Pair(budget=1000)
    pair.connect()
    command = pair.start(spec_size=100_000)
    reader = pair.read(command)
    pair.finish()

    assert [type(event) for event in reader.events] == [Started, Exited]


def test_fail_ends_every_live_reader() -> None:
    """Fail gives each reader that is not done the error, and leaves its askings."""
    link, subscription = asked()
    done = link.subscribe("cmd_2")
    done.close()
    error = RemoteProtocolError("given up")

    assert link.fail(error) == [subscription]
    assert (subscription.error, done.error) == (error, None)
    assert wire.Leave(1) in said(link)


def test_a_parked_reader_does_not_ask_on_a_new_connection() -> None:
    """A dropped buffer is asked for when it is read, not before."""
    pair = Pair(budget=150_000)
    pair.connect()
    command = pair.start()
    pair.write(command, "stdout", b"x" * 300_000)
    readers = [pair.read(command) for _ in range(3)]
    for reader in readers:
        reader.stuck = True
    pair.settle()
    assert [reader.subscription.parked for reader in readers].count(True) == 2
    pair.connect()

    assert len(said(pair.link, 2)) == 2
    pair.drop(2)
    pair.finish()


def test_over_of_a_dropped_buffer_is_forgotten() -> None:
    """A reader that was told Over, and then lost its buffer, still gets everything."""
    link, subscription = asked(budget=len(HEAD + EXIT) + 10)
    link.receive(1, one(1, 0, HEAD + EXIT))
    link.disconnected(1)
    link.connected(2)
    link.receive(2, wire.encode([wire.Over(2)]))
    other = link.subscribe("cmd_2")
    for _ in range(100):
        link.receive(2, one(0, 0, b""))
    link.receive(2, one(3, 0, HEAD))
    assert subscription.parked
    assert subscription.take() is None
    assert said(link, 2)[-1] == wire.Ask(4, "cmd_1", 0, FIRST_WINDOW)
    other.close()
    link.receive(2, one(4, 0, HEAD + EXIT))

    assert [type(event) for event in drain(subscription)] == [Started, Exited]


def test_a_lost_command_whose_buffer_is_dropped_is_not_asked_for() -> None:
    """What a lost command had sent may be dropped for the budget; then only Lost comes."""
    link, subscription = asked(budget=len(HEAD) + 10)
    link.subscribe("cmd_2")
    link.receive(1, one(1, 0, HEAD))
    link.receive(1, refused(1, CommandNotFound("cmd_1")))
    for _ in range(100):
        link.receive(1, one(0, 0, b""))
    link.receive(1, one(2, 0, HEAD))
    said(link)
    assert subscription.parked

    assert [type(event) for event in drain(subscription)] == [Lost]
    assert said(link) == []
