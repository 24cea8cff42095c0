"""Tests of the client's half of the link: connections, frames, credit, calls."""

from __future__ import annotations

import re

import pytest

from hopx_async.errors import InvalidArgument, RemoteProtocolError
from hopx_async.protocol import link as links
from hopx_async.protocol import records, wire
from hopx_async.protocol.cursor import Position
from hopx_async.protocol.events import Exited, Started, Stdout, Truncated
from hopx_async.protocol.link import Link
from hopx_async.protocol.subscription import FIRST_WINDOW
from tests.protocol.by_hand import EXIT, HEAD, asked, drain, one, said
from tests.protocol.pair import Pair


def test_a_new_connection_asks_for_every_live_reader() -> None:
    """Connected says hello and asks, from each cursor and with a fresh number."""
    link = Link()
    assert not link.has_data(1)
    assert link.data_to_send(1) is None
    link.subscribe("cmd_1", Position(70, 1, 2))
    link.subscribe("cmd_2", output=False)
    link.connected(1)

    assert link.has_data(1)
    assert said(link) == [
        wire.Hello(1),
        wire.Ask(1, "cmd_1", 70, FIRST_WINDOW),
        wire.Ask(2, "cmd_2", output=False),
    ]
    link.disconnected(1)
    link.connected(2)
    assert [control.ask for control in said(link, 2)[1:]] == [3, 4]


def test_a_new_reader_asks_on_every_connection() -> None:
    """Subscribe asks at once wherever a connection is up."""
    link = Link()
    link.connected(1)
    link.connected(2)
    link.subscribe("cmd_1")

    assert [said(link, feed)[1].ask for feed in (1, 2)] == [1, 2]


def test_the_first_news_ring_their_reader() -> None:
    """Receive tells whom to wake, and the reader takes what came."""
    link, subscription = asked()
    news = link.receive(1, one(1, 0, HEAD))

    assert list(news.subscriptions) == [subscription]
    assert [type(event) for event in drain(subscription)] == [Started]


@pytest.mark.parametrize(("feed", "ask"), [(1, 9), (2, 1), (3, 1)])
def test_late_frames_fall_off(feed: int, ask: int) -> None:
    """Bytes for an old asking, for another connection's or a lost one's, go nowhere."""
    link, subscription = asked()
    link.connected(2)
    news = link.receive(feed, one(ask, 0, HEAD))

    assert news == ({}, [])
    assert subscription.buffered == 0


def test_late_controls_fall_off() -> None:
    """What is said of an old asking concerns nobody."""
    link, subscription = asked()
    subscription.close()

    assert link.receive(1, wire.encode([wire.Over(1)])) == ({}, [])


def test_a_frame_that_comes_twice_counts_once() -> None:
    """Duplicates fall away, and cost no credit."""
    link, subscription = asked()
    link.receive(1, one(1, 0, HEAD))
    link.receive(1, one(1, 0, HEAD))

    assert link.buffered == len(HEAD)
    assert subscription._askings[0].received == len(HEAD)


def test_more_than_was_granted_is_refused() -> None:
    """An agent that ignores credit breaks the protocol."""
    link, _ = asked()
    for offset in range(0, FIRST_WINDOW, 65_536):
        link.receive(1, one(1, offset, bytes(65_536)))

    with pytest.raises(RemoteProtocolError, match="131073 log bytes of cmd_1, granted were 131072"):
        link.receive(1, one(1, FIRST_WINDOW, b"x"))


@pytest.mark.parametrize("cut", [False, True])
def test_credit_grows_while_a_reader_keeps_up(*, cut: bool) -> None:
    """The window doubles up to its last size while everything is taken, records cut or not."""
    pair = Pair(cut=cut)
    pair.connect()
    command = pair.start()
    reader = pair.read(command)
    windows = []
    for _ in range(80):
        pair.write(command, "stdout", b"x" * 100_000)
        pair.settle()
        windows.append(reader.subscription._window)

    assert windows == sorted(windows)
    assert windows[-1] == links.LAST_WINDOW


def test_a_long_log_takes_few_credits() -> None:
    """A reader that keeps up with a log that is there already says little."""
    pair = Pair()
    pair.connect()
    command = pair.start()
    pair.write(command, "stdout", b"x" * 20_000_000)
    reader = pair.read(command)
    said = 0
    while reader.position.stdout_bytes < 20_000_000:
        wire = pair.wires[1]
        while wire.down():
            pass
        for frame in iter(wire.arrived, []):
            for subscription in pair.link.receive(1, frame[0]).subscriptions:
                while subscription.take() is not None:
                    pass
        reader.position = reader.subscription.position
        said += wire.up(pair.link, 1)

    assert said < 2 * 20_000_000 / (links.LAST_WINDOW / 2)


def test_a_record_larger_than_the_window_is_let_in() -> None:
    """A huge spec is granted what it lacks, also on a new connection."""
    pair = Pair()
    feed = pair.connect()
    command = pair.start(spec_size=500_000)
    reader = pair.read(command)
    reader.stuck = True
    pair.settle()
    assert reader.subscription.buffered == FIRST_WINDOW
    reader.stuck = False
    pair.take(reader)
    pair.drop(feed)
    pair.connect()
    pair.finish()

    assert [type(event) for event in reader.events] == [Started, Exited]


def test_pads_at_the_head_grant_nothing() -> None:
    """A buffer that begins with pads is not taken for a record of 4 GiB."""
    link, subscription = asked(Position(records.BLOCK - 4096, 0, 0))
    link.receive(1, one(1, records.BLOCK - 4096, b"\xff" * 2048))
    link.connected(2)

    assert said(link, 2)[1].total == FIRST_WINDOW - 2048
    assert subscription.buffered == 2048


def test_a_feed_that_lags_gets_credit_for_what_came_before() -> None:
    """Bytes that fell away as duplicates do not use a feed up."""
    pair = Pair(single=False)
    fast, slow = pair.connect(), pair.connect()
    command = pair.start()
    pair.write(command, "stdout", b"x" * 1_000_000)
    reader = pair.read(command)
    for _ in range(100):
        pair.ring(fast)
        pair.send_up(fast)
        pair.send_up(slow)
        pair.send_down(fast)
        while pair.take(reader):
            pass
    assert reader.position.stdout_bytes == 1_000_000
    pair.drop(fast)
    pair.write(command, "stdout", b"y" * 1_000_000)
    pair.finish()

    assert reader.done


def test_a_command_without_output_yields_its_end() -> None:
    """A subscription without output takes the last record alone."""
    link = Link()
    link.connected(1)
    subscription = link.subscribe("cmd_1", output=False)
    said(link)
    link.receive(1, one(1, 500, EXIT))

    assert said(link) == [], "the agent has forgotten it by itself"
    assert [type(event) for event in drain(subscription)] == [Exited]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\0" * 20, "last record of cmd_1: kind 0"),
        (EXIT[:-1], "None is no last record"),
        (HEAD, "<Record Spec .* is no last record"),
        (records.encode(records.LOST, 1.0, b"{}"), "no exit of cmd_1"),
    ],
)
def test_what_is_no_end_is_refused(data: bytes, problem: str) -> None:
    """Something else than the last record fails who waited for it, and nobody else."""
    link = Link()
    link.connected(1)
    subscription = link.subscribe("cmd_1", output=False)
    other = link.subscribe("cmd_2", output=False)

    assert subscription in link.receive(1, one(1, 0, data)).subscriptions
    assert isinstance(subscription.error, RemoteProtocolError)
    assert re.search(problem, str(subscription.error))
    assert (subscription.done, other.done) == (True, False)


def test_calls_are_numbered_and_answered() -> None:
    """Call queues a request, and its reply comes out of receive."""
    link = Link()
    link.connected(1)
    number = link.call(1, "info", {"process_id": "cmd_1"})
    news = link.receive(1, wire.encode([wire.Hello(1), wire.Reply(number, 5)]))

    assert said(link)[1] == wire.Call(number, "info", {"process_id": "cmd_1"})
    assert news == ({}, [wire.Reply(number, 5)])


def test_an_oversized_call_is_refused() -> None:
    """A call above its bound raises before anything is sent."""
    link = Link()
    link.connected(1)

    with pytest.raises(InvalidArgument, match="all arguments together take at most 1048576"):
        link.call(1, "start", {"command": "x" * wire.MAX_CALL_BYTES})
    assert len(said(link)) == 1


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (wire.encode([wire.Hello(2)]), "the agent speaks link version 2, not 1"),
        ("[", "an unknown frame"),
        (b"x", "ends within a piece"),
        (bytes(wire.MAX_DATA_BYTES + 1), "at most 262144"),
        ("x" * (wire.MAX_CONTROL_BYTES + 1), "at most 4194304"),
    ],
)
def test_an_agent_that_breaks_the_protocol_is_refused(frame: str | bytes, problem: str) -> None:
    """Receive raises for what no agent says."""
    link, _ = asked()

    with pytest.raises(RemoteProtocolError, match=problem):
        link.receive(1, frame)


def test_truncation_reaches_the_reader() -> None:
    """A reader that comes too late for retention is told how much it missed."""
    pair = Pair()
    pair.connect()
    command = pair.start()
    pair.write(command, "stdout", b"x" * 400_000)
    pair.logs[command.process_id].retain(0)
    reader = pair.read(command)
    pair.finish()

    lost = sum(event.stdout_bytes for event in reader.events if isinstance(event, Truncated))
    read = sum(len(event.data) for event in reader.events if isinstance(event, Stdout))
    assert lost > 0
    assert lost + read == 400_000


def test_disconnecting_forgets_only_its_own_askings() -> None:
    """A reader goes on over the connection that is left."""
    link, subscription = asked()
    link.connected(2)
    link.disconnected(1)
    link.receive(2, one(2, 0, HEAD))

    assert [type(event) for event in drain(subscription)] == [Started]
    assert [asking.feed for asking in subscription._askings] == [2]


def test_what_nobody_wants_any_more_is_not_sent() -> None:
    """While nothing can be sent, readers that come and go leave nothing in the outbox."""
    link = Link()
    link.connected(1)
    sent = link.subscribe("cmd_1")
    assert said(link) == [wire.Hello(1), wire.Ask(1, "cmd_1", 0, FIRST_WINDOW)]
    for _ in range(1000):
        link.subscribe("cmd_1").close()
        link.withdraw(1, link.call(1, "info", {"process_id": "cmd_1"}))
    assert not link.has_data(1)
    sent.close()
    assert said(link) == [wire.Leave(1)]


def test_the_last_credit_stands_for_all() -> None:
    """While nothing can be sent, of all credits of an asking the last one waits."""
    link, subscription = asked()
    link.receive(1, one(1, 0, HEAD))
    offset, count = len(HEAD), 0
    grants: set[int] = set()
    while len(grants) < 5:
        output = memoryview(bytes(60_000))
        data, end = records.place_data(offset, records.STDOUT, 1.0, count, output)
        link.receive(1, one(1, offset, b"".join(data)))
        offset, count = end, count + len(output)
        drain(subscription)
        grants.add(subscription._askings[0].granted)
    assert said(link) == [wire.Credit(1, max(grants))]


def test_a_link_says_when_too_much_waits() -> None:
    """Congested is told of a connection with as much to send as a frame holds, and of no other."""
    link = Link()
    link.connected(1)
    for _ in range(5):
        assert not link.congested(1)
        link.call(1, "write", {"data": "x" * (wire.MAX_CONTROL_BYTES // 5)})
    assert link.congested(1)
    assert not link.congested(2)
    said(link)
    assert not link.congested(1)
    link.withdraw(2, 1)
