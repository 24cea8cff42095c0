"""The spec in a log's head, read back while the log is written."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from hopx_async.keeper.head import spec_of
from hopx_async.keeper.log import Log
from hopx_async.keeper.store import Store
from hopx_async.protocol import records
from hopx_async.protocol.records import BLOCK, STARTED, STDOUT
from tests.keeper.harness import make_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(make_state(tmp_path)), 4 * BLOCK, 16 * BLOCK)
    yield store
    for fd in [*store._open.values(), store._dir, store._reserve]:
        os.close(fd)


@pytest.mark.parametrize("spec", ['{"x":1}', json.dumps({"command": "y" * (3 * BLOCK)})])
def test_the_spec_is_read_back_whatever_followed(store: Store, spec: str) -> None:
    """Also one of several blocks, and behind segments that were freed."""
    log = Log(store, "a")
    log.claim(spec.encode())
    assert spec_of(log) == spec

    log.append(STARTED, b'{"pid":1}')
    for _ in range(60):
        log.append_data(STDOUT, memoryview(b"x" * BLOCK))
    assert log.segments[1] > BLOCK
    assert spec_of(log) == spec


def test_a_head_that_was_removed_or_overwritten_has_no_spec(store: Store) -> None:
    """Nobody else suffers from who meddles with the files."""
    log = Log(store, "a")
    log.claim(b'{"x":1}')
    name = records.segment_name("a", 0)
    fd = store.open_segment(name)
    os.pwrite(fd, b"\xff" * 20, 0)
    os.close(fd)
    assert spec_of(log) is None

    log.close()
    store.unlink(name)
    assert spec_of(log) is None
