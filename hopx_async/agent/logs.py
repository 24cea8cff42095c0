"""The read side of the logs: bytes by offset, without ever waiting for a disk in the loop."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hopx_async.agent.board import Board, Command
from hopx_async.errors import AgentFault
from hopx_async.protocol import records, wire

__all__ = ["MAX_OPEN", "Logs"]

#: Descriptors of segments kept open, at most.
MAX_OPEN = 64
_THREADS = 4
# Pieces read by a thread and not yet taken; each at most a frame, so 8 MiB in all.
_MAX_FETCHED = 32
_CANNOT = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_Place = tuple[str, int]


class Logs:
    """Log bytes of the commands on a board: the `LogSource` of every peer.

    Pages in memory are read at once.  Others are fetched by a thread; then
    *on_fetched* is called with the id, and the same `read` finds them, or raises
    what the disk said: one that fails is no reason to let a reader wait for ever.

    Args:
        directory: Where the segments are.
        board: Which commands there are, and how far they may be read.
        on_fetched: Called in the event loop.
    """

    def __init__(self, directory: Path, board: Board, on_fetched: Callable[[str], None]) -> None:
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._board = board
        self._on_fetched = on_fetched
        self._open: OrderedDict[_Place, int] = OrderedDict()
        self._scratch = bytearray(wire.MAX_DATA_BYTES)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch")
        self._fetching: set[_Place] = set()
        self._fetched: OrderedDict[_Place, bytes | AgentFault] = OrderedDict()
        self._nowait = True
        self._closed = False
        self.fetches = 0

    @property
    def open_files(self) -> int:
        """Descriptors of segments held now."""
        return len(self._open)

    def close(self) -> None:
        """Close every descriptor; threads that read still finish by themselves."""
        if not self._closed:
            self._closed = True
            self._threads.shutdown(wait=False, cancel_futures=True)
            for fd in (*self._open.values(), self._directory):
                os.close(fd)
            self._open.clear()
            self._fetched.clear()

    def forget_freed(self, process_id: str) -> None:
        """Close descriptors of segments that retention has unlinked: they hold disk space."""
        command = self._board.get(process_id)
        if command is not None and len(command.segments) == 1:
            return  # nothing was freed yet
        kept = () if command is None else command.segments
        for place in [p for p in self._open if p[0] == process_id and p[1] not in kept]:
            os.close(self._open.pop(place))

    # What a peer asks.

    def end(self, process_id: str) -> int | None:
        """Return the log offset behind the last record, None for an unknown command."""
        command = self._board.get(process_id)
        return None if command is None else command.end

    def over(self, process_id: str) -> bool:
        """Return whether the last record is a terminal one."""
        command = self._board.get(process_id)
        return command is not None and command.exit is not None

    def read(self, process_id: str, offset: int, limit: int) -> tuple[int, bytes] | None:
        """Return log bytes from *offset* on, or from the next that is kept, at most *limit*.

        None means that they are being fetched, or that there are none.

        Raises:
            AgentFault: If the disk cannot read them, or has them no more.
        """
        command = self._board.get(process_id)
        while command is not None and command.segments and offset < command.end:
            fetched = self._take(process_id, offset)
            if fetched:
                # A longer piece than wanted now is cut, and fetched again behind the cut.
                return offset, fetched[:limit]
            index = max(0, bisect_right(command.segments, offset) - 1)
            start, stop = _bounds(command, index)
            offset = max(offset, start)
            data = self._read_at(command, start, offset, min(limit, stop - offset))
            if data is None:
                return None
            if data:
                return offset, data
            # Unlinked, or the head, behind which segments were unlinked.
            following = bisect_right(command.segments, start)
            if following == len(command.segments):
                if start in command.segments:
                    raise _missing(process_id, offset)
                return None
            offset = command.segments[following]
        return None

    def last(self, process_id: str) -> tuple[int, bytes] | None:
        """Return offset and bytes of the terminal record; None as in `read`.

        Raises:
            AgentFault: If the disk cannot read it.
        """
        command = self._board.get(process_id)
        if command is None or command.exit is None:
            return None
        offset = command.end - command.last_size
        record = self._board.last(process_id)
        if record is None:
            record = self._take(process_id, offset)
            if record is not None and len(record) < command.last_size:
                raise _missing(process_id, offset + len(record))
        if record is None and command.segments:
            start = command.segments[bisect_right(command.segments, offset) - 1]
            record = self._read_at(command, start, offset, command.last_size)
            if record is not None and len(record) < command.last_size:
                self._fetch(process_id, start, offset, command.last_size)
                return None
        return None if record is None else (offset, record[: command.last_size])

    # Reading.

    def _take(self, process_id: str, offset: int) -> bytes | None:
        fetched = self._fetched.pop((process_id, offset), None)
        if isinstance(fetched, AgentFault):
            raise fetched
        return fetched

    def _read_at(self, command: Command, start: int, offset: int, size: int) -> bytes | None:
        """Return bytes of one segment, b"" if it has none there, None if they are fetched first."""
        try:
            fd = self._fd(command.process_id, start)
            if not self._nowait:
                return os.pread(fd, size, offset - start)
            view = memoryview(self._scratch)[:size]
            return bytes(view[: os.preadv(fd, [view], offset - start, os.RWF_NOWAIT)])
        except BlockingIOError:
            self._fetch(command.process_id, start, offset, size)
            return None
        except FileNotFoundError:
            command.keep_segments([kept for kept in command.segments if kept != start])
            return b""
        except OSError as error:
            if not self._nowait or error.errno not in _CANNOT:
                raise _unreadable(command.process_id, error) from error
        # This file system (tmpfs, say) has everything in memory, or cannot tell.
        self._nowait = False
        return self._read_at(command, start, offset, size)

    def _fd(self, process_id: str, start: int) -> int:
        place = (process_id, start)
        fd = self._open.get(place)
        if fd is not None:
            self._open.move_to_end(place)
            return fd
        name = records.segment_name(process_id, start)
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directory)
        self._open[place] = fd
        if len(self._open) > MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return fd

    # Fetching: a thread has its own descriptor, since those here may be closed meanwhile.

    def _fetch(self, process_id: str, start: int, offset: int, size: int) -> None:
        place = (process_id, offset)
        if place in self._fetching or self._closed:
            return
        self._fetching.add(place)
        self.fetches += 1
        fd = os.dup(self._fd(process_id, start))
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._threads, os.pread, fd, size, offset - start)
        job.add_done_callback(lambda done: self._take_fetched(place, fd, done))

    def _take_fetched(self, place: _Place, fd: int, job: asyncio.Future[bytes]) -> None:
        self._fetching.discard(place)
        os.close(fd)
        if self._closed or job.cancelled():
            return
        error = job.exception()
        self._fetched[place] = job.result() if error is None else _unreadable(place[0], error)
        if len(self._fetched) > _MAX_FETCHED:
            self._fetched.popitem(last=False)
        self._on_fetched(place[0])


def _unreadable(process_id: str, error: BaseException) -> AgentFault:
    fault = AgentFault(f"the log of {process_id} cannot be read: {error}")
    sys.stderr.write(f"hopx_async: {fault}\n")
    return fault


def _missing(process_id: str, offset: int) -> AgentFault:
    return AgentFault(f"the log of {process_id} is damaged: nothing is left at {offset}")


def _bounds(command: Command, index: int) -> tuple[int, int]:
    """Return where a segment begins, and where the next one does or the log ends."""
    behind = command.segments[index + 1 : index + 2]
    return command.segments[index], behind[0] if behind else command.end
