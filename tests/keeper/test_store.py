from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hopx_async.keeper.log import Log
from hopx_async.keeper.store import Store
from hopx_async.protocol import records
from tests.keeper.harness import make_state

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(make_state(tmp_path)))
    yield store
    for fd in [*store._open.values(), store._dir, store._reserve]:
        os.close(fd)


def test_idle_logs_hold_no_descriptor(store: Store, tmp_path: Path) -> None:
    """Of many logs only those used last hold a descriptor; the others open theirs again."""
    logs = [Log(store, f"l{number}") for number in range(200)]
    before = len(list(Path("/proc/self/fd").iterdir()))
    for log in logs:
        log.claim(b"{}")
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 64
    logs[0].append(records.STARTED, b"{}")

    assert (tmp_path / "logs" / "l0.0000000000000000").stat().st_size == logs[0].end


def test_closed_log_opens_again(store: Store) -> None:
    """close gives the descriptor back, twice without harm, and the log can still be written."""
    log = Log(store, "a")
    log.claim(b"{}")
    before = len(list(Path("/proc/self/fd").iterdir()))
    log.close()
    log.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 1
    log.append(records.STARTED, b"{}")
    assert not log.stuck


def test_unlink_of_what_is_gone(store: Store) -> None:
    """unlink takes it as done that a file is not there."""
    store.unlink("nothing.0000000000000000")


def test_reserve_is_given_once_and_taken_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """release frees the reserve's room once; refill takes it back when there is room."""
    reserve = tmp_path / "reserve.1"
    assert reserve.stat().st_size > 0
    store.tell("test")
    assert store.release()
    assert not store.release()
    assert reserve.stat().st_size == 0

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        store.refill()
    assert store.troubled
    store.refill()
    assert not store.troubled
    assert reserve.stat().st_size > 0


def test_trouble_is_told_once(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk is complained of once, until it was over."""
    store.tell("first")
    store.tell("second")
    store.refill()
    store.tell("third")

    said = capsys.readouterr().err
    assert "first" in said
    assert "second" not in said
    assert "third" in said


def test_small_retention_makes_small_segments(tmp_path: Path) -> None:
    """A segment is a whole number of blocks and at most a quarter of what is kept."""
    store = Store(str(make_state(tmp_path)), 10 * records.BLOCK + 5, 8 * records.BLOCK)
    for fd in [store._dir, store._reserve]:
        os.close(fd)

    assert store.segment_bytes == 2 * records.BLOCK
