"""Connections between a client's link and an agent's peer: a socket, and a long-poll."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from hopx_async.protocol import poll, wire
from hopx_async.protocol.poll import AgentSession, ClientSession

if TYPE_CHECKING:
    from hopx_async.protocol.link import Link
    from hopx_async.protocol.peer import Peer

__all__ = ["PollWire", "Wire"]


class Wire:
    """One connection: an agent's peer, and the frames under way."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.to_client: deque[str | bytes] = deque()
        self.last: str | bytes = wire.encode([])
        #: Commands of which the agent's shell has yet to ring the news.
        self.news: set[str] = set()

    def up(self, link: Link, feed: int) -> bool:
        """Move what the client says by one frame; return whether there was any."""
        frame = link.data_to_send(feed)
        if frame is not None:
            assert self.peer.receive(frame) == []
        return frame is not None

    @property
    def under_way(self) -> bool:
        """Whether something is on its way to the client."""
        return bool(self.to_client)

    def down(self) -> bool:
        """Send off what the agent says next; return whether there was any."""
        frame = self.peer.next_frame()
        if frame is not None:
            self.to_client.append(frame)
        return frame is not None

    def arrived(self) -> list[str | bytes]:
        """Return the frames that reach the client next."""
        frames = [self.to_client.popleft()] if self.to_client else []
        self.last = frames[-1] if frames else self.last
        return frames


class PollWire(Wire):
    """A long-poll session: posts and answers under way, and the post that hangs."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self.client = ClientSession()
        self.agent = AgentSession(peer)
        self.posts: deque[bytes] = deque()
        #: Each with the number of the post that it answers.
        self.answers: deque[tuple[int, bytes]] = deque()
        #: Turn and number of the post that hangs; number 0: nobody waits for its answer.
        self.hanging: tuple[int, int] | None = None
        self.latest = b""

    def up(self, link: Link, feed: int) -> bool:
        """Make a post if one is wanted, and move one to the agent."""
        self._make_post(link, feed)
        if not self.posts:
            return False
        self.latest = self.posts.popleft()
        self._take(self.latest, poll.read_post(self.latest).number)
        return True

    def _make_post(self, link: Link, feed: int) -> None:
        while (frame := link.data_to_send(feed)) is not None:
            assert self.client.fits(frame)
            self.client.add(frame)
        if self.client.wants_post:
            self.posts.append(self.client.post())

    def _take(self, body: bytes, asker: int) -> None:
        post = poll.read_post(body)
        turn = self.agent.begin(post)
        if not turn:
            self._answer(asker, self.agent.nothing())
            return
        self.time_out()
        self.hanging = (turn, asker)
        while self.agent.holds_news(post):
            assert self.peer.receive(self.agent.next_frame(post)) == []

    def _answer(self, asker: int, body: bytes) -> None:
        if asker:
            self.answers.append((asker, body))

    @property
    def under_way(self) -> bool:
        """Whether an answer is on its way."""
        return bool(self.answers)

    def down(self) -> bool:
        """Answer the post that hangs, if there is something to say."""
        answer = self.agent.answer() if self.hanging else None
        if answer is not None and self.hanging:
            assert len(answer) <= poll.ANSWER.size + poll.MAX_ANSWER_BYTES
            self._answer(self.hanging[1], answer)
            self.hanging = None
        return answer is not None

    def arrived(self) -> list[str | bytes]:
        """Return the frames of the answer that reaches the client next."""
        return self.client.receive(self.answers.popleft()[1]) if self.answers else []

    # What networks do.

    def time_out(self) -> None:
        """End the post that hangs, for it has hung for long enough or another came."""
        if self.hanging:
            self._answer(self.hanging[1], self.agent.nothing())
            self.hanging = None

    def lose_post(self, link: Link, feed: int) -> None:
        """Lose a post on its way, with all that the client has to say."""
        self._make_post(link, feed)
        if self.posts:
            self.posts.pop()
            self.client.lost()

    def lose_answer(self) -> None:
        """Lose an answer on its way."""
        if self.answers:
            self.answers.popleft()
            self.client.lost()

    def swap_answers(self) -> None:
        """Let an answer overtake the one before."""
        self.answers.rotate()

    def repeat_post(self) -> None:
        """Let the agent get its latest post again, as a proxy may: one answer is enough."""
        if not self.latest:
            return
        number = poll.read_post(self.latest).number
        before = [answer for answer in self.answers if answer[0] == number]
        if self.hanging and self.hanging[1] == number:
            self.hanging = (self.hanging[0], 0)
        elif before:
            self.answers.remove(before[0])
        else:
            number = 0  # it was answered long ago: whoever repeats it is gone
        self._take(self.latest, number)
