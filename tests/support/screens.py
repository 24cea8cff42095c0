"""Terminals with programs on them, read as far as a test needs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Generator, Mapping
from contextlib import contextmanager

__all__ = ["CTRL_C", "Screen", "terminal"]

CTRL_C = b"\x03"
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")


class Screen:
    """A terminal with a program on it, read as far as a test needs."""

    def __init__(self, fd: int, name: str, program: subprocess.Popen[bytes]) -> None:
        self.fd = fd
        self.name = name
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

    def type(self, keys: str | bytes) -> None:
        """Press keys."""
        os.write(self.fd, keys.encode() if isinstance(keys, str) else keys)

    def resize(self, rows: int, columns: int) -> None:
        """Give it another size; the program hears of it by SIGWINCH."""
        _resize(self.fd, rows, columns)

    def modes(self) -> list[object]:
        """Return how it treats keys and output."""
        return termios.tcgetattr(self.fd)

    def cook(self) -> None:
        """Let it treat lines and Ctrl-C itself, as a shell does."""
        modes = termios.tcgetattr(self.fd)
        modes[3] |= termios.ICANON | termios.ECHO | termios.ISIG
        termios.tcsetattr(self.fd, termios.TCSANOW, modes)

    def end(self) -> str:
        """Read to the end, and return what stands there behind the last picture of the table."""
        while self.read():
            pass
        self.program.wait()
        text = self.seen.decode().rpartition("\x1b[?25h")[2].replace("\r\n", "\n")
        # The last picture is wiped off line by line.
        return re.sub(r"\A(\r|\x1b\[\d*[AK])*", "", text)


@contextmanager
def terminal(
    arguments: list[str],
    *,
    columns: int = 100,
    environment: Mapping[str, str] = os.environ,
    term: str = "xterm",
) -> Generator[Screen]:
    """Run a program on a terminal of its own."""
    ours, theirs = pty.openpty()
    _resize(theirs, 24, columns)
    name = os.ttyname(theirs)

    def control() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    kept = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        arguments,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=control,  # noqa: PLW1509  # this process has no other threads that matter
        env={**kept, "TERM": term},
    ) as program:
        os.close(theirs)
        try:
            yield Screen(ours, name, program)
        finally:
            program.kill()
            os.close(ours)


def _resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
