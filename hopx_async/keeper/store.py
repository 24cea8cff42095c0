"""The directory of logs: open descriptors, full disks, and what they have in common."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from hopx_async.protocol import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hopx_async.keeper.log import Log

__all__ = ["FULL", "RETRY_DELAY", "Store", "complain", "is_full"]

#: Seconds between attempts to write when there was no room.
RETRY_DELAY = 0.25
#: Errors that pass when somebody makes room.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OPEN_LOGS = 64
# Room for the first and last records of the commands that run when the disk is full.
_RESERVE_BYTES = 256 * 1024


class Store:
    """The logs of one keeper in ``STATE/logs``, and a reserve for their ends.

    Args:
        state_dir: Absolute path of the state directory.
        segment_bytes: Size of a segment, a multiple of ``BLOCK``.
        retention_bytes: Log bytes kept of a command, besides its head and current segment.
        number: The keeper's.
    """

    def __init__(
        self,
        state_dir: str,
        segment_bytes: int = records.SEGMENT_BYTES,
        retention_bytes: int = records.RETENTION_BYTES,
        *,
        number: int = 1,
    ) -> None:
        # Retention frees whole segments: a small one is made of small ones.
        segment_bytes = min(segment_bytes, retention_bytes // 4)
        self.segment_bytes = max(records.BLOCK, segment_bytes // records.BLOCK * records.BLOCK)
        self.retention_bytes = retention_bytes
        #: Bytes of all logs that this keeper has written and not freed.
        self.kept_bytes = 0
        #: Logs that wait for room; their owners retry them.
        self.waiting: set[Log] = set()
        #: Whether there was no room; then the owner calls :meth:`refill` until there is.
        self.troubled = False
        self._dir = os.open(f"{state_dir}/logs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._reserve = os.open(
            f"{state_dir}/reserve.{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        self._draft = f"{state_dir}/claim.{number}"
        # It may be a log by now, under another name.
        self.unlink(self._draft)
        self._reserved = False
        self._open: dict[Log, int] = {}
        self._refilled()

    # Descriptors: those used last stay open, an idle command holds none.

    def claim(self, name: str, head: bytes) -> int:
        """Create the segment *name* with *head* in it, whole or not at all; as :meth:`create`.

        Raises:
            FileExistsError: If there is one.
        """
        fd = self.create(self._draft)
        try:
            written = os.pwrite(fd, head, 0)
            if written < len(head):
                os.pwrite(fd, head[written:], written)  # says why, if it was not by chance
            os.link(self._draft, name, dst_dir_fd=self._dir)
        except BaseException:
            os.close(fd)
            raise
        finally:
            self.unlink(self._draft)
        return fd

    def create(self, name: str) -> int:
        """Create the segment *name* and return its descriptor.

        Raises:
            FileExistsError: If there is one.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=self._dir)

    def fd_of(self, log: Log) -> int:
        """Return a descriptor of the current segment of *log*."""
        fd = self._open.pop(log, -1)
        if fd >= 0:
            self._open[log] = fd
        else:
            fd = self.open_segment(records.segment_name(log.process_id, log.segments[-1]))
            self.keep(log, fd)
        return fd

    def open_segment(self, name: str) -> int:
        """Open an existing segment for reading and writing."""
        return os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._dir)

    def keep(self, log: Log, fd: int) -> None:
        """Remember *fd* for :meth:`fd_of`; the one unused for longest may be closed for it."""
        self._open[log] = fd
        if len(self._open) > _OPEN_LOGS:
            oldest = next(iter(self._open))
            os.close(self._open.pop(oldest))

    def close(self, log: Log) -> None:
        """Close the descriptor of *log*, if it has one."""
        fd = self._open.pop(log, -1)
        if fd >= 0:
            os.close(fd)

    def cut(self, log: Log, size: int) -> None:
        """Cut the current segment of *log* to *size* bytes; a disk that fails changes nothing."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd_of(log), size)

    def unlink(self, name: str) -> None:
        """Remove a segment. One that is not there is as good; what will not go, stays."""
        try:
            os.unlink(name, dir_fd=self._dir)
        except FileNotFoundError:
            pass
        except OSError as error:
            complain(f"{name} cannot be removed: {error}")

    def size_of(self, name: str) -> int:
        """Return the size of a segment, 0 if it is not there."""
        try:
            return os.stat(name, dir_fd=self._dir).st_size  # relative to a descriptor
        except FileNotFoundError:
            return 0

    def names(self) -> list[str]:
        """Return the names of all files in the directory."""
        return os.listdir(self._dir)  # relative to a descriptor

    # Full disks.

    def tell(self, error: str) -> None:
        """Say that logs wait for room, once until it is over."""
        if not self.troubled:
            self.troubled = True
            complain(f"disk_full: commands wait until there is room for their logs ({error})")

    def release(self) -> bool:
        """Give the reserve's room to whoever writes next; false if it was given before."""
        given, self._reserved = self._reserved, False
        if given:
            os.ftruncate(self._reserve, 0)
        return given

    def refill(self) -> None:
        """Retry what waits, then take back the reserve's room; trouble is over if both succeed."""
        for log in list(self.waiting):
            log.retry()
        if not self.waiting and self._refilled():
            self.troubled = False

    def _refilled(self) -> bool:
        try:
            if not self._reserved:
                os.posix_fallocate(self._reserve, 0, _RESERVE_BYTES)
            self._reserved = True
        except OSError as error:
            os.ftruncate(self._reserve, 0)
            # Some file systems cannot reserve; then there is nothing to wait for.
            return not is_full(error)
        return True


def is_full(error: OSError) -> bool:
    """Return whether *error* passes when somebody makes room."""
    return error.errno in FULL


def complain(sentence: str) -> None:
    """Write a line to stderr; nobody may listen, and that stops nothing."""
    try:
        sys.stderr.write(f"hopx_async: {sentence}\n")
        sys.stderr.flush()
    except OSError:
        pass
