"""``hopx-async run``: in a pipe, as scripts see it; and its parts."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.cli.output import MAX_LINE, LineCutter, Writer, visible
from hopx_async.cli.status import exit_status
from hopx_async.errors import AgentUnreachable, SpawnError
from hopx_async.model import Exit

RUN = [sys.executable, "-m", "hopx_async.cli", "run"]


def run(
    *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*RUN, *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=env
    )


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start it, to be sent signals; as long as it runs, its group is not ours."""
    return subprocess.Popen([*RUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# In a pipe.


def test_lines_are_prefixed_and_a_summary_follows(tmp_path: Path) -> None:
    """Lines go where the command wrote them, each with its number; the summary to stderr."""
    trick = "echo $'\\e[2J' '\x1b]0;title\x07 \x9b1A'"
    last = "printf 'gr\\303'; printf '\\274n without a newline'"
    done = run("echo out; echo err >&2", "pwd", trick, last, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == [
        "",
        "[1] out",
        f"[2] {tmp_path.resolve()}",
        "[3] \x1b[2J \x1b]0;title\x07 \x9b1A",
        "[4] grün without a newline",
    ]
    first, *summary = done.stderr.splitlines()
    assert first == "[1] err"
    assert [line.rpartition(" after ")[0] for line in summary] == [
        "[1] echo out; echo err >&2: exited with 0",
        "[2] pwd: exited with 0",
        r"[3] echo $'\e[2J' '\x1b]0;title\x07 \x9b1A': exited with 0",
        r"[4] printf 'gr\303'; printf '\274n without a newline': exited with 0",
    ]


def test_the_first_failure_is_the_exit_status() -> None:
    """The exit status is that of the first command, in the order given, that did not complete."""
    done = run("true", "kill -9 $$", "exit 3")

    assert done.returncode == 128 + signal.SIGKILL
    assert "[2] kill -9 $$: was ended by SIGKILL" in done.stderr
    assert "[3] exit 3: exited with 3" in done.stderr


def test_a_time_limit_is_124() -> None:
    """A command beyond --timeout ends as timed out, the others run on to their end."""
    done = run("--timeout", "0.5", "sleep 3600", "exit 3")

    assert done.returncode == 124
    assert "[1] sleep 3600: was ended by its time limit" in done.stderr


def test_a_command_that_cannot_start_is_127() -> None:
    """Where there is no bash, the exit status is 127 and the summary says why."""
    done = run("true", env={**os.environ, "PATH": "/nonexistent"})

    assert done.returncode == 127
    assert "[1] true: 'bash' could not be started: No such file or directory" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(number: signal.Signals) -> None:
    """Ctrl-C, which reaches this process alone, ends the commands and everything of theirs."""
    with start("echo $$; exec sleep 3600", "sleep 3600 & exec sleep 3600") as client:
        assert client.stdout is not None
        leader = int(client.stdout.readline().removeprefix(b"[1] "))
        client.send_signal(number)
        out, err = client.communicate()

    assert client.returncode == 128 + number
    assert (out, err) == (b"", b"interrupted: all commands are ended\n")
    assert not Path(f"/proc/{leader}").exists()


def test_a_second_interruption_does_not_wait_for_the_grace_period(tmp_path: Path) -> None:
    """A command that ignores TERM is killed at once when Ctrl-C comes again."""
    said = tmp_path / "said"
    os.mkfifo(said)
    stubborn = "trap 'echo term >&3; sleep 4; echo late >&3' TERM"
    with start(f"exec 3>{said}; {stubborn}; echo ready; while :; do sleep 60; done") as client:
        with said.open() as lines:
            # What the client prints, it follows: a start that is cancelled ends at once.
            assert client.stdout is not None
            assert client.stdout.readline() == b"[1] ready\n"
            client.send_signal(signal.SIGINT)
            assert lines.readline() == "term\n"
            client.send_signal(signal.SIGINT)
            # The grace period is longer than the nap before this word.
            assert lines.read() == ""
        client.communicate()

    assert client.returncode == 130


def test_a_reader_that_goes_ends_the_commands() -> None:
    """When nobody reads any more, as behind ``| head``, everything ends without a word."""
    with start("while :; do echo y; done") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"[1] y\n"
        client.stdout.close()
        assert client.stderr is not None
        assert client.stderr.read() == b""

    assert client.returncode == 128 + signal.SIGPIPE


# Its parts.


@given(st.text(alphabet="aü€😀\r\n"), st.lists(st.integers(0, 400)))
def test_lines_are_whole_however_the_bytes_are_cut(text: str, cuts: list[int]) -> None:
    """Lines do not depend on where chunks end, in the middle of a character or not."""
    data = text.encode()
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    lines: list[bytes] = []
    cutter = LineCutter(lines.append)
    for first, stop in pairwise(places):
        cutter.feed(data[first:stop])
    cutter.close()

    expected = data.split(b"\n")
    assert lines == (expected if expected[-1] else expected[:-1])


@pytest.mark.parametrize("step", [1000, 10 * MAX_LINE])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_long_line_comes_in_pieces(before: int, step: int) -> None:
    """A line beyond the bound is handed on in pieces of whole characters, held never longer."""
    data = b"a" * before + "😀".encode() * (MAX_LINE // 2) + b"\nend"
    pieces: list[bytes] = []
    cutter = LineCutter(pieces.append)
    for place in range(0, len(data), step):
        cutter.feed(data[place : place + step])
    cutter.close()

    assert pieces.pop() == b"end"
    assert b"".join(pieces) == data.removesuffix(b"\nend")
    assert max(map(len, pieces)) <= MAX_LINE
    assert [piece.decode() for piece in pieces]


class Terminal(io.TextIOWrapper):
    """A text file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
        ("\x1b[8mhidden", "\x1b[8mhidden\x1b[0m"),
        ("\x1b[2J\x1b[1A\rover", r"\x1b[2J\x1b[1A\rover"),
        ("a\tb\r", "a\tb"),
        ("\x1b]0;title\x07\x9b2J", r"\x1b]0;title\x07\x9b2J"),
        ("abc\u202edef", r"abc\u202edef"),
    ],
)
def test_on_a_terminal_nothing_moves(data: str, shown: str) -> None:
    """On a terminal colours end with their line, and everything else that it obeys is spelt out."""
    there = io.BytesIO()
    writer = Writer(Terminal(there, encoding="utf-8"), "[1]")
    writer.feed(data.encode())
    writer.close()

    assert there.getvalue().decode() == f"[1] {shown}\n"


def test_in_a_pipe_bytes_are_as_they_were() -> None:
    """In a pipe a line keeps its bytes, valid UTF-8 or not."""
    there = io.BytesIO()
    writer = Writer(io.TextIOWrapper(there, encoding="ascii"), "[1]")
    writer.feed(b"\xff\x1b[2J\r\n")
    writer.say("a word")

    assert there.getvalue() == b"[1] \xff\x1b[2J\r\n[1] a word\n"


def test_what_is_visible_stays() -> None:
    """Text without tricks is left alone; line breaks count as tricks."""
    assert visible("grün\t😀 [31m") == "grün\t😀 [31m"
    assert visible("a\nb\x7f\x1b[31m") == r"a\nb\x7f\x1b[31m"


@pytest.mark.parametrize(
    ("fate", "status"),
    [
        (Exit(reason="exited", exit_code=0), 0),
        (Exit(reason="exited", exit_code=42), 42),
        (Exit(reason="timed_out", signal="SIGKILL"), 124),
        (Exit(reason="timed_out", exit_code=0), 124),
        (Exit(reason="signaled", signal="SIGINT"), 130),
        (Exit(reason="signaled", signal="SIGRTMIN+3"), 128),
        (Exit(reason="killed", exit_code=0), 1),
        (Exit(reason="killed", exit_code=7), 7),
        (Exit(reason="lost"), 125),
        (SpawnError("no"), 127),
        (AgentUnreachable("nobody"), 125),
        (None, 125),
    ],
)
def test_an_end_becomes_an_exit_status(fate: Exit | SpawnError | None, status: int) -> None:
    """A fate becomes what a shell would say; only a completed command is 0."""
    assert exit_status(fate) == status
