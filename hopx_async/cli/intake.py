"""Reading what comes from a descriptor that others may read from as well."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import anyio
import anyio.to_thread

__all__ = ["Intake", "intake"]


class Intake:
    """Reads from a descriptor, and waits for it in the event loop alone; made by `intake`.

    Args:
        source: The descriptor.
        take: Returns at most so many bytes of it; raises `BlockingIOError` rather than wait.
    """

    def __init__(self, source: int, take: Callable[[int], bytes]) -> None:
        self._source = source
        self._take = take

    async def read(self, most: int) -> bytes:
        """Return what there is, at most so many bytes; b"" at the end.

        Cancelling it is safe, nothing was taken: where the descriptor can be waited for.  Of a
        file or a device that cannot, a thread reads, which is waited for; what it took is lost.

        Raises:
            OSError: If it cannot be read.
        """
        loop = asyncio.get_running_loop()
        while True:
            ready = anyio.Event()
            try:
                loop.add_reader(self._source, ready.set)
            except (PermissionError, NotImplementedError):
                # A file is always ready; elsewhere than on Unix nothing can be waited for.
                return await anyio.to_thread.run_sync(os.read, self._source, most)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(self._source)
            try:
                return self._take(most)
            except BlockingIOError:
                continue  # somebody else was faster


@contextmanager
def intake(source: int) -> Generator[Intake]:
    """Give what reads from a descriptor while the block runs; its flags stay as they are.

    Whoever shares a pipe, a socket or a terminal shares its flags, O_NONBLOCK among them: they
    may change at any time, and are not ours to change.
    """
    mode = os.fstat(source).st_mode
    if stat.S_ISSOCK(mode):
        with socket.socket(fileno=os.dup(source)) as own:
            yield Intake(source, lambda most: own.recv(most, socket.MSG_DONTWAIT))
        return
    opened = _opened_anew(source, mode)
    try:
        # Where it cannot be opened anew, reading may wait for as long as others are faster.
        yield Intake(source, partial(os.read, source if opened is None else opened))
    finally:
        if opened is not None:
            os.close(opened)


def _opened_anew(source: int, mode: int) -> int | None:
    """Return a descriptor of the same thing with flags of its own, None where there is no way."""
    try:
        name = _name_of(source, mode)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        return None if name is None else os.open(name, flags)
    except (OSError, AttributeError):  # no such path, no terminal, no right to, or no such flags
        return None


def _name_of(source: int, mode: int) -> str | None:
    if stat.S_ISFIFO(mode):
        return f"/proc/self/fd/{source}"
    # Of other devices each opening may be another thing: of a terminal's master it is.
    name = os.ttyname(source) if stat.S_ISCHR(mode) else None
    return None if name is None or name.endswith("/ptmx") else name
