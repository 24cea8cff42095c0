"""Lines and text: nothing lost, nothing repeated, wherever one goes on."""

from __future__ import annotations

import time
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.protocol import records, text
from hopx_async.protocol.cursor import START, Position, parse_cursor
from hopx_async.protocol.events import EventReader, Stdout
from hopx_async.protocol.text import Line, LineReader, Text, TextReader, strip_escapes
from hopx_async.testing.memory_log import MemoryLog

Writes = list[tuple[int, bytes]]

PIECES = [b"a", b"bc\n", b"\n", b"d\ne", "ü€😀\n".encode(), "€".encode()[:2], b"\xff", b"\r\n"]
WRITES = st.lists(
    st.tuples(st.sampled_from([records.STDOUT, records.STDERR]), st.sampled_from(PIECES)),
    max_size=40,
)


def log_of(writes: Writes, *, ended: bool = True) -> MemoryLog:
    """Return a log with these writes."""
    log = MemoryLog(segment_bytes=records.BLOCK)
    log.append(records.encode_json(records.SPEC, 0.0, {}), 0.0)
    log.append(records.encode_json(records.STARTED, 0.0, {"pid": 1}), 0.0)
    for number, (kind, data) in enumerate(writes):
        log.append_data(kind, float(number), data)
    if ended:
        exit_ = {"reason": "exited", "exit_code": 0}
        log.append(records.encode_json(records.EXITED, 99.0, exit_), 99.0)
    return log


def read(
    log: MemoryLog, cutter: LineReader | TextReader, position: Position = START
) -> list[object]:
    """Return all that a cutter makes of a log from a position on."""
    reader = EventReader("x", position)
    found: list[object] = []
    while (piece := log.read(reader.fed, 100_000))[1]:
        reader.feed(*piece)
    while True:
        before = reader.position
        event = reader.read()
        if event is None:
            return found
        found += cutter.feed(event, before, reader.position)


def lines_of(log: MemoryLog, position: Position = START, **options: object) -> list[Line]:
    """Return the lines from a position on."""
    cutter = LineReader("x", position, options.get("stream"), strip=bool(options.get("strip")))  # type: ignore[arg-type]
    return [line for line in read(log, cutter, position) if isinstance(line, Line)]


def texts_of(log: MemoryLog, position: Position = START, **options: object) -> list[Text]:
    """Return the texts from a position on."""
    cutter = TextReader("x", position, options.get("stream"), strip=bool(options.get("strip")))  # type: ignore[arg-type]
    return [piece for piece in read(log, cutter, position) if isinstance(piece, Text)]


def written(writes: Writes, kind: int) -> bytes:
    """Return all that was written to one stream."""
    return b"".join(data for each, data in writes if each == kind)


def plain(lines: list[Line]) -> list[tuple[str, str]]:
    """Return stream and text of lines."""
    return [(line.stream, line.text) for line in lines]


@given(WRITES)
def test_lines_are_the_streams_cut_at_newlines(writes: Writes) -> None:
    """The lines of a stream are exactly those of its bytes."""
    lines = lines_of(log_of(writes))
    for stream, kind in (("stdout", records.STDOUT), ("stderr", records.STDERR)):
        expected = written(writes, kind).split(b"\n")
        if not expected[-1]:
            expected.pop()
        assert [line.text for line in lines if line.stream == stream] == [
            line.decode(errors="replace") for line in expected
        ]


@given(WRITES)
def test_every_line_cursor_resumes(writes: Writes) -> None:
    """Reading on behind any line yields exactly the lines that came after it."""
    log = log_of(writes)
    lines = lines_of(log)
    for index, line in enumerate(lines):
        rest = lines_of(log, parse_cursor("x", line.cursor))
        assert sorted(plain(rest)) == sorted(plain(lines[index + 1 :]))
        for stream in ("stdout", "stderr"):
            assert [text for each, text in plain(rest) if each == stream] == [
                text for each, text in plain(lines[index + 1 :]) if each == stream
            ]


@given(WRITES, st.integers(min_value=0, max_value=2**32))
def test_a_chain_of_resumed_readers_makes_the_whole(writes: Writes, seed: int) -> None:
    """Reading one or two lines at a time, each time anew by cursor, loses and repeats nothing."""
    log = log_of(writes)
    whole = lines_of(log)
    position, found = START, []
    while rest := lines_of(log, position):
        seed, take = seed // 2, 1 + seed % 2
        found += rest[:take]
        position = parse_cursor("x", found[-1].cursor)
    assert sorted(plain(found)) == sorted(plain(whole))


@given(WRITES)
def test_texts_are_the_streams_decoded(writes: Writes) -> None:
    """The texts of a stream make up its bytes, decoded as a whole, and every cursor resumes."""
    log = log_of(writes)
    texts = texts_of(log)
    for stream, kind in (("stdout", records.STDOUT), ("stderr", records.STDERR)):
        whole = written(writes, kind).decode(errors="replace")
        assert "".join(piece.text for piece in texts if piece.stream == stream) == whole
        for index, piece in enumerate(texts):
            rest = texts_of(log, parse_cursor("x", piece.cursor))
            seen = "".join(each.text for each in texts[: index + 1] if each.stream == stream)
            more = "".join(each.text for each in rest if each.stream == stream)
            assert seen + more == whole


def test_a_line_is_decoded_as_a_whole() -> None:
    """A character that was written in two halves is one."""
    euro = "€".encode()
    lines = lines_of(log_of([(4, euro[:1]), (5, b"x\n"), (4, euro[1:] + b"\n")]))
    assert plain(lines) == [("stderr", "x"), ("stdout", "€")]


def test_only_one_stream_can_be_asked_for() -> None:
    """With stream, the other is passed over, and the cursors count it all the same."""
    log = log_of([(4, b"a\n"), (5, b"b\n"), (4, b"c")])
    for stream, expected in (("stdout", ["a", "c"]), ("stderr", ["b"])):
        lines = lines_of(log, stream=stream)
        assert [line.text for line in lines] == expected
        assert [piece.text.strip() for piece in texts_of(log, stream=stream)] == expected
        assert lines_of(log, parse_cursor("x", lines[-1].cursor), stream=stream) == []


def test_a_long_line_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line over the bound is handed out in pieces, none of which cuts a character."""
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 10)
    log = log_of([(4, "ä".encode() * 13 + b"\nend\n"), (4, b"x" * 25 + b"\n")])
    lines = lines_of(log)
    assert "".join(line.text for line in lines[:3]) == "ä" * 13
    assert [line.partial for line in lines[:3]] == [True, True, False]
    assert [line.text for line in lines[3:]] == ["end", "x" * 10, "x" * 10, "x" * 5]
    whole = "".join(line.text for line in lines)
    for index, line in enumerate(lines):
        rest = lines_of(log, parse_cursor("x", line.cursor))
        assert "".join(each.text for each in [*lines[: index + 1], *rest]) == whole


def test_what_was_freed_is_told() -> None:
    """A cut ends the line before it as partial, and the next line says how much is missing."""
    log = log_of([(4, b"head"), (5, b"err\n")], ended=False)
    log.roll(1.0)
    log.append_data(records.STDOUT, 1.0, b"y" * 100_000)
    log.roll(2.0)
    log.append_data(records.STDOUT, 3.0, b"tail\nlast\n")
    log.retain(200)
    lines = lines_of(log)
    assert plain(lines) == [
        ("stderr", "err"),
        ("stdout", "head"),
        ("stdout", "tail"),
        ("stdout", "last"),
    ]
    assert [line.partial for line in lines] == [False, True, False, False]
    assert [line.lost_before for line in lines] == [0, 0, 100_000, 0]
    assert "".join(piece.text for piece in texts_of(log) if piece.stream == "stdout") == (
        "headtail\nlast\n"
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\x1b[1;31mred\x1b[0m", b"red"),
        (b"\x1b]0;title\x07text", b"text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", b"link"),
        (b"\x1b(Bplain\x1b=", b"plain"),
        (b"\x1bPq#0\x1b\\sixel", b"sixel"),
        (b"a\x1b", b"a\x1b"),
        (b"no escapes", b"no escapes"),
    ],
)
def test_escapes_are_stripped(raw: bytes, expected: bytes) -> None:
    """Terminal sequences of every kind go, text stays."""
    assert strip_escapes(raw) == expected


def test_an_escape_in_two_halves_is_stripped() -> None:
    """A sequence cut anywhere between two writes is taken out of text and lines."""
    raw = b"a\x1b[1;31mred\x1b]0;t\x07b\n"
    for cut in range(len(raw)):
        log = log_of([(4, raw[:cut]), (4, raw[cut:])])
        assert "".join(piece.text for piece in texts_of(log, strip=True)) == "aredb\n"
        assert [line.text for line in lines_of(log, strip=True)] == ["aredb"]


def test_an_endless_escape_is_none() -> None:
    """What never ends is handed on, so that nothing is held without bound."""
    log = log_of([(4, b"\x1b]" + b"x" * 10_000)], ended=False)
    assert sum(len(piece.text) for piece in texts_of(log, strip=True)) > 5_000


def test_cursors_move_on() -> None:
    """The cursors of a stream of lines never go back behind what was handed out."""
    lines = lines_of(log_of([(4, b"a\nb\nc"), (5, b"x\ny"), (4, b"\n"), (5, b"\n")]))
    positions = [parse_cursor("x", line.cursor) for line in lines]
    for one, other in pairwise(positions):
        assert one.stdout_bytes <= other.stdout_bytes
        assert one.stderr_bytes <= other.stderr_bytes


def test_lines_are_values() -> None:
    """A line can be compared, hashed and printed, and not be changed."""
    log = log_of([(4, b"a\nb\n")])
    first, second = lines_of(log)
    assert first == lines_of(log)[0] != second
    assert len({first, second, *lines_of(log)}) == 2
    assert repr(first) == ("Line(stream='stdout', text='a', at=0.0, lost_before=0, partial=False)")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        first.text = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.bench
def test_a_million_short_lines_are_cut_fast() -> None:
    """Cutting lines keeps up with any pipe: far more than 100,000 a second on a busy machine."""
    chunk, cutter = b"a short line\n" * 5_000, LineReader("x", START, None, strip=False)
    began = time.perf_counter()
    for number in range(200):
        before, after = (Position(n, n * len(chunk), 0) for n in (number, number + 1))
        event = Stdout(process_id="x", cursor="", at=0.0, data=chunk)
        assert len(cutter.feed(event, before, after)) == 5_000
    assert 1_000_000 / (time.perf_counter() - began) > 100_000
