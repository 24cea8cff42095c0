"""Tests of frames, and of errors as they travel."""

from __future__ import annotations

from typing import Any

import pytest

from hopx_async import errors
from hopx_async.errors import HopxError, RemoteProtocolError
from hopx_async.protocol import wire

FROM_CLIENT: list[wire.ClientControl] = [
    wire.Hello(1),
    wire.Ask(1, "cmd_1", 5, 100),
    wire.Ask(2, "cmd_1", output=False),
    wire.Credit(1, 200),
    wire.Leave(1),
    wire.Call(3, "start", {"command": "é"}),
]
FROM_AGENT: list[wire.AgentControl] = [
    wire.Hello(1, "sbx_1"),
    wire.Refused(1, {"code": "x"}),
    wire.Over(2),
    wire.Reply(3, {"a": [1, None]}),
    wire.Reply(4, error={"code": "x"}),
]


def test_controls_come_back() -> None:
    """Decoding a frame returns what was encoded, on both sides."""
    assert wire.decode_client(wire.encode(FROM_CLIENT)) == FROM_CLIENT
    assert wire.decode_agent(wire.encode(FROM_AGENT)) == FROM_AGENT
    assert wire.decode_agent(wire.encode(FROM_AGENT).encode()) == FROM_AGENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[{}]",
        '[{"t": "reply", "call": 1}]',
        '[{"t": "ask", "ask": "1", "id": "x"}]',
        '[{"t": "ask", "ask": 4294967296, "id": "x"}]',
        '[{"t": "ask", "ask": -1, "id": "x"}]',
        '[{"t": "ask", "ask": 1, "id": "x", "after": -1}]',
        '[{"t": "credit", "ask": 1, "total": 1.5}]',
        "\ud800",
        pytest.param('[{"t": "call", "call": %s}]' % ("9" * 5000), id="a huge number"),
        pytest.param(
            '[{"t": "call", "call": 1, "method": "x", "params": {"a": %s}}]' % ("9" * 5000),
            id="a huge number inside",
        ),
        pytest.param(
            '[{"t": "call", "call": 1, "method": "x", "params": {"a": ' + "[" * 100_000, id="deep"
        ),
    ],
)
def test_an_unknown_frame_is_refused(text: str) -> None:
    """decode_client raises for what is no control of a client."""
    with pytest.raises(RemoteProtocolError, match="an unknown frame"):
        wire.decode_client(text)


@pytest.mark.parametrize("letter", ["x", "é"])
def test_an_oversized_text_frame_is_refused(letter: str) -> None:
    """A text frame is bounded in bytes, not in characters."""
    count = wire.MAX_CONTROL_BYTES // len(letter.encode()) + 1

    with pytest.raises(RemoteProtocolError, match=r"a text frame of \d+ bytes, at most 4194304"):
        wire.decode_agent(letter * count)


def test_pieces_come_back() -> None:
    """Pieces yields ask, offset and bytes of each piece of a frame."""
    frame = wire.PIECE.pack(1, 2**40, 3) + b"abc" + wire.PIECE.pack(2, 0, 0)

    assert list(wire.pieces(frame)) == [(1, 2**40, b"abc"), (2, 0, b"")]


def test_only_the_piece_that_is_most_of_a_frame_is_a_view_of_it() -> None:
    """A small piece that waits for its reader does not hold on to a large frame."""
    large = wire.PIECE.pack(1, 0, 1000) + bytes(1000)
    small = wire.PIECE.pack(2, 0, 10) + bytes(10)

    kept = {ask: data for ask, _, data in wire.pieces(large + small)}

    assert isinstance(kept[1], memoryview)
    assert isinstance(kept[2], bytes)


@pytest.mark.parametrize("cut", [1, 3, 10])
def test_a_cut_binary_frame_is_refused(cut: int) -> None:
    """A frame must hold whole pieces."""
    frame = wire.PIECE.pack(1, 0, 3) + b"abc"

    with pytest.raises(RemoteProtocolError, match="ends within a piece"):
        list(wire.pieces(frame[:-cut]))


def test_an_oversized_binary_frame_is_refused() -> None:
    """A binary frame is bounded."""
    with pytest.raises(RemoteProtocolError, match="at most 262144"):
        list(wire.pieces(bytes(wire.MAX_DATA_BYTES + 1)))


def test_an_outbox_shares_frames_up_to_a_size() -> None:
    """Outbox puts small controls together and large ones into frames of their own."""
    outbox = wire.Outbox()
    calls: list[wire.ClientControl] = [wire.Call(n, "m", {"x": "x" * 100_000}) for n in range(5)]
    big = wire.Call(9, "m", {"x": "x" * 500_000})
    for call in [*calls, big, wire.Leave(1)]:
        assert outbox.add(call)
    assert outbox.size > 1_000_000
    frames = []
    while (frame := outbox.next_frame()) is not None:
        frames.append(wire.decode_client(frame))

    assert [len(frame) for frame in frames] == [2, 2, 1, 1, 1]
    assert [control for frame in frames for control in frame] == [*calls, big, wire.Leave(1)]
    assert outbox.size == 0
    assert not outbox


def test_an_outbox_refuses_what_fits_no_frame() -> None:
    """Add returns False for a control above the limit, and keeps nothing of it."""
    outbox = wire.Outbox()

    assert not outbox.add(wire.Reply(1, "x" * wire.MAX_CONTROL_BYTES))
    assert not outbox.add(wire.Leave(1), limit=10)
    assert not outbox
    assert outbox.add(wire.Leave(1))


@pytest.mark.parametrize(
    "error",
    [
        errors.ApiError("no", status=418),
        errors.AuthenticationError("who?"),
        errors.NotFoundError("nothing"),
        errors.CommandNotFound("cmd_1"),
        errors.SandboxNotFound("none"),
        errors.TemplateNotFound("none", suggestions=["python"]),
        errors.ConflictError("it exists"),
        errors.RateLimited("slowly", retry_after=1.5),
        errors.RateLimited("slowly"),
        errors.SpawnError("no such file", errno=2, filename="/bin/x"),
        errors.AgentFault("full", status=507),
        errors.SurvivorsLeft("cmd_1", [(7, "sleep")], "cgroup"),
        errors.InvalidArgument("timeout", "-1", "above 0"),
        errors.BadCursor("after", "'x'", "a cursor"),
        errors.ClosedError("it ends"),
        errors.BusyError("taken"),
        errors.MisuseError("no"),
        errors.Unsupported("no"),
    ],
)
def test_an_error_comes_back(error: HopxError) -> None:
    """error_from_dict returns an error of the same type, sentence and data."""
    value = wire.error_to_dict(error)
    again = wire.error_from_dict(value)

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert wire.error_to_dict(again) == value


@pytest.mark.parametrize(
    ("value", "status", "cls", "sentence"),
    [
        ({"code": "new"}, None, errors.ApiError, "the far side gave no reason"),
        ({"message": "m"}, 404, errors.ApiError, "m"),
        ({"message": "m"}, 503, errors.AgentFault, "m"),
        ({"message": "m", "status": 500}, 404, errors.AgentFault, "m"),
        ({"message": "m", "errno": "x"}, None, errors.ApiError, "an answer of unknown form: {"),
        ("oops", 500, errors.AgentFault, "an answer of unknown form: oops"),
        ({"code": "invalid_argument", "message": "m"}, 400, errors.InvalidArgument, "?=?: m"),
        ({"code": "command_not_found", "message": "m"}, 404, errors.CommandNotFound, "m"),
        ({"code": "survivors_left"}, None, errors.SurvivorsLeft, "processes of ?"),
    ],
)
def test_an_unknown_error_becomes_an_api_error(
    value: Any, status: int | None, cls: type[HopxError], sentence: str
) -> None:
    """error_from_dict never raises: what it does not know is said as far as it can be."""
    error = wire.error_from_dict(value, status=status)

    assert type(error) is cls
    assert str(error).startswith(sentence)


def test_an_error_that_never_travels_is_told_by_its_sentence() -> None:
    """error_to_dict takes any error of ours."""
    assert wire.error_to_dict(errors.RemoteProtocolError("a gap")) == {
        "code": "remote_protocol",
        "message": "a gap",
    }


def test_an_outbox_takes_back_what_has_a_key() -> None:
    """Drop takes a control back unless it is sent; under one key waits the last one."""
    outbox = wire.Outbox()
    outbox.add(wire.Leave(1), key=("leave", 1))
    outbox.add(wire.Leave(2))
    outbox.add(wire.Leave(3), key=("leave", 1))
    outbox.add(wire.Leave(4), key=("leave", 4))

    assert outbox.drop(("leave", 4))
    assert not outbox.drop(("leave", 4))
    frame = outbox.next_frame()
    assert frame is not None
    assert wire.decode_client(frame) == [wire.Leave(2), wire.Leave(3)]
    assert not outbox.drop(("leave", 1))
    assert (outbox.size, outbox.next_frame()) == (0, None)
