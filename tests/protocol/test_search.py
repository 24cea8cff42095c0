"""Looking for a pattern: exact cursors, whatever the cuts, and a bounded window."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.model import Exit
from hopx_async.protocol.cursor import START, UNKNOWN, Position
from hopx_async.protocol.events import Exited, Stderr, Stdout, Truncated
from hopx_async.protocol.search import WINDOW_CHARACTERS, Found, OutputSearch

Piece = tuple[str, bytes]
Record = tuple[Stdout | Stderr, Position, Position]


def search_of(
    pieces: list[Piece], pattern: str, position: Position = START, stream: str | None = None
) -> Found | None:
    """Feed pieces of output from a position on, as a log's reader does, and look at the end."""
    search = OutputSearch(re.compile(pattern), position, stream)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for event, before, after in events_of(pieces, position):
        search.feed(event, before, after)
    return search.find()


def events_of(pieces: list[Piece], position: Position) -> list[Record]:
    """Return what a reader yields from a position on: a record for each piece, 100 bytes apart."""
    out, err = 0, 0
    found: list[Record] = []
    for index, (stream, data) in enumerate(pieces):
        before = Position(100 * index, out, err)
        out, err = (out + len(data), err) if stream == "stdout" else (out, err + len(data))
        after = Position(100 * (index + 1), out, err)
        if before.offset < position.offset:
            continue
        # What was delivered before falls away by its count.
        count, known = (out, position[1]) if stream == "stdout" else (err, position[2])
        rest = data[max(0, len(data) - (count - known)) :] if count > known else b""
        kind = Stdout if stream == "stdout" else Stderr
        if rest:
            found.append((kind(process_id="x", cursor="", at=0.0, data=rest), before, after))
    return found


PIECES = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.one_of(
            st.text("ab€", min_size=1, max_size=6).map(str.encode),
            st.binary(min_size=1, max_size=4),
        ),
    ),
    max_size=12,
)


@given(PIECES)
def test_going_on_behind_each_match_finds_all(pieces: list[Piece]) -> None:
    """Searching on from each match's position finds what one look over everything would.

    A match of one character can only be what the streams, decoded, hold in order.
    """
    for stream in ("stdout", "stderr"):
        whole = b"".join(data for which, data in pieces if which == stream)
        wanted = re.findall("[ab€]", whole.decode(errors="surrogateescape"))
        found: list[str] = []
        position = START
        while (match := search_of(pieces, "[ab€]", position, stream)) is not None:
            found.append(match.text)
            assert match.position.offset >= position.offset
            position = match.position
        assert found == wanted


@given(PIECES)
def test_nothing_is_lost_behind_a_match(pieces: list[Piece]) -> None:
    """What a position says was delivered is the output up to the match, of each stream."""
    match = search_of(pieces, "a")
    if match is None:
        return
    rest = events_of(pieces, match.position)
    for index, kind in enumerate((Stdout, Stderr)):
        whole = b"".join(d for s, d in pieces if (s == "stdout") == (kind is Stdout))
        left = b"".join(e.data for e, _, _ in rest if isinstance(e, kind))
        assert whole[match.position[index + 1] :] == left


def test_a_match_may_lie_across_records_and_characters() -> None:
    """A pattern is found across writes, also where a character was cut."""
    euro = "€".encode()
    match = search_of([("stdout", b"pri" + euro[:1]), ("stdout", euro[1:] + b"!> rest")], "i(€)!")
    assert match is not None
    assert (match.text, match.before, match.groups) == ("i€!", "pr", ("€",))
    assert match.position == Position(0, 7, 0)  # where the character began


def test_what_is_not_utf8_is_shown_as_such() -> None:
    """Bytes that are no text count as they are, and are shown as U+FFFD."""
    match = search_of([("stdout", b"\xff\xfe ok (\xff) more")], r"ok \((.)\)|(never)")
    assert match is not None
    assert match.before == "\N{REPLACEMENT CHARACTER}" * 2 + " "
    assert match.groups == ("\N{REPLACEMENT CHARACTER}", None)
    assert match.position == Position(0, 9, 0)


def test_a_gap_separates() -> None:
    """What lies on both sides of a gap is not found as one, and the counts go on."""
    search = OutputSearch(re.compile("ab"), START, None)
    search.feed(Stdout(process_id="x", cursor="", at=0.0, data=b"a"), START, Position(1, 1, 0))
    cut = Truncated(process_id="x", cursor="", at=0.0, stdout_bytes=5, stderr_bytes=0)
    search.feed(cut, Position(1, 1, 0), Position(9, 6, 0))
    tail = Stdout(process_id="x", cursor="", at=0.0, data=b"bab.")
    search.feed(tail, Position(9, 6, 0), Position(10, 10, 0))
    found = search.find()
    assert found is not None
    assert found.position == Position(9, 9, 0)


def test_the_window_is_bounded() -> None:
    """Of much output only the last is kept; what is short and new is always found."""
    search = OutputSearch(re.compile("^start|needle"), START, None)
    found: Found | None = None
    position = START
    for number in range(100):
        after = Position(number + 1, position.stdout_bytes + 10_000, 0)
        data = b"x" * 9_990 + (b"the needle" if number == 99 else b"y" * 10)
        search.feed(Stdout(process_id="x", cursor="", at=0.0, data=data), position, after)
        position = after
        found = search.find()
        assert (found is not None) == (number == 99)
        assert len(search._text) <= WINDOW_CHARACTERS + 20_000
    assert found is not None
    assert found.position == Position(100, 1_000_000, 0)


def test_the_end_shows_what_was_cut() -> None:
    """Half a character at the end is looked at, too."""
    search = OutputSearch(re.compile("[^a]$"), START, None)
    search.feed(Stdout(process_id="x", cursor="", at=0.0, data=b"a\xe2"), START, Position(1, 2, 0))
    assert search.find() is None
    fate = Exit(reason="exited", exit_code=0)
    end = Exited(process_id="x", cursor="", at=0.0, exit=fate)
    search.feed(end, Position(1, 2, 0), Position(2, 2, 0))
    assert search.find() is not None


def test_counts_are_learnt_where_they_are_not_known() -> None:
    """A search from the end of a log learns how many bytes came before from the first event."""
    search = OutputSearch(re.compile("b"), Position(500, UNKNOWN, UNKNOWN), None)
    after = Position(600, 1003, UNKNOWN)
    search.feed(
        Stdout(process_id="x", cursor="", at=0.0, data=b"abc"), Position(500, -1, -1), after
    )
    found = search.find()
    assert found is not None
    assert found.position == Position(500, 1002, UNKNOWN)


def test_it_says_when_it_is_worth_a_look() -> None:
    """Much new output is worth a look before more is fed."""
    search = OutputSearch(re.compile("x"), START, "stdout")
    looks = []
    for index, (before, after) in enumerate(pairwise(range(0, 30_000, 5_000))):
        data = Stdout(process_id="x", cursor="", at=0.0, data=b"a" * 5_000)
        search.feed(data, Position(before, before, 0), Position(after, after, 0))
        looks.append((index, search.worth_a_look))
    assert looks == [(0, False), (1, False), (2, False), (3, True), (4, True)]
    assert search.find() is None
    assert not search.worth_a_look


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_other_stream_is_not_passed_over(stream: str) -> None:
    """With one stream, what the other printed behind the match is still to be read."""
    pieces = [("stdout", b"one"), ("stderr", b"two"), ("stdout", b"ok"), ("stderr", b"ok three")]
    match = search_of(pieces, "ok", stream=stream)
    assert match is not None
    wanted = Position(300, 5, 3) if stream == "stdout" else Position(300, 5, 5)
    assert match.position == wanted
