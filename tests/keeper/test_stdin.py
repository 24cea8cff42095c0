"""Stdin by offset: once and in order, whatever is repeated."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.keeper.loop import Loop
from hopx_async.keeper.stdin import Stdin
from hopx_async.protocol.lifecycle import STDIN_BYTES
from tests.keeper.harness import KeeperProcess, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Loop(Loop):
    """A loop that can be thrown away."""

    def end(self) -> None:
        self._epoll.close()


class _Pipe:
    """A stdin, the reading end of its pipe, and the answers it gave."""

    def __init__(self, **options: Any) -> None:
        self.loop = _Loop()
        self.reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(self.reader, False)
        self.stdin = Stdin(self.loop, writer, **options)
        self.answers: dict[str, tuple[str | None, int]] = {}

    def end(self) -> None:
        self.stdin.close()
        os.close(self.reader)
        self.loop.end()

    def take(self, name: str, offset: int | None, data: bytes, *, eof: bool = False) -> None:
        def answer(problem: str | None, at: int) -> None:
            assert name not in self.answers
            self.answers[name] = (problem, at)

        self.stdin.take(offset, data, eof, answer)

    def read(self, size: int = 1 << 20) -> bytes:
        return os.read(self.reader, size)

    def fill(self) -> int:
        """Send until nothing more fits; return how much was taken, whoever waits being "full"."""
        offset = 0
        while True:
            self.take(f"fill{offset}", offset, bytes(STDIN_BYTES))
            if f"fill{offset}" not in self.answers:
                return self.stdin.offset
            offset = self.answers[f"fill{offset}"][1]


@pytest.fixture
def pipe() -> Iterator[_Pipe]:
    pipe = _Pipe()
    yield pipe
    pipe.end()


def test_bytes_are_taken_once(pipe: _Pipe) -> None:
    """What is repeated is dropped, what is new behind it is taken, a gap is an error."""
    pipe.take("a", 0, b"abc")
    pipe.take("again", 0, b"abc")
    pipe.take("more", 1, b"bcde")
    pipe.take("gap", 6, b"x")
    pipe.take("asked", None, b"")

    assert pipe.read() == b"abcde"
    assert pipe.answers == {
        "a": (None, 3),
        "again": (None, 3),
        "more": (None, 5),
        "gap": ("stdin_gap", 5),
        "asked": (None, 5),
    }


def test_end_is_told_behind_the_data(pipe: _Pipe) -> None:
    """The end follows the bytes; told again it is no error, data behind it is."""
    pipe.take("end", 0, b"abc", eof=True)
    pipe.take("again", 0, b"abc", eof=True)
    pipe.take("late", 3, b"d")

    assert (pipe.read(), pipe.read()) == (b"abc", b"")
    assert pipe.answers == {"end": (None, 3), "again": (None, 3), "late": ("stdin_closed", 3)}


def test_full_pipe_holds_the_answer_back(pipe: _Pipe) -> None:
    """A bounded amount is taken; the answer comes when the command has read, and says how much."""
    taken = pipe.fill()
    before = dict(pipe.answers)
    pipe.take("no room", taken, b"x" * STDIN_BYTES)
    pipe.take("end", taken, b"", eof=True)
    assert pipe.answers == before
    got = 0
    while "end" not in pipe.answers:
        got += len(pipe.read())
        pipe.loop.turn()
    got += len(pipe.read())

    assert got == taken
    assert pipe.answers["no room"] == (None, taken)
    assert pipe.read() == b""


def test_askers_do_not_pile_up(pipe: _Pipe) -> None:
    """Of many who wait the oldest are answered with what was written by then."""
    taken = pipe.fill()
    for number in range(50):
        pipe.take(f"n{number}", taken, b"")

    assert len([name for name in pipe.answers if name.startswith("n")]) == 50 - 8
    assert pipe.answers["n0"][0] is None
    assert pipe.answers["n0"][1] < taken


def test_command_that_closed_its_stdin_is_told(pipe: _Pipe) -> None:
    """Whoever waits or sends learns that nobody reads."""
    taken = pipe.fill()
    os.close(pipe.reader)
    pipe.loop.turn()
    pipe.take("late", taken, b"x")
    pipe.take("repeated", taken - 1, b"x")
    pipe.take("end", taken, b"", eof=True)
    pipe.reader = os.open(os.devnull, os.O_RDONLY)

    problems = [problem for problem, _ in pipe.answers.values()]
    assert problems[-4:] == ["stdin_closed", "stdin_closed", "stdin_closed", None]


def test_end_of_the_command_is_told(pipe: _Pipe) -> None:
    """Closing answers those who wait."""
    pipe.fill()
    pipe.stdin.close()
    pipe.stdin.close()

    assert list(pipe.answers.values())[-1][0] == "stdin_closed"


def test_end_on_a_terminal_is_typed() -> None:
    """A terminal gets the character that means the end, once."""
    pipe = _Pipe(terminal=True)
    pipe.take("end", 0, b"abc", eof=True)
    pipe.take("again", 3, b"", eof=True)

    assert (pipe.read(), pipe.read()) == (b"abc\x04", b"")
    pipe.end()


# On a keeper.


def _send(
    keeper: KeeperProcess, process_id: str, offset: int | None, data: bytes = b"", **more: Any
) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    request = {"id": process_id, "offset": offset, "data": text, "eof": False, **more}
    return keeper.ask("stdin", **request)


def test_command_reads_what_is_sent(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A command reads its stdin; another agent goes on where the first was."""
    keeper.start("a", "cat", stdin=True)
    assert _send(keeper, "a", 0, b"one\n")["ok"] == {"offset": 4}
    keeper.connect_agent()
    assert _send(keeper, "a", None)["ok"] == {"offset": 4}
    assert _send(keeper, "a", 0, b"one\ntwo\n", eof=True)["ok"] == {"offset": 8}

    assert keeper.end_of("a")["exit_code"] == 0
    assert output(tmp_path, "a")[0] == b"one\ntwo\n"
    assert _send(keeper, "a", 8, b"x")["error"]["code"] == "command_ended"


def test_command_without_stdin_takes_none(keeper: KeeperProcess) -> None:
    """Without stdin=True it is /dev/null, and sending is refused by name."""
    keeper.start("a", "readlink /proc/self/fd/0; sleep 60")
    keeper.wait_for_output("a", b"/dev/null\n")

    assert _send(keeper, "a", 0, b"x")["error"]["code"] == "no_stdin"


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"offset": -1}, "offset"),
        ({"offset": "0"}, "offset"),
        ({"offset": True}, "offset"),
        ({"eof": None}, "eof"),
        ({"data": "?"}, "data"),
        ({"data": None}, "data"),
        ({"data": base64.b64encode(bytes(STDIN_BYTES + 1)).decode()}, "data"),
    ],
)
def test_bad_stdin_is_refused(
    keeper: KeeperProcess, changes: dict[str, Any], parameter: str
) -> None:
    """A request that breaks a rule is refused before anything is taken."""
    keeper.start("a", "cat", stdin=True)
    request = {"id": "a", "offset": 0, "data": "eA==", "eof": False, **changes}

    assert keeper.ask("stdin", **request)["error"]["parameter"] == parameter
    assert _send(keeper, "a", None)["ok"] == {"offset": 0}


def test_blocked_writer_holds_back_nothing_else(keeper: KeeperProcess) -> None:
    """While one command does not read, its writer waits and others are served; its end is told."""
    keeper.start("a", "sleep 300", stdin=True)
    data = base64.b64encode(bytes(STDIN_BYTES)).decode()
    first = _send(keeper, "a", 0, bytes(STDIN_BYTES))["ok"]["offset"]
    waiting = keeper.send("stdin", id="a", offset=first, data=data, eof=False)
    assert keeper.run("b", "true")["exit_code"] == 0
    assert waiting not in keeper.replies
    keeper.ask("kill", id="a", grace=0.0)
    keeper.wait(lambda: waiting in keeper.replies)

    assert keeper.replies[waiting]["error"]["code"] == "stdin_closed"
