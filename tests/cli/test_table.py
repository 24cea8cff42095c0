"""The tables as text, at the widths of real screens."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from hopx_async.cli.table import (
    LastLine,
    Process,
    Row,
    cell,
    draw,
    duration,
    live_table,
    processes_table,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

ROWS = [
    Row("lint", "completed", 4.26, "All checks passed!"),
    Row("make -C docs html SPHINXOPTS=-W", "running", 61.0, "reading sources... [ 42%] 日本語"),
    Row("pytest -q", "failed", 3723.0, "1 failed, 2143 passed in 3720.51s (1:02:00)"),
    Row("\x1b]0;t\x07\r", "killed", 0.04, "a\x1b[2J\x9b1A\u202eb\tc"),
    Row("sleep 5", "starting", None, ""),
]
ID = "cmd_01m2n3p4q5r6s7t8v9w0x1y2z3"
PROCESSES = [
    Process(ID, "running", 61.0, "server", "python3 -m http.server 日本語"),
    Process(ID.replace("m", "n"), "completed", 200 * 3600.0, "", "echo \x1b[2J"),
]


def text(table: RenderableType, width: int) -> str:
    """Return what a screen of this width shows, without blanks at the ends of lines."""
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in console.export_text().splitlines())


def test_the_table_on_40_columns() -> None:
    """Forty columns hold names, statuses, times and the beginning of the last lines."""
    assert (
        text(live_table(ROWS, 40, 24), 40)
        == """\
NAME      STATUS     ELAPSED  LAST
lint      completed    4.3 s  All che…
make -C…  running       1:01  reading…
pytest …  failed     1:02:03  1 faile…
\\x1b]0;…  killed       0.0 s  a\\x1b[2…
sleep 5   starting
"""
    )


def test_the_table_on_200_columns() -> None:
    """Two hundred columns cut nothing, and what a terminal would obey is spelt out."""
    assert (
        text(live_table(ROWS, 200, 24), 200)
        == """\
NAME                             STATUS     ELAPSED  LAST LINE
lint                             completed    4.3 s  All checks passed!
make -C docs html SPHINXOPTS=-W  running       1:01  reading sources... [ 42%] 日本語
pytest -q                        failed     1:02:03  1 failed, 2143 passed in 3720.51s (1:02:00)
\\x1b]0;t\\x07\\r                   killed       0.0 s  a\\x1b[2J\\x9b1A\\u202eb c
sleep 5                          starting
"""
    )


def test_too_many_rows_are_counted() -> None:
    """What does not fit on the screen is counted by status, and what runs is shown first."""
    rows = [
        Row(str(number), "completed" if number % 10 else "running", 1.0, "") for number in range(50)
    ]

    assert (
        text(live_table(rows, 60, 9, "a note"), 60)
        == """\
NAME  STATUS     ELAPSED  LAST LINE
0     running      1.0 s
10    running      1.0 s
20    running      1.0 s
30    running      1.0 s
40    running      1.0 s
... and 45 more: 45 completed
a note
"""
    )


def test_processes_on_40_columns() -> None:
    """Forty columns hold whole ids and statuses."""
    assert (
        text(processes_table(PROCESSES, 40), 40)
        == f"""\
ID                             STATUS
{ID} running
{ID.replace("m", "n")} completed
"""
    )


def test_processes_on_80_and_on_200_columns() -> None:
    """Wider screens show times, names and commands, cut where they must be."""
    assert (
        text(processes_table(PROCESSES, 80), 80)
        == f"""\
ID                             STATUS    ELAPSED NAME   COMMAND
{ID} running      1:01 server python3 -m http.server …
{ID.replace("m", "n")} completed  8 days        echo \\x1b[2J
"""
    )
    assert (
        text(processes_table(PROCESSES, 200), 200)
        == f"""\
ID                             STATUS    ELAPSED NAME   COMMAND
{ID} running      1:01 server python3 -m http.server 日本語
{ID.replace("m", "n")} completed  8 days        echo \\x1b[2J
"""
    )


def test_no_processes_are_a_heading() -> None:
    """A table of nothing is a heading."""
    assert text(processes_table([], 80), 80).split() == ["ID", "STATUS", "ELAPSED", "COMMAND"]


def test_a_table_in_a_pipe_has_no_blanks_at_ends() -> None:
    """draw writes lines without trailing blanks and without colours."""
    file = io.StringIO()
    draw(processes_table(PROCESSES, 1_000_000), Console(file=file, width=1_000_000))

    assert [line for line in file.getvalue().splitlines() if line != line.rstrip()] == []
    assert "\x1b" not in file.getvalue()
    assert "echo \\x1b[2J" in file.getvalue()


@given(
    st.lists(st.tuples(st.text(), st.text()), max_size=5),
    st.integers(1, 220),
    st.integers(1, 30),
    st.sampled_from(["", "a note that is longer than some screens are wide"]),
)
def test_the_table_never_leaves_its_screen(
    texts: list[tuple[str, str]], width: int, height: int, note: str
) -> None:
    """Whatever the names and lines are, no row wraps and nothing is obeyed by a terminal."""
    rows = [Row(name, "running", 1.0, last) for name, last in texts]
    console = Console(width=200, file=io.StringIO(), legacy_windows=False)
    lines = console.render_lines(live_table(rows, width, height, note), pad=False)
    shown = ["".join(segment.text for segment in line) for line in lines]

    if width >= 40:
        assert max(map(cell_len, shown)) <= width - 2
        assert len(shown) <= max(3, height)
    assert all(c.isprintable() for line in shown for c in line if ord(c) < 0xA0)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("bu\u0308ro", "büro"),  # composed
        ("x\u0301\u0302", "x"),  # two accents that no letter takes up, one of which fits
        ("a\u200db\ufe0f", "ab"),
        ("a\tb", "a b"),
        ("two\nlines", r"two\nlines"),
    ],
)
def test_a_cell_is_as_wide_as_it_measures(given: str, shown: str) -> None:
    """What has no width of its own goes; what breaks lines is spelt out."""
    assert cell(given).plain == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0.0 s"), (59.97, "59.9 s"), (60.0, "1:00"), (3599.9, "59:59"), (3600.0, "1:00:00")],
)
def test_durations_keep_their_width(seconds: float, shown: str) -> None:
    """Seconds have tenths, minutes and hours have colons."""
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("chunks", "last"),
    [
        ([b"one\ntwo\n"], "two"),
        ([b"one\n", b"tw", b"o"], "two"),
        ([b"done\n\n  \n", b"\n"], "done"),
        ([b"10%\r20%\r"], "20%"),
        ([b"\x1b[32mgreen\x1b[0m\r\n"], "green"),
        ([b"gr\xc3"], "gr"),
        ([b"gr\xc3", b"\xbc"], "grü"),
        ([b"x" * 10_000 + b"\nend"], "end"),
        ([b"x" * 10_000], "x" * 4096),
        ([], ""),
    ],
)
def test_the_last_line_is_the_last_that_says_something(chunks: list[bytes], last: str) -> None:
    """Blank lines are passed over, a progress bar shows its newest state."""
    line = LastLine()
    for chunk in chunks:
        line.feed(chunk)

    assert str(line) == last
