"""The parser's reader, beside the one of the library."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Generator
from random import Random
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN, Protocol
from websockets.streams import StreamReader
from websockets.uri import parse_uri
from websockets.utils import accept_key

from hopx_async.transport import byte_reader
from hopx_async.transport.byte_reader import ByteReader, fits, use_byte_reader
from hopx_async.transport.websocket import open_channel

MAX_SIZE = 300_000


def protocols() -> tuple[ClientProtocol, ClientProtocol]:
    """Return a protocol as it is, and one with our reader."""
    usual, ours = (ClientProtocol(parse_uri("ws://h/"), max_size=MAX_SIZE) for _ in range(2))
    use_byte_reader(ours)
    ours.key = usual.key
    return usual, ours


def answered(key: str) -> bytes:
    """Return an answer to the handshake."""
    lines = ["HTTP/1.1 101 ok", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept_key(key)}", "", ""]).encode()


def cut(data: bytes, random: Random) -> list[bytes]:
    """Return *data* in chunks of any size."""
    chunks = []
    while data:
        size = random.choice((1, 2, 5, 100, 70_000, 262_144))
        chunks.append(data[:size])
        data = data[size:]
    return chunks


def heard(protocol: ClientProtocol, chunks: list[bytes]) -> list[object]:
    """Feed chunks, and return what they say."""
    said: list[object] = []
    for chunk in chunks:
        protocol.receive_data(chunk)
        for event in protocol.events_received():
            if isinstance(event, Response):
                said.append((event.status_code, bytes(event.body or b"")))
            else:
                assert isinstance(event, Frame)
                said.append((event.opcode, bytes(event.data), event.fin))
    return said


@pytest.mark.parametrize("seed", range(40))
def test_frames_are_the_same_however_they_are_cut(seed: int) -> None:
    """Text, bytes, fragments, pings and a close come as from the library's own reader."""
    random = Random(seed)  # noqa: S311  # chance, no secret
    usual, ours = protocols()
    data = answered(usual.key)
    for _ in range(random.randint(1, 12)):
        size = random.choice((0, 1, 125, 126, 65_535, 65_536, 200_000))
        payload = random.randbytes(size)
        kind = random.choice((Opcode.BINARY, Opcode.BINARY, Opcode.TEXT, Opcode.PING, None))
        frames = [Frame(kind or Opcode.BINARY, payload[: 125 if kind is Opcode.PING else size])]
        if kind is None:
            frames = [Frame(Opcode.BINARY, payload, fin=False), Frame(Opcode.CONT, b"rest")]
        data += b"".join(frame.serialize(mask=False) for frame in frames)
    data += Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=False) + b"behind it"
    chunks = cut(data, random)

    assert heard(ours, chunks) == heard(usual, chunks)
    assert (ours.state, ours.close_rcvd) == (usual.state, usual.close_rcvd)


@pytest.mark.parametrize("seed", range(5))
def test_a_refusal_is_the_same(seed: int) -> None:
    """The answer of who opens no websocket is read with its body."""
    usual, ours = protocols()
    data = b"HTTP/1.1 401 no\r\nContent-Length: 5\r\n\r\nwhat?"
    chunks = cut(data, Random(seed))  # noqa: S311

    assert heard(ours, chunks) == heard(usual, chunks) == [(401, b"what?")]


def test_a_refusal_up_to_the_end_is_the_same() -> None:
    """A body without a length ends with the connection."""
    usual, ours = protocols()
    for protocol in (usual, ours):
        heard(protocol, [b"HTTP/1.1 502 no\r\n", b"\r\n", b"some", b"thing"])
        protocol.receive_eof()
    said = [[event.body for event in protocol.events_received()] for protocol in (usual, ours)]  # type: ignore[union-attr]

    assert said[0] == said[1] == [b"something"]


@pytest.mark.parametrize(
    "data",
    [
        Frame(Opcode.BINARY, bytes(MAX_SIZE + 1)).serialize(mask=False),
        Frame(Opcode.BINARY, b"masked").serialize(mask=True),
        b"\xf2\x01x",
        Frame(Opcode.CONT, b"of what?").serialize(mask=False),
    ],
    ids=["too large", "masked", "reserved bits", "a rest of nothing"],
)
def test_what_breaks_the_protocol_breaks_it_all_the_same(data: bytes) -> None:
    """An error is the same one, and nothing comes behind it."""
    usual, ours = protocols()
    for protocol in (usual, ours):
        heard(protocol, [answered(usual.key)])
        assert protocol.state is OPEN
        assert heard(protocol, [data, Frame(Opcode.TEXT, b"more").serialize(mask=False)]) == []
    assert ours.parser_exc is not None
    assert repr(ours.parser_exc) == repr(usual.parser_exc)
    assert isinstance(ours.parser_exc, PayloadTooBig) is (len(data) > MAX_SIZE)


@pytest.mark.parametrize("sent", [b"", b"\x82", b"\x82\x05abc", b"\x82\x01x"])
def test_an_end_within_a_frame_is_the_same(sent: bytes) -> None:
    """A connection that is cut says where."""
    usual, ours = protocols()
    for protocol in (usual, ours):
        heard(protocol, [answered(usual.key), sent])
        protocol.receive_eof()

    assert repr(ours.parser_exc) == repr(usual.parser_exc)


def test_a_large_frame_is_bytes_already() -> None:
    """Who wants bytes has to copy nothing any more."""
    _, ours = protocols()
    heard(ours, [answered(ours.key)])
    data = Frame(Opcode.BINARY, bytes(200_000)).serialize(mask=False)
    ours.receive_data(data[:100_000])
    ours.receive_data(data[100_000:])
    [event] = ours.events_received()

    assert isinstance(event, Frame)
    assert type(event.data) is bytes


def test_nothing_is_fed_after_the_end() -> None:
    """A reader that was told of the end takes no more, whatever it reads."""
    reader = ByteReader()
    reader.feed_data(b"x")
    assert next(reader.read_exact(2), None) is None
    reader.feed_eof()

    with pytest.raises(EOFError):
        reader.feed_data(b"y")


class OtherReader(StreamReader):
    """The reader of a library to come: it has more, and is fed by another name."""

    def feed(self, data: bytes) -> None:
        super().feed_data(data)

    def read_frame(self) -> None:
        return


def _has_more(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = ClientProtocol.parse

    def parse_anew(protocol: ClientProtocol) -> Generator[None]:
        protocol.reader.read_frame()  # type: ignore[attr-defined]
        yield from parse(protocol)

    monkeypatch.setattr(ClientProtocol, "parse", parse_anew)


def _fed_by_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def receive_data(protocol: Any, data: bytes) -> None:
        protocol.reader.feed(data)
        next(protocol.parser)

    monkeypatch.setattr(Protocol, "receive_data", receive_data)


def _gives_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    take = ByteReader._take
    monkeypatch.setattr(ByteReader, "_take", lambda reader, n: take(reader, n)[::-1])


def _is_not_replaceable(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = property(lambda protocol: protocol.__dict__["reader"])
    init = Protocol.__init__

    def init_anew(protocol: Any, *args: Any, **more: Any) -> None:
        protocol.__dict__["reader"] = OtherReader()
        monkeypatch.setattr(Protocol, "reader", property(kept.fget, lambda _, __: None), False)
        init(protocol, *args, **more)
        monkeypatch.setattr(Protocol, "reader", kept, False)

    monkeypatch.setattr(Protocol, "__init__", init_anew)


@pytest.mark.parametrize(
    "other", [_has_more, _fed_by_another_name, _gives_something_else, _is_not_replaceable]
)
async def test_a_library_that_reads_in_another_way_keeps_its_reader(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link works all the same, with the library's own reader."""

    async def echo(connection: ServerConnection) -> None:
        async for frame in connection:
            await connection.send(frame)

    monkeypatch.setattr("websockets.protocol.StreamReader", OtherReader)
    other(monkeypatch)
    fits.cache_clear()
    try:
        async with serve(echo, "127.0.0.1", 0, compression=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            channel = await open_channel(f"ws://127.0.0.1:{port}/", {}, name="there")
            for size in (1, 200, 200_000):
                await channel.send("x" * size)
                assert await channel.receive() == "x" * size
            assert type(channel._connection.protocol.reader) is OtherReader
            await channel.aclose()
        assert not fits()
    finally:
        fits.cache_clear()


def test_the_library_that_is_installed_reads_from_ours() -> None:
    """Here nothing is slower."""
    assert fits()


def test_a_library_without_such_a_reader_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is imported need not be there."""
    path = byte_reader.__file__
    monkeypatch.setitem(sys.modules, "websockets.streams", None)
    spec = importlib.util.spec_from_file_location("byte_reader_anew", path)
    assert spec is not None
    assert spec.loader is not None
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    protocol = ClientProtocol(parse_uri("ws://h/"))
    anew.use_byte_reader(protocol)

    assert not anew.fits()
    assert type(protocol.reader) is StreamReader
