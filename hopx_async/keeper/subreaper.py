"""What a process asks of the kernel about itself: orphans to adopt, and no readers."""

from __future__ import annotations

import ctypes
import os

__all__ = ["become_subreaper", "become_unreadable"]

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Adopt every descendant whose parent ends, as pid 1 would otherwise.

    Raises:
        OSError: If the kernel refuses.
    """
    _control(_PR_SET_CHILD_SUBREAPER, 1)


def become_unreadable() -> None:
    """Keep processes of the same user away from our descriptors and memory in /proc.

    Raises:
        OSError: If the kernel refuses.
    """
    _control(_PR_SET_DUMPABLE, 0)


def _control(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
