from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.keeper import channel as channels
from hopx_async.keeper.channel import Channel
from hopx_async.keeper.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Pair:
    """A channel, the other end of its socket, and what came."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        self.loop = Loop()
        self.messages: list[dict[str, Any]] = []
        self.ends = 0
        self.channel = Channel(ours, self.loop, self.messages.append, self._ended)

    def _ended(self) -> None:
        self.ends += 1

    def close(self) -> None:
        self.channel.close()
        self.peer.close()
        self.loop._epoll.close()


@pytest.fixture
def pair() -> Iterator[_Pair]:
    pair = _Pair()
    yield pair
    pair.close()


def test_messages_arrive_whole(pair: _Pair) -> None:
    """Lines cut anywhere arrive as the messages they were."""
    for piece in (b'{"a"', b":1}\n{", b'"b":2}\n{"c":', b"3}\n"):
        pair.peer.sendall(piece)
        pair.loop.turn()

    assert pair.messages == [{"a": 1}, {"b": 2}, {"c": 3}]


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b"\xff\n"])
def test_nonsense_ends_it(pair: _Pair, line: bytes) -> None:
    """A line that is no JSON object ends the channel, once."""
    pair.peer.sendall(line + b'{"a":1}\n')
    pair.loop.turn()

    assert pair.messages == []
    assert pair.ends == 1
    assert pair.channel.closed


def test_endless_line_ends_it(pair: _Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line beyond the limit ends the channel before it is whole."""
    monkeypatch.setattr(channels, "MAX_LINE", 1000)
    pair.peer.sendall(b" " * 1001)
    pair.loop.turn()

    assert pair.ends == 1


def test_peer_gone_is_told_once(pair: _Pair) -> None:
    """The end of the peer is told once, after what it said before."""
    pair.peer.sendall(b'{"a":1}\n')
    pair.peer.close()
    pair.loop.turn()
    pair.loop.turn()
    pair.channel.send("{}")

    assert pair.messages == [{"a": 1}]
    assert pair.ends == 1


def test_unread_messages_wait(pair: _Pair) -> None:
    """What the peer does not take waits in order, is counted, and is sent when it reads."""
    line = '{"x":"' + "y" * 10_000 + '"}'
    for _ in range(200):
        pair.channel.send(line)
    assert pair.channel.backlog > 0
    pair.peer.setblocking(False)
    received = b""
    while pair.channel.backlog:
        received += pair.peer.recv(1 << 20)
        pair.loop.turn()
    received += pair.peer.recv(1 << 20)

    assert received == (line.encode() + b"\n") * 200


def test_held_channel_takes_no_requests(pair: _Pair) -> None:
    """A held channel leaves requests in the socket until it is let go."""
    pair.channel.hold(True)
    pair.peer.sendall(b'{"a":1}\n')
    pair.loop.turn(wait=False)
    assert pair.messages == []
    pair.channel.hold(False)
    pair.loop.turn(wait=False)

    assert pair.messages == [{"a": 1}]


def test_descriptor_travels_with_its_message() -> None:
    """A descriptor sent with a message is taken with it, and is inherited by nobody."""
    ours, theirs = socket.socketpair()
    loop = Loop()
    fds: list[int | None] = []
    receiving = Channel(theirs, loop, lambda _message: fds.append(receiving.take_fd()), int)
    sending = Channel(ours, loop, lambda _message: None, int)
    reader, writer = os.pipe()
    sending.send_with_fd({"op": "one"}, writer)
    sending.send_json({"op": "two"})
    while len(fds) < 2:
        loop.turn()
    fd = fds[0]
    assert fd is not None
    assert fds[1] is None
    assert not os.get_inheritable(fd)
    os.write(fd, b"hello")
    assert os.read(reader, 5) == b"hello"
    for number in (reader, writer, fd):
        os.close(number)
    for channel in (receiving, sending):
        channel.close()
    loop._epoll.close()


def test_descriptors_not_taken_are_closed(pair: _Pair) -> None:
    """Descriptors that nobody took are closed with the channel."""
    reader, writer = os.pipe()
    socket.send_fds(pair.peer, [b"{}\n"], [writer])
    pair.loop.turn()
    pair.channel.close()
    os.close(writer)

    assert os.read(reader, 1) == b""
    os.close(reader)
