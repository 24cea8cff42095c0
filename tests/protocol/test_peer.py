"""Tests of the agent's half of the link."""

from __future__ import annotations

from typing import Any

import pytest

from hopx_async import errors
from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol import peer as peers
from hopx_async.protocol import records, wire
from hopx_async.protocol.peer import Peer
from hopx_async.testing.memory_log import MemoryLogs

HELLO = wire.Hello(wire.LINK_VERSION)
PLENTY = 1 << 30


@pytest.fixture
def logs() -> MemoryLogs:
    """Return logs of two running commands."""
    logs = MemoryLogs(segment_bytes=records.BLOCK)
    for process_id in ("one", "two"):
        logs.create(process_id, {}, 1.0)
        logs.append_json(process_id, records.STARTED, 1.0, {"pid": 7})
    return logs


def greeted(logs: MemoryLogs) -> Peer:
    """Return a peer that has exchanged hellos."""
    peer = Peer(logs, sandbox="sbx_1")
    say(peer, HELLO)
    assert hear(peer) == [wire.Hello(wire.LINK_VERSION, "sbx_1")]
    return peer


def say(peer: Peer, *controls: wire.ClientControl) -> list[wire.Call]:
    """Tell a peer something."""
    return peer.receive(wire.encode(controls))


def hear(peer: Peer) -> Any:
    """Return a peer's next frame, decoded; None for none."""
    frame = peer.next_frame()
    if isinstance(frame, str):
        return wire.decode_agent(frame)
    return None if frame is None else list(wire.pieces(frame))


def end(logs: MemoryLogs, process_id: str) -> None:
    """End a command."""
    logs.append_json(process_id, records.EXITED, 2.0, {"reason": "exited", "exit_code": 0})


def test_an_asking_gets_the_log_as_it_grows(logs: MemoryLogs) -> None:
    """A peer sends the bytes there are, waits for news, says at the end that it is, and lets go."""
    peer = greeted(logs)
    say(peer, wire.Ask(1, "one", 0, PLENTY))
    ((ask, offset, data),) = hear(peer)

    assert (ask, offset, data) == (1, 0, logs.read("one", 0, PLENTY)[1])  # type: ignore[index]
    assert hear(peer) is None
    end(logs, "one")
    assert hear(peer) is None
    peer.news("one")
    (_, offset, data), over = hear(peer)
    assert offset + len(data) == logs.end("one")
    assert over == (1, logs.end("one"), b"")
    assert peer.askings == 0


def test_credit_bounds_what_is_sent(logs: MemoryLogs) -> None:
    """A peer sends no more than was granted, and goes on when more is."""
    peer = greeted(logs)
    say(peer, wire.Ask(1, "one", 0, 10))

    assert [len(data) for _, _, data in hear(peer)] == [10]
    peer.news("one")
    assert hear(peer) is None
    say(peer, wire.Credit(1, 5), wire.Credit(1, 30), wire.Credit(99, 30))
    assert [(offset, len(data)) for _, offset, data in hear(peer)] == [(10, 20)]


def test_an_asking_without_output_gets_the_last_record_alone(logs: MemoryLogs) -> None:
    """The end needs no credit, and nothing comes before it."""
    peer = greeted(logs)
    say(peer, wire.Ask(1, "one", output=False))
    logs.append_data("one", records.STDOUT, 1.0, b"x" * 1000)
    peer.news("one")

    assert hear(peer) is None
    end(logs, "one")
    peer.news("one")
    assert hear(peer) == [(1, *logs["one"].last)]  # type: ignore[misc]
    assert peer.askings == 0


def test_an_asking_behind_the_last_record_is_over(logs: MemoryLogs) -> None:
    """Over says that nothing follows."""
    end(logs, "one")
    peer = greeted(logs)
    say(peer, wire.Ask(1, "one", logs["one"].end, PLENTY))

    assert hear(peer) == [wire.Over(1)]


@pytest.mark.parametrize(
    ("ask", "cls"),
    [
        (wire.Ask(1, "nobody", 0, 10), errors.CommandNotFound),
        (wire.Ask(1, "nobody", 0), errors.CommandNotFound),
        (wire.Ask(1, "one", 10_000, 10), errors.BadCursor),
        (wire.Ask(1, "../../x", 0, 10), errors.InvalidArgument),
        (wire.Ask(1, "x" * 300, 0, 10), errors.InvalidArgument),
    ],
)
def test_an_asking_that_cannot_be_served_is_refused(
    logs: MemoryLogs, ask: wire.Ask, cls: type[Exception]
) -> None:
    """Refused carries a typed error, and the asking is forgotten."""
    peer = greeted(logs)
    say(peer, ask)
    (refused,) = hear(peer)

    assert type(wire.error_from_dict(refused.error)) is cls
    assert peer.askings == 0


def test_askings_are_bounded(logs: MemoryLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    """One asking too many is refused, the others go on."""
    monkeypatch.setattr(peers, "MAX_ASKINGS", 2)
    peer = greeted(logs)
    say(peer, *(wire.Ask(n, "one", 0, 10) for n in range(3)))
    (refused,) = hear(peer)

    assert refused.ask == 2
    assert isinstance(wire.error_from_dict(refused.error), errors.RateLimited)
    assert peer.askings == 2


def test_a_command_that_is_forgotten_is_refused(logs: MemoryLogs) -> None:
    """Whoever asked for a command that the agent lost hears so: waiting, stuck or at its turn."""
    peer = greeted(logs)
    say(peer, wire.Ask(1, "one", 0, 10), wire.Ask(2, "one", output=False))
    assert hear(peer) is not None
    say(peer, wire.Ask(3, "one", 0, 10))
    logs.forget("one")
    peer.news("one")
    assert [control.ask for control in hear(peer)] == [2]
    assert [control.ask for control in hear(peer)] == [3]

    say(peer, wire.Credit(1, 100))
    (refused,) = hear(peer)
    assert isinstance(wire.error_from_dict(refused.error), errors.CommandNotFound)
    assert peer.askings == 0


def test_a_log_that_must_be_fetched_is_waited_for(
    logs: MemoryLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer sends nothing while the log is not at hand, and asks again at the next news."""
    end(logs, "two")
    peer = greeted(logs)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryLogs, "read", lambda *_: None)
        patch.setattr(MemoryLogs, "last", lambda *_: None)
        say(peer, wire.Ask(1, "one", 0, PLENTY), wire.Ask(2, "two", output=False))
        assert hear(peer) is None
    assert hear(peer) is None
    peer.news("one")
    peer.news("two")

    assert [ask for ask, _, _ in hear(peer)] == [1, 2]


def test_those_who_left_get_nothing(logs: MemoryLogs) -> None:
    """Leave forgets an asking, at its turn, waiting, or unknown."""
    peer = greeted(logs)
    say(peer, wire.Ask(1, "one", 0, 10), wire.Leave(1), wire.Leave(7))
    assert hear(peer) is None
    say(peer, wire.Ask(2, "one", 0, PLENTY), wire.Ask(3, "one", 0, PLENTY))
    assert [ask for ask, _, _ in hear(peer)] == [2, 3]
    say(peer, wire.Leave(2))
    end(logs, "one")
    peer.news("one")

    assert {ask for ask, _, _ in hear(peer)} == {3}
    say(peer, wire.Ask(4, "two", 0, PLENTY), wire.Ask(5, "two", output=False))
    hear(peer)
    say(peer, wire.Leave(4), wire.Leave(5))
    assert peer._waiting == {}


def test_a_client_that_comes_and_goes_leaves_nothing(logs: MemoryLogs) -> None:
    """Turns of those who left do not pile up while nothing is sent."""
    peer = greeted(logs)
    for ask in range(1000):
        say(peer, wire.Ask(ask, "one", 0, 10), wire.Leave(ask))

    assert len(peer._turns) < 100


def test_turns_are_fair(logs: MemoryLogs) -> None:
    """A short log is served although a long one has credit without end."""
    logs.append_data("one", records.STDOUT, 1.0, b"x" * 5_000_000)
    peer = greeted(logs)
    say(peer, wire.Ask(1, "one", 0, PLENTY))
    hear(peer)
    say(peer, wire.Ask(2, "two", 0, PLENTY))

    assert [ask for ask, _, _ in hear(peer)][:2] == [1, 2]


def test_a_long_log_is_cut_between_its_records(logs: MemoryLogs) -> None:
    """The frames of a long log end where a block does, so that no record has to be joined."""
    logs.append_data("one", records.STDOUT, 1.0, b"x" * 1_000_000)
    peer = greeted(logs)
    say(peer, wire.Ask(1, "one", 100, PLENTY))
    ends = [offset + len(data) for _ in range(4) for _, offset, data in hear(peer)]

    assert [end % records.BLOCK for end in ends] == [0, 0, 0, 0]


def test_a_frame_is_bounded_and_shared(logs: MemoryLogs) -> None:
    """Many askings share a frame of at most 256 KiB."""
    logs.append_data("one", records.STDOUT, 1.0, b"x" * 1_000_000)
    peer = greeted(logs)
    say(peer, *(wire.Ask(n, "one", 0, PLENTY) for n in range(100)))
    frame = peer.next_frame()

    assert isinstance(frame, bytes)
    assert 200 * 1024 < len(frame) <= wire.MAX_DATA_BYTES
    assert len(list(wire.pieces(frame))) > 10


def test_calls_are_returned_and_answered(logs: MemoryLogs) -> None:
    """Receive returns calls, reply queues what they brought."""
    peer = greeted(logs)
    calls = say(peer, wire.Call(1, "info", {"a": 1}), wire.Call(2, "kill", {}))
    peer.reply(1, {"x": 1})
    peer.reply(2, error=errors.CommandNotFound("one"))
    first, second = hear(peer)

    assert [call.method for call in calls] == ["info", "kill"]
    assert first == wire.Reply(1, {"x": 1})
    assert second.error["code"] == "command_not_found"


def test_an_answer_too_large_for_a_frame_becomes_a_fault(logs: MemoryLogs) -> None:
    """Reply never makes a frame that the client would refuse."""
    peer = greeted(logs)
    peer.reply(1, "x" * wire.MAX_CONTROL_BYTES)
    (reply,) = hear(peer)

    assert reply.error["code"] == "agent_fault"


def test_a_peer_says_when_answers_pile_up(logs: MemoryLogs) -> None:
    """Congested is true while more waits than one frame may hold."""
    peer = greeted(logs)
    for call in range(5):
        peer.reply(call, "x" * 1_000_000)

    assert peer.congested
    hear(peer)
    assert not peer.congested


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (b"x", "no binary frames"),
        ("[1]", "unknown frame"),
        (wire.encode([wire.Leave(1)]), "the first word of a client is hello"),
        (wire.encode([wire.Hello(2)]), "speaks link version 2, not 1"),
    ],
)
def test_a_client_that_breaks_the_protocol_is_refused(
    logs: MemoryLogs, frame: str | bytes, problem: str
) -> None:
    """Receive raises for what no client says."""
    with pytest.raises(RemoteProtocolError, match=problem):
        Peer(logs).receive(frame)


def test_an_ask_is_never_used_twice(logs: MemoryLogs) -> None:
    """Receive raises for a number that is in use."""
    peer = greeted(logs)

    with pytest.raises(RemoteProtocolError, match="ask 1 is used twice"):
        say(peer, wire.Ask(1, "one"), wire.Ask(1, "one"))


def test_a_log_that_cannot_be_read_is_told(
    logs: MemoryLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its readers hear why and are let go; those of other logs go on."""
    peer = greeted(logs)
    read = logs.read

    def broken(process_id: str, *place: int) -> Any:
        if process_id == "one":
            raise errors.AgentFault("the disk is broken")
        return read(process_id, *place)

    monkeypatch.setattr(logs, "read", broken)
    say(peer, wire.Ask(1, "one", 0, PLENTY), wire.Ask(2, "two", 0, PLENTY))

    assert [ask for ask, _, _ in hear(peer)] == [2]
    (told,) = hear(peer)
    assert told.ask == 1
    assert "the disk is broken" in told.error["message"]
    assert peer.askings == 1
    end(logs, "two")
    peer.news("two")
    assert {ask for ask, _, _ in hear(peer)} == {2}
