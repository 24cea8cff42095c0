"""The long-poll: a link's frames in numbered posts and answers, both halves, without any I/O.

A *session* is one connection of the link over requests.  A post carries frames of the
client, counted from the session's beginning, and acknowledges the last answer seen; an
answer carries frames of the agent.  Whatever gets lost is sent again: frames of the
client until an answer says that they were taken, the one answer kept until a post
acknowledges it.  So each frame arrives once and in order, whatever requests do.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hopx_async.protocol.peer import Peer

__all__ = [
    "ANSWER",
    "FRAME",
    "HANG_SECONDS",
    "MAX_ANSWER_BYTES",
    "MAX_POST_BYTES",
    "POST",
    "AgentSession",
    "ClientSession",
    "Post",
    "read_post",
]

#: Seconds that a post hangs, at most, while there is nothing to answer.
HANG_SECONDS = 25.0
#: Bytes of one post: the largest call, and what stands around it.
MAX_POST_BYTES = wire.MAX_CALL_BYTES + 1024
#: Bytes of the frames of one answer; a larger frame travels alone.
MAX_ANSWER_BYTES = 1024 * 1024
POST = struct.Struct("<QQQ")
ANSWER = struct.Struct("<QQ")
FRAME = struct.Struct("<BI")
_TEXT, _BINARY = 0, 1
# One post hangs, and one more may be on its way to end it.
_MOST_UNDER_WAY = 2


class Post(NamedTuple):
    """What a client posts.

    Attributes:
        number: Counts the posts of a session, from 1.
        first: Number of the first of *frames*, counted from 0 at the session's beginning.
        ack: Number of the last answer seen, 0 for none.
        frames: What the client says and does not know to be taken.
    """

    number: int
    first: int
    ack: int
    frames: list[str]

    @property
    def begins(self) -> bool:
        """Whether it can be a session's first: nothing came before it."""
        return self.first == 0 and self.ack == 0


def read_post(body: bytes) -> Post:
    """Return the post that is in *body*.

    Raises:
        RemoteProtocolError: If it is too large, or none.
    """
    if len(body) > MAX_POST_BYTES:
        raise RemoteProtocolError(f"a post of {len(body)} bytes, at most {MAX_POST_BYTES}")
    try:
        number, first, ack = POST.unpack_from(body)
    except struct.error:
        raise RemoteProtocolError("a post without its head") from None
    frames = [frame for frame in _frames(body, POST.size) if isinstance(frame, str)]
    return Post(number, first, ack, frames)


def _encode(frame: str | bytes) -> bytes:
    kind, data = (_TEXT, frame.encode()) if isinstance(frame, str) else (_BINARY, frame)
    return FRAME.pack(kind, len(data)) + data


def _frames(body: bytes, place: int) -> Iterator[str | bytes]:
    while place < len(body):
        try:
            kind, size = FRAME.unpack_from(body, place)
        except struct.error:
            raise RemoteProtocolError("a body that ends within a frame") from None
        place += FRAME.size
        data = body[place : place + size]
        place += size
        if len(data) < size or kind not in {_TEXT, _BINARY}:
            raise RemoteProtocolError("a body that ends within a frame, or of an unknown kind")
        try:
            yield data.decode() if kind == _TEXT else data
        except UnicodeDecodeError as error:
            raise RemoteProtocolError(f"a text frame that is none: {error}") from None


class ClientSession:
    """The client's half: says when to post what, and what of an answer is new.

    It holds what was said and not yet taken, `MAX_POST_BYTES` at most: when a frame
    does not fit, an answer has to come first.
    """

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._size = POST.size
        self._first = 0
        self._unsent = 0
        self._number = 0
        self._seen = 0
        self._under_way = 0

    def fits(self, frame: str) -> bool:
        """Whether *frame* can be added now."""
        # A character has four bytes at most; only a long text is worth counting.
        size = len(frame) * 4
        if self._size + FRAME.size + size > MAX_POST_BYTES:
            size = len(frame.encode())
        return self._size + FRAME.size + size <= MAX_POST_BYTES

    def add(self, frame: str) -> None:
        """Take over a frame that fits; it is posted until it is taken."""
        encoded = _encode(frame)
        self._frames.append(encoded)
        self._size += len(encoded)
        self._unsent += 1

    @property
    def wants_post(self) -> bool:
        """Whether to make a post now: none is under way, or there is more to say."""
        return not self._under_way or (self._unsent > 0 and self._under_way < _MOST_UNDER_WAY)

    def post(self) -> bytes:
        """Return the body of the next post, and count it as under way."""
        self._number += 1
        self._under_way += 1
        self._unsent = 0
        return POST.pack(self._number, self._first, self._seen) + b"".join(self._frames)

    def lost(self) -> None:
        """Note that a post came to nothing; what it carried is posted again."""
        self._under_way -= 1
        self._unsent = len(self._frames)

    def receive(self, body: bytes) -> list[str | bytes]:
        """Take in the answer to a post and return the frames that are new.

        Raises:
            RemoteProtocolError: If it breaks the protocol; the session is of no more use.
        """
        self._under_way -= 1
        try:
            number, taken = ANSWER.unpack_from(body)
        except struct.error:
            raise RemoteProtocolError("an answer without its head") from None
        self._taken(taken)
        return self._new(number, body)

    def _taken(self, taken: int) -> None:
        if taken > self._first + len(self._frames):
            raise RemoteProtocolError(f"{taken} frames taken, there were fewer")
        # An answer that was overtaken by a later one says less than is known.
        while self._first < taken:
            self._size -= len(self._frames.popleft())
            self._first += 1
        self._unsent = min(self._unsent, len(self._frames))

    def _new(self, number: int, body: bytes) -> list[str | bytes]:
        if number <= self._seen:
            return []  # nothing, or a repetition
        if number > self._seen + 1:
            raise RemoteProtocolError(f"answer {number} came after {self._seen}")
        frames = list(_frames(body, ANSWER.size))
        self._seen = number
        return frames


class AgentSession:
    """The agent's half, around a `Peer`.

    It keeps one answer until that is acknowledged: `MAX_ANSWER_BYTES` or a single larger
    frame; beside it at most one frame that did not fit.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._newest = 0
        self._turn = 0
        self._taken = 0
        self._number = 0
        self._kept: bytes | None = None
        self._left_over: bytes | None = None

    # Posts.

    def begin(self, post: Post) -> int:
        """Note a post and return its turn: it ends that of any post before.

        A post that was overtaken by a later one gets no turn (0).

        Raises:
            RemoteProtocolError: If it breaks the protocol; the session is of no more use.
        """
        if post.number < self._newest:
            return 0
        if not self._number - 1 <= post.ack <= self._number:
            raise RemoteProtocolError(f"answer {post.ack} acknowledged, the last is {self._number}")
        if post.first > self._taken:
            raise RemoteProtocolError(f"frame {post.first} after {self._taken} frames")
        if post.ack == self._number:
            self._kept = None
        self._newest = post.number
        self._turn += 1
        return self._turn

    def has_turn(self, turn: int) -> bool:
        """Whether a post is the latest; otherwise it is answered at once with `nothing`."""
        return turn == self._turn

    def holds_news(self, post: Post) -> bool:
        """Whether a post carries frames that were not taken before."""
        return post.first + len(post.frames) > self._taken

    def next_frame(self, post: Post) -> str:
        """Take the next frame of a post that `holds_news`, to be fed to the peer."""
        frame = post.frames[self._taken - post.first]
        self._taken += 1
        return frame

    # Answers.

    def answer(self) -> bytes | None:
        """Return the answer for the latest post: the one kept, or a new one; None to wait."""
        if self._kept is None:
            frames = self._gather()
            if frames:
                self._number += 1
                self._kept = b"".join(frames)
        return None if self._kept is None else self._head(self._number) + self._kept

    def nothing(self) -> bytes:
        """Return an answer without frames, which needs no acknowledgement."""
        return self._head(0)

    def _head(self, number: int) -> bytes:
        return ANSWER.pack(number, self._taken)

    def _gather(self) -> list[bytes]:
        frames: list[bytes] = []
        size = 0
        while (encoded := self._next()) is not None:
            if frames and size + len(encoded) > MAX_ANSWER_BYTES:
                self._left_over = encoded
                break
            frames.append(encoded)
            size += len(encoded)
        return frames

    def _next(self) -> bytes | None:
        encoded, self._left_over = self._left_over, None
        if encoded is not None:
            return encoded
        frame = self.peer.next_frame()
        return None if frame is None else _encode(frame)
