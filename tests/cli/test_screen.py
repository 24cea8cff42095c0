"""``hopx-async run`` on a real terminal: the table lives, Ctrl-C ends it, again at once."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from hopx_async.cli.job import shortened
from hopx_async.cli.screen import note

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

RUN = [sys.executable, "-m", "hopx_async.cli", "run"]
CTRL_C = b"\x03"
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")


class Screen:
    """A terminal with a program on it, read as far as a test needs."""

    def __init__(self, fd: int, program: subprocess.Popen[bytes]) -> None:
        self.fd = fd
        self.program = program
        self.seen = b""

    def read(self) -> bool:
        """Read what comes next; tell whether anything can still come."""
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # how Linux says that nobody holds the other side any more
            return False
        self.seen += data
        return bool(data)

    def until(self, pattern: str) -> re.Match[bytes]:
        """Read until *pattern* has been written, in whatever colours."""
        while (match := re.search(pattern.encode(), COLOURS.sub(b"", self.seen))) is None:
            assert self.read(), self.seen.decode(errors="replace")
        return match

    def end(self) -> str:
        """Read to the end, and return what stands there behind the last picture of the table."""
        while self.read():
            pass
        self.program.wait()
        text = self.seen.decode().rpartition("\x1b[?25h")[2].replace("\r\n", "\n")
        # The last picture is wiped off line by line.
        return re.sub(r"\A(\r|\x1b\[\d*[AK])*", "", text)


@contextmanager
def terminal(*arguments: str, columns: int = 100, **environment: str) -> Generator[Screen]:
    """Run the command line on a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def control() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    environment = {**kept, "TERM": "xterm", **environment}
    with subprocess.Popen(
        [*RUN, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=control,  # noqa: PLW1509  # this process has no other threads that matter
        env=environment,
    ) as program:
        os.close(theirs)
        try:
            yield Screen(ours, program)
        finally:
            program.kill()
            os.close(ours)


def test_the_table_lives_and_the_outputs_follow(tmp_path: Path) -> None:
    """A table shows each command while it runs; then it makes place for outputs and summary."""
    go = tmp_path / "go"
    os.mkfifo(go)
    other = "printf '\\033[2Jx\\n'; exit 3"
    waits = f"echo first; read x < {go}; echo second"
    with terminal("--name", "waits", waits, other) as screen:
        screen.until("NAME +STATUS +ELAPSED +LAST LINE")
        screen.until(r"waits .*running.* \d\.\d s +first")
        screen.until("failed")
        go.write_text("\n")
        shown = screen.end()

    assert screen.program.returncode == 3
    assert re.sub(r"\d\.\d s", "0.0 s", shown) == (
        f"[waits] {shortened(waits)}\nfirst\nsecond\n"
        f"[    2] {other}\n\\x1b[2Jx\n"
        f"[waits] {shortened(waits)}: exited with 0 after 0.0 s\n"
        f"[    2] {other}: exited with 3 after 0.0 s\n"
    )


def test_ctrl_c_ends_everything_and_shows_what_was_said() -> None:
    """Ctrl-C ends the commands with grace; what they say at their end is shown."""
    polite = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    with terminal(polite, "exec sleep 300") as screen:
        screen.until("ready")
        screen.until("sleep 300.*running")
        os.write(screen.fd, CTRL_C)
        shown = screen.end()

    assert screen.program.returncode == 130
    assert "\nready\n" in shown
    assert "\nbye\n" in shown
    assert shown.endswith("interrupted: all commands are ended\n")


def test_a_second_ctrl_c_has_no_patience() -> None:
    """The first Ctrl-C is answered below the table; the second kills what would not go."""
    stubborn = "trap 'echo term' TERM; echo ready; while :; do sleep 60 & wait; done"
    with terminal(stubborn) as screen:
        screen.until("ready")
        os.write(screen.fd, CTRL_C)
        screen.until("Ctrl-C kills them at once")
        screen.until("running.* term")
        os.write(screen.fd, CTRL_C)
        shown = screen.end()

    assert screen.program.returncode == 130
    assert "\nterm\n" in shown
    assert shown.endswith("interrupted: all commands are ended\n")


def test_a_narrow_terminal_wraps_nothing() -> None:
    """On 40 columns each line of each picture fits."""
    with terminal("echo " + "long " * 30 + "; sleep 0.3", columns=40) as screen:
        screen.until("running.*long")
        screen.end()

    pictures = screen.seen.decode().rpartition("\x1b[?25h")[0]
    lines = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", pictures).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= 38


@pytest.mark.parametrize(
    ("flag", "shown"), [("--quiet", "out\n"), ("--json", '{"type": "started"')]
)
def test_without_a_table_there_is_no_trick(flag: str, shown: str) -> None:
    """--quiet and --json write the same on a terminal as elsewhere: no table, no cursor moves."""
    with terminal(flag, "echo out") as screen:
        text = screen.end()

    assert text.startswith(shown)
    assert "\x1b" not in text


def test_a_dumb_terminal_gets_prefixed_lines() -> None:
    """A terminal that cannot move its cursor gets lines as they come."""
    with terminal("echo out", TERM="dumb") as screen:
        text = screen.end()

    assert text.startswith("[1] out\n[1] echo out: exited with 0 after")


def test_the_note_follows_the_signals() -> None:
    """Nothing is said before the first Ctrl-C, and nothing new after the second."""
    assert note(0) == ""
    assert note(1) != note(2) == note(3)
