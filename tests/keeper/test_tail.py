"""The last output in a log, over segments, gaps and samples."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hopx_async.keeper.log import Log
from hopx_async.keeper.store import Store
from hopx_async.protocol import records
from hopx_async.protocol.records import BLOCK, STARTED, STDERR, STDOUT
from tests.keeper.harness import make_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    stores: list[Store] = []

    def open_store(*numbers: int) -> Store:
        stores.append(Store(str(make_state(tmp_path)), *numbers))
        return stores[-1]

    yield open_store
    for store in stores:
        for fd in [*store._open.values(), store._dir, store._reserve]:
            os.close(fd)


def _begin(store: Store, process_id: str = "a", spec: bytes = b'{"x":1}') -> Log:
    log = Log(store, process_id)
    log.claim(spec)
    log.append(STARTED, b'{"pid":1}')
    return log


def test_tail_is_the_last_of_both_streams(open_store: Callable[..., Store]) -> None:
    """tail returns the last bytes in order, neighbours of one stream as one."""
    log = _begin(open_store())
    for kind, data in [(STDOUT, b"aaaa"), (STDERR, b"bb"), (STDERR, b"cc"), (STDOUT, b"d")]:
        log.append_data(kind, memoryview(data))

    assert log.tail(7) == [("stdout", b"aa"), ("stderr", b"bbcc"), ("stdout", b"d")]
    assert log.tail(0) == []
    assert log.tail(100)[0] == ("stdout", b"aaaa")


def test_tail_spans_segments_and_gaps(open_store: Callable[..., Store]) -> None:
    """tail reads over a segment's border, and stops at what retention has freed."""
    log = _begin(open_store(BLOCK, 4 * BLOCK))
    sent = b""
    for number in range(3000):
        line = b"line %d\n" % number
        sent += line * 20
        log.append_data(STDOUT, memoryview(line * 20))
        if number % 37 == 0:
            assert log.tail(500) == [("stdout", sent[-500:])]

    assert log.segments[1] > BLOCK


def test_tail_of_a_silent_command_is_empty(open_store: Callable[..., Store]) -> None:
    """tail of a command without output opens nothing and is empty."""
    assert _begin(open_store()).tail() == []


def test_tail_is_found_behind_samples(open_store: Callable[..., Store]) -> None:
    """Samples of usage that fill blocks behind the last output do not hide it."""
    log = _begin(open_store())
    log.append_data(STDOUT, memoryview(b"the last words"))
    while log.end < 5 * BLOCK:
        assert log.offer(records.USAGE, b"x" * 4000)

    assert log.tail() == [("stdout", b"the last words")]
