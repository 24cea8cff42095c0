"""Both halves of the long-poll, and its bounds; what networks do to it stands in schedules."""

from __future__ import annotations

import pytest

from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol import poll, wire
from hopx_async.protocol.peer import Peer
from hopx_async.protocol.poll import AgentSession, ClientSession, Post, read_post
from hopx_async.testing.memory_log import MemoryLogs

HELLO = wire.encode([wire.Hello(wire.LINK_VERSION)])


def session() -> AgentSession:
    """Return an agent's session over no logs."""
    return AgentSession(Peer(MemoryLogs()))


def greeted() -> AgentSession:
    """Return an agent's session whose first answer was acknowledged."""
    agent = session()
    agent.begin(Post(1, 0, 0, [HELLO]))
    agent.next_frame(Post(1, 0, 0, [HELLO]))
    agent.peer.receive(HELLO)
    assert agent.answer() is not None
    agent.begin(Post(2, 1, 1, []))
    return agent


def answer(number: int, taken: int = 0, rest: bytes = b"") -> bytes:
    """Return an answer's body."""
    return poll.ANSWER.pack(number, taken) + rest


def test_a_post_carries_frames_until_they_are_taken() -> None:
    """What was said is posted again until an answer counts it as taken."""
    client = ClientSession()
    client.add("one")
    assert read_post(client.post()) == Post(1, 0, 0, ["one"])
    client.add("zwölf")
    assert read_post(client.post()) == Post(2, 0, 0, ["one", "zwölf"])
    assert client.receive(answer(0, 1)) == []
    assert client.receive(answer(0, 1)) == []
    assert read_post(client.post()) == Post(3, 1, 0, ["zwölf"])
    client.receive(answer(0, 2))

    assert read_post(client.post()) == Post(4, 2, 0, [])


def test_an_answer_is_new_once() -> None:
    """A repeated answer brings nothing; the next post acknowledges it."""
    client = ClientSession()
    client.post()
    frame = poll.FRAME.pack(1, 3) + b"abc" + poll.FRAME.pack(0, 2) + b"[]"
    assert client.receive(answer(1, 0, frame)) == [b"abc", "[]"]
    assert read_post(client.post()).ack == 1

    assert client.receive(answer(1, 0, frame)) == []


def test_posts_are_wanted_when_there_is_reason() -> None:
    """One post is always under way, a second while there is more to say, never a third."""
    client = ClientSession()
    assert client.wants_post
    client.post()
    assert not client.wants_post
    client.add("x")
    assert client.wants_post
    client.post()
    client.add("y")
    assert not client.wants_post
    client.receive(answer(0))
    assert client.wants_post
    client.post()
    client.lost()

    assert client.wants_post


def test_what_was_said_is_bounded() -> None:
    """The largest call fits into a post, a byte more than the bound does not."""
    client = ClientSession()
    assert client.fits("x" * wire.MAX_CALL_BYTES)
    room = poll.MAX_POST_BYTES - poll.POST.size - poll.FRAME.size
    assert client.fits("x" * room)
    assert not client.fits("x" * (room + 1))
    assert not client.fits("ü" * room)
    client.add("x" * room)
    assert len(client.post()) == poll.MAX_POST_BYTES
    assert not client.fits("")
    client.receive(answer(0, 1))

    assert client.fits("x" * room)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"short", "head"),
        (answer(2), "answer 2"),
        (answer(1, 7), "7 frames"),
        (answer(1, 0, b"\0"), "within a frame"),
        (answer(1, 0, poll.FRAME.pack(1, 9) + b"abc"), "within a frame"),
        (answer(1, 0, poll.FRAME.pack(7, 3) + b"abc"), "unknown kind"),
        (answer(1, 0, poll.FRAME.pack(0, 1) + b"\xff"), "text frame"),
    ],
)
def test_answers_that_are_none_are_refused(body: bytes, problem: str) -> None:
    """An answer that breaks the protocol is told as the far side's fault."""
    client = ClientSession()
    client.post()
    with pytest.raises(RemoteProtocolError, match=problem):
        client.receive(body)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"short", "head"),
        (poll.POST.pack(1, 0, 0) + b"\0", "within a frame"),
        (bytes(poll.MAX_POST_BYTES + 1), "at most"),
    ],
)
def test_posts_that_are_none_are_refused(body: bytes, problem: str) -> None:
    """A post that breaks the protocol, or is too large, is told as the far side's fault."""
    with pytest.raises(RemoteProtocolError, match=problem):
        read_post(body)


@pytest.mark.parametrize("post", [Post(3, 1, 2, []), Post(3, 1, 9, []), Post(3, 2, 1, [])])
def test_a_gap_is_refused_and_changes_nothing(post: Post) -> None:
    """An answer that was never given, or a frame that never came, is a gap."""
    agent = greeted()
    if post.ack == 2:
        assert agent.answer() is None
    with pytest.raises(RemoteProtocolError):
        agent.begin(post)

    assert agent.begin(Post(3, 1, 1, []))


def test_the_latest_post_has_the_turn() -> None:
    """A later post ends the turn of the one before; one that was overtaken gets none."""
    agent = session()
    first = agent.begin(Post(5, 0, 0, []))
    assert agent.has_turn(first)
    again = agent.begin(Post(5, 0, 0, []))
    assert (agent.has_turn(first), agent.has_turn(again)) == (False, True)
    assert agent.begin(Post(4, 0, 0, [])) == 0

    assert agent.has_turn(again)


def test_an_answer_is_repeated_until_acknowledged() -> None:
    """The same answer comes until a post acknowledges it; then there is nothing to say."""
    agent = session()
    agent.begin(Post(1, 0, 0, []))
    body = agent.answer()
    assert body is not None
    assert body == agent.answer()
    agent.begin(Post(2, 0, 0, []))
    assert body == agent.answer()
    agent.begin(Post(3, 0, 1, []))
    assert agent.answer() is None

    assert poll.ANSWER.unpack(agent.nothing()) == (0, 0)


def test_an_answer_is_bounded() -> None:
    """Frames beyond the bound wait for the next answer; a larger one travels alone."""
    agent = greeted()
    for size in (700_000, 500_000, 2_000_000, 10):
        agent.peer.reply(1, "x" * size)
    sizes = []
    for number in range(2, 6):
        body = agent.answer()
        assert body is not None
        sizes.append(len(body) // 10_000)
        agent.begin(Post(number + 1, 1, number, []))

    assert sizes == [70, 50, 200, 0]
    assert agent.answer() is None
