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


@pytest.mark.parametrize("command", ["x", "y" * (3 * BLOCK), ["é", "\u2028"]])
def test_the_spec_is_read_back_whatever_followed(store: Store, command: object) -> None:
    """Also one of several blocks, and behind segments that were freed."""
    log = Log(store, "a")
    spec = {"process_id": "a", "command": command, "spec_digest": "d"}
    log.claim(json.dumps(spec).encode())
    assert json.loads(spec_of(log)) == spec

    log.append(STARTED, b'{"pid":1}')
    for _ in range(60):
        log.append_data(STDOUT, memoryview(b"x" * BLOCK))
    assert log.segments[1] > BLOCK
    assert json.loads(spec_of(log)) == spec


_SPEC = b'{"process_id":"a","command":"xyz","timeout":100.0}'


@pytest.mark.parametrize(
    "changed",
    [
        *(_SPEC.replace(b"xyz", new) for new in (b"\xffyz", b'"yz', b"\nyz")),
        _SPEC.replace(b'"a"', b'"b"'),
        _SPEC.replace(b"100.0", b"NaN  "),
        _SPEC.replace(b"command", b"commend"),
        b"[" * len(_SPEC),
        b"1".ljust(len(_SPEC)),
    ],
)
def test_a_spec_that_was_changed_is_not_told(store: Store, changed: bytes) -> None:
    """What an agent could not read would keep it from all other commands."""
    log = Log(store, "a")
    log.claim(_SPEC)
    fd = store.open_segment(records.segment_name("a", 0))
    os.pwrite(fd, changed, log.spec_end - len(_SPEC))
    os.close(fd)

    assert json.loads(spec_of(log)) == {"process_id": "a", "command": ""}


def test_a_head_that_was_removed_or_overwritten_has_no_spec(store: Store) -> None:
    """Nobody else suffers from who meddles with the files."""
    log = Log(store, "a")
    log.claim(_SPEC)
    name = records.segment_name("a", 0)
    fd = store.open_segment(name)
    os.pwrite(fd, b"\xff" * 20, 0)
    os.close(fd)
    assert json.loads(spec_of(log)) == {"process_id": "a", "command": ""}

    log.close()
    store.unlink(name)
    assert json.loads(spec_of(log)) == {"process_id": "a", "command": ""}
