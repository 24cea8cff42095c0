"""What connects a command with its keeper: pipes, or a terminal; made before the spawn."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from hopx_async.protocol import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Plumbing", "resize"]


class Plumbing:
    """The descriptors of one start.

    Attributes:
        terminal: Path of the terminal that becomes the command's stdin, stdout and stderr.
        stdin: What becomes its stdin, None for ``/dev/null`` (or the terminal).
        outputs: What becomes its stdout and stderr.
        readers: Our ends of its outputs, with the kind of record each becomes.
        writer: Our end of its stdin, None for none.

    Args:
        public: The public spec of the command.

    Raises:
        OSError: If there are no more descriptors or terminals.
    """

    def __init__(self, public: Mapping[str, Any]) -> None:
        self.terminal: str | None = None
        self.stdin: int | None = None
        self.outputs = (-1, -1)
        self.readers: list[tuple[int, int]] = []
        self.writer: int | None = None
        self._theirs: list[int] = []
        try:
            if public.get("pty") is not None:
                self._open_terminal(*public["pty"])
            else:
                self._open_pipes(public)
            for fd in self._ours:
                # Somebody may empty the pipe behind our back (cat /dev/stdout): never block.
                os.set_blocking(fd, False)
        except BaseException:
            self.close_theirs()
            self.close_ours()
            raise

    @property
    def _ours(self) -> list[int]:
        fds = [fd for fd, _ in self.readers]
        return fds if self.writer is None else [*fds, self.writer]

    def close_theirs(self) -> None:
        """Close the command's ends, of which it has copies."""
        while self._theirs:
            os.close(self._theirs.pop())

    def close_ours(self) -> None:
        """Close our ends, because the command could not be started."""
        for fd in self._ours:
            os.close(fd)

    def _open_pipes(self, public: Mapping[str, Any]) -> None:
        merged = public.get("merge_stderr")
        for kind in [records.STDOUT] if merged else [records.STDOUT, records.STDERR]:
            reader, writer = os.pipe()
            self.readers.append((reader, kind))
            self._theirs.append(writer)
        self.outputs = (self._theirs[0], self._theirs[-1])
        if public.get("stdin"):
            self.stdin, self.writer = os.pipe()
            self._theirs.append(self.stdin)

    def _open_terminal(self, rows: int, columns: int) -> None:
        master, slave = os.openpty()
        self._theirs.append(slave)
        self.readers.append((master, records.STDOUT))
        resize(master, rows, columns)
        # One for each direction: they wait for different events of the same terminal.
        self.writer = os.dup(master)
        self.terminal = os.ttyname(slave)


def resize(fd: int, rows: int, columns: int) -> None:
    """Give a terminal another size; its foreground processes get SIGWINCH if it is another."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
