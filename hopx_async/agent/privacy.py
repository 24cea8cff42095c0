"""Keeping the agent's descriptors and memory from the commands of the same user."""

from __future__ import annotations

import ctypes
import os

__all__ = ["become_unreadable"]

_PR_SET_DUMPABLE = 4


def become_unreadable() -> None:
    """Let nobody but root look into this process through /proc, or trace it.

    Raises:
        OSError: If the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
