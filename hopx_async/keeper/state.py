"""The state directory: one holder, nobody else's business, the same token over restarts."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import stat

from hopx_async.keeper.options import RootError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StateDir"]

_SECRET_BYTES = 32
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class StateDir:
    """A state directory that this process holds until it ends.

    Attributes:
        path: Its absolute path.
        fds: What keeper and agent must inherit for it to be found, by name.
        lock_fd: The lock's descriptor; whoever inherits it holds the directory as well.
        token: What clients show.
        secret: Key of the digests of specs, as hex.
    """

    def __init__(
        self, path: str, fds: dict[str, int] | None = None, lock_fd: int | None = None
    ) -> None:
        """Create what is missing and take hold of it, unless *lock_fd* holds it already.

        Raises:
            RootError: ``state_dir_held`` by another, ``state_dir_unsafe`` if it is not ours
                alone, ``invalid_argument`` if it cannot be used at all, ``state_dir_failed``
                if its disk is full or broken.
        """
        self.fds = fds or {}
        self.path = path if lock_fd is not None else _directory(path)
        try:
            self.lock_fd = lock_fd if lock_fd is not None else self._lock()
        except OSError as error:
            raise self._failed(error) from error
        try:
            self.token = self._kept("token", lambda: secrets.token_urlsafe(_SECRET_BYTES))
            self.secret = self._kept("secret", lambda: secrets.token_hex(_SECRET_BYTES))
            os.makedirs(self.file("logs"), mode=0o700, exist_ok=True)
        except BaseException as error:
            os.close(self.lock_fd)
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise

    @classmethod
    def carried(cls, fd: int, lock_fd: int) -> StateDir:
        """Return the one that was brought into namespaces, where it has no path but *fd*'s."""
        return cls(f"/proc/self/fd/{fd}", {"state": fd}, lock_fd)

    @property
    def default_sandbox_id(self) -> str:
        """An id that belongs to this directory for good."""
        digest = hashlib.sha256(f"sandbox {self.secret}".encode()).hexdigest()
        return f"sbx_{digest[:16]}"

    def file(self, name: str) -> str:
        """Return the path of *name* in the directory."""
        return f"{self.path}/{name}"

    def tell(self, url: str, pid: int) -> None:
        """Leave a note of where the agent is, and the root's pid, for those who come later.

        Raises:
            RootError: If its disk is full or broken.
        """
        try:
            self._write("agent.json", json.dumps({"url": url, "pid": pid}))
        except OSError as error:
            raise self._failed(error) from error

    def untell(self) -> None:
        """Take the note away."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.file("agent.json"))

    def _failed(self, error: OSError) -> RootError:
        return RootError("state_dir_failed", f"{self.path} cannot be used: {error}")

    def _lock(self) -> int:
        fd = os.open(self.file("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            pid = int(holder) if holder.isdigit() else None
            message = f"{self.path} is held by another agent, process {holder or 'unknown'}"
            raise RootError("state_dir_held", message, pid=pid) from None
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        """Return the secret in the file *name*; make one if there is none."""
        try:
            fd = os.open(self.file(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            value = make()
            self._write(name, value)
            return value
        with open(fd, encoding="ascii") as file:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise _unsafe(self.file(name), "it is to be ours alone, mode 0600")
            value = file.read().strip()
        if not value:
            raise _unsafe(self.file(name), "it is empty; remove it for a new one")
        return value

    def _write(self, name: str, text: str) -> None:
        # Whole or not at all: a token cut in half would be kept for good.
        temporary = self.file(f"{name}.new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
        os.rename(temporary, self.file(name))


def _directory(path: str) -> str:
    path = os.path.realpath(path)
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
        if status.st_uid != os.geteuid():
            raise _unsafe(path, f"it belongs to user {status.st_uid}, not to {os.geteuid()}")
        if status.st_mode & _OTHERS_WRITE:
            mode = stat.S_IMODE(status.st_mode)
            raise _unsafe(path, f"others can write to it (mode {mode:04o})")
        os.chmod(path, 0o700)
    except OSError as error:
        raise RootError.about("state_dir", path, f"a directory of ours ({error})") from error
    return path


def _unsafe(path: str, why: str) -> RootError:
    return RootError(
        "state_dir_unsafe", f"{path}: {why}", parameter="state_dir", value=path, rule=why
    )
