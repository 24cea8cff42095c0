"""Reading a command's outputs."""

from __future__ import annotations

import os
import select
from typing import Any

import pytest

from hopx_async.keeper.pipe import READ_BYTES, Pipe


class _Taker:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def output(self, kind: int, data: memoryview) -> None:
        self.said.append((kind, bytes(data)))

    def pipe_ended(self, pipe: Pipe) -> None:
        self.said.append(pipe)


def test_pipe_hands_over_what_is_there() -> None:
    """A read hands over kind and bytes; nothing there is no end; the last writer's leaving is."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    taker = _Taker()
    pipe = Pipe(taker, memoryview(bytearray(READ_BYTES)), reader, 7)
    pipe(select.EPOLLIN)
    os.write(writer, b"abc")
    pipe(select.EPOLLIN)
    os.write(writer, b"last")
    os.close(writer)
    pipe(select.EPOLLIN | select.EPOLLHUP)
    os.close(reader)

    assert taker.said == [(7, b"abc"), (7, b"last"), pipe]


def test_terminal_is_read_to_its_end() -> None:
    """A terminal is read in pieces even after its other end was left; EIO is its end."""
    master, slave = os.openpty()
    os.set_blocking(master, False)
    taker = _Taker()
    pipe = Pipe(taker, memoryview(bytearray(READ_BYTES)), master, 1, terminal=True)
    data = b"".join(b"%04d " % number for number in range(2000))
    assert os.write(slave, data) == len(data)
    os.close(slave)
    while not taker.said or taker.said[-1] is not pipe:
        pipe(select.EPOLLIN | select.EPOLLHUP)
    os.close(master)

    # The kernel gives less than was asked for, and less than there is.
    assert len(taker.said) > 2
    assert b"".join(data for _, data in taker.said[:-1]) == data


def test_other_errors_are_not_hidden() -> None:
    """An error that is no end of a terminal is raised."""
    pipe = Pipe(_Taker(), memoryview(bytearray(4)), -1, 1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        pipe(select.EPOLLIN)
