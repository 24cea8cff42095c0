from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

from hopx_async.keeper.index import Index, end_line, start_line

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def _close(index: Index) -> None:
    os.close(index._fd)


def test_lines_are_json() -> None:
    """start_line and end_line are JSON that names the record of the end."""
    started = json.loads(start_line("a", '{"x":1}', 12, 3.5))
    failed = json.loads(start_line("a", "{}", None, None))
    ended = json.loads(end_line("a", 500, 120, '{"exit_code":0}'))

    assert started == {"id": "a", "spec": {"x": 1}, "pid": 12, "started_at": 3.5}
    assert failed == {"id": "a", "spec": {}, "pid": None, "started_at": None}
    assert ended == {"id": "a", "end": 500, "last": [380, 120], "exit": {"exit_code": 0}}


def test_lines_wait_for_flush(tmp_path: Path) -> None:
    """flush writes what was added, and valid_bytes counts it."""
    index = Index(str(tmp_path), 1)
    index.add('{"id":"a"}')
    assert index.valid_bytes == 0
    index.flush()
    index.flush()
    _close(index)

    assert (tmp_path / "index.1").read_text() == '{"id":"a"}\n'
    assert index.valid_bytes == 11


def test_ended_cuts_a_torn_line(tmp_path: Path) -> None:
    """ended names those whose end is told, and where; what follows the last whole line is cut."""
    whole = start_line("a", "{}", 1, 1.0) + "\n" + end_line("a", 9, 3, "{}") + "\n"
    (tmp_path / "index.1").write_text(whole + '{"id":"b","end":7,"la')
    index = Index(str(tmp_path), 1)

    assert index.ended() == {"a": 9}
    assert (tmp_path / "index.1").read_text() == whole
    assert index.valid_bytes == len(whole)
    _close(index)


def test_index_that_cannot_be_written_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed write nothing of the index is to be trusted."""
    index = Index(str(tmp_path), 1)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    index.add("{}")
    index.flush()
    index.add("{}")
    index.flush()

    assert index.valid_bytes is None
    _close(index)
