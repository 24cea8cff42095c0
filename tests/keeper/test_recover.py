"""What a keeper finds when one before it was killed."""

from __future__ import annotations

import errno
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.keeper.index import Index
from hopx_async.keeper.log import Log
from hopx_async.keeper.recover import recover
from hopx_async.keeper.store import Store
from hopx_async.protocol import records
from tests.keeper.harness import keeper_process, make_state, output, read_log, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _index(directory: Path) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for line in (directory / "index.1").read_text().splitlines():
        entry = json.loads(line)
        merged.setdefault(entry["id"], {}).update(entry)
    return merged


def _write(directory: Path, process_id: str, *, ended: bool, size: int = 10) -> Log:
    """Write a log as a keeper would, and forget about it."""
    store = Store(str(make_state(directory)), records.BLOCK, 100 * records.BLOCK)
    log = Log(store, process_id)
    log.claim(b'{"process_id":"%s"}' % process_id.encode())
    log.append(records.STARTED, b'{"pid":77,"start_ticks":1,"boot_id":"x"}')
    log.append_data(records.STDOUT, memoryview(b"o" * size))
    log.append_data(records.STDERR, memoryview(b"e" * size))
    if ended:
        log.append(records.EXITED, b'{"reason":"exited","exit_code":0,"tail":[]}')
    log.close()
    for fd in (store._dir, store._reserve):
        os.close(fd)
    return log


def _recover(directory: Path) -> list[str]:
    store = Store(str(make_state(directory)), records.BLOCK, 100 * records.BLOCK)
    index = Index(str(directory), 1)
    try:
        return recover(store, index)
    finally:
        for fd in (store._dir, store._reserve, index._fd):
            os.close(fd)


def test_unended_log_gets_lost(tmp_path: Path) -> None:
    """A log without an end ends with Lost, which the index tells; a second look changes nothing."""
    _write(tmp_path, "a", ended=False)
    assert _recover(tmp_path) == ["a"]
    assert _recover(tmp_path) == []
    found = read_log(tmp_path, "a")
    told = _index(tmp_path)["a"]

    assert [record.kind for record in found].count(records.LOST) == 1
    assert found[-1].kind == records.LOST
    assert found[-1].json()["reason"] == "lost"
    assert found[-1].json()["started_at"] == found[2].at
    assert told["last"] == [found[-1].offset, found[-1].end - found[-1].offset]
    assert told["end"] == found[-1].end
    assert (told["pid"], told["spec"]) == (77, {"process_id": "a"})
    assert told["exit"]["reason"] == "lost"


def test_ended_log_is_told_and_left(tmp_path: Path) -> None:
    """A log with an end that the index does not tell is told, and not touched."""
    log = _write(tmp_path, "a", ended=True)
    assert _recover(tmp_path) == []

    assert read_log(tmp_path, "a")[-1].kind == records.EXITED
    assert _index(tmp_path)["a"]["end"] == log.end
    assert _index(tmp_path)["a"]["exit"] == {"reason": "exited", "exit_code": 0}


def test_torn_tail_is_cut(tmp_path: Path) -> None:
    """Half a record at the end is cut off before Lost is appended, at whatever byte it ends."""
    for cut in range(1, 30, 4):
        process_id = f"cut{cut}"
        _write(tmp_path, process_id, ended=False)
        path = tmp_path / "logs" / records.segment_name(process_id, 0)
        path.write_bytes(path.read_bytes()[:-cut])
    assert len(_recover(tmp_path)) == 8

    for cut in range(1, 30, 4):
        assert read_log(tmp_path, f"cut{cut}")[-1].kind == records.LOST
        assert output(tmp_path, f"cut{cut}") == (b"o" * 10, b"")


def test_garbage_behind_the_end_is_cut(tmp_path: Path) -> None:
    """Bytes that are no record are cut off, too."""
    _write(tmp_path, "a", ended=False)
    path = tmp_path / "logs" / records.segment_name("a", 0)
    path.write_bytes(path.read_bytes() + bytes(5000))
    _recover(tmp_path)

    assert read_log(tmp_path, "a")[-1].kind == records.LOST
    assert output(tmp_path, "a") == (b"o" * 10, b"e" * 10)


def test_long_log_is_ended_in_its_last_segment(tmp_path: Path) -> None:
    """Of many segments the last one gets the end; a segment without its Base goes."""
    log = _write(tmp_path, "a", ended=False, size=150_000)
    assert len(log.segments) > 2
    boundary = -(-log.end // records.BLOCK) * records.BLOCK
    (tmp_path / "logs" / records.segment_name("a", boundary)).touch()
    assert _recover(tmp_path) == ["a"]

    assert not (tmp_path / "logs" / records.segment_name("a", boundary)).exists()
    assert read_log(tmp_path, "a")[-1].kind == records.LOST
    assert output(tmp_path, "a") == (b"o" * 150_000, b"e" * 150_000)


def test_torn_claim_goes(tmp_path: Path) -> None:
    """A log without a whole spec never started anything, and its id is free again."""
    (make_state(tmp_path) / "logs" / records.segment_name("a", 0)).write_bytes(b"\1\0\0")
    assert _recover(tmp_path) == []

    assert list((tmp_path / "logs").iterdir()) == []


def test_claim_without_a_start_is_lost(tmp_path: Path) -> None:
    """A spec without Started ends with Lost: nobody knows whether it ran."""
    log = _write(tmp_path, "a", ended=False)
    path = tmp_path / "logs" / records.segment_name("a", 0)
    path.write_bytes(path.read_bytes()[: log.spec_end])
    assert _recover(tmp_path) == ["a"]

    assert [record.kind for record in read_log(tmp_path, "a")] == [
        *(records.BASE, records.SPEC, records.LOST)
    ]
    assert _index(tmp_path)["a"]["pid"] is None


def test_strange_files_are_left_alone(tmp_path: Path) -> None:
    """Files that are no segments are none of recovery's business."""
    (make_state(tmp_path) / "logs" / "notes.txt").write_text("hello")
    assert _recover(tmp_path) == []

    assert (tmp_path / "logs" / "notes.txt").exists()


def test_new_keeper_ends_what_still_runs(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A keeper that is killed leaves commands; the next one says lost, and kills them."""
    with keeper_process(tmp_path) as first:
        pid = first.start("a", "trap '' TERM HUP PIPE; while :; do sleep 0.05; done")["ok"]["pid"]
        os.kill(first.process.pid, signal.SIGKILL)
        first.close()
    assert running(pid)
    pidfd = os.pidfd_open(pid)
    request.addfinalizer(lambda: os.close(pidfd))
    with keeper_process(tmp_path) as second:
        # It is ours now, and its end is the only thing that this waits for.
        os.waitpid(pid, 0)
        assert second.known == {}
    assert read_log(tmp_path, "a")[-1].json()["reason"] == "lost"


def _say_started_twice(data: bytearray) -> None:
    data += records.encode(records.STARTED, 1.0, b'{"pid":78}')


def _say_base(data: bytearray) -> None:
    data += records.encode_base(1.0, 0, 0, 0)


def _say_no_json(data: bytearray) -> None:
    data += records.encode(records.EXITED, 1.0, b"[")


def _say_other_output(data: bytearray) -> None:
    buffers, _ = records.place_data(len(data), records.STDOUT, 1.0, 3, memoryview(b"x"))
    data += b"".join(buffers)


@pytest.mark.parametrize("damage", [_say_started_twice, _say_base, _say_no_json, _say_other_output])
def test_what_nobody_wrote_so_is_not_believed(
    tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    """Records that cannot stand where they do are cut off, and hold up no other log."""
    _write(tmp_path, "a", ended=False)
    _write(tmp_path, "b", ended=True)
    path = tmp_path / "logs" / records.segment_name("a", 0)
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)

    assert _recover(tmp_path) == ["a"]
    assert output(tmp_path, "a") == (b"o" * 10, b"e" * 10)
    assert read_log(tmp_path, "a")[-1].kind == records.LOST
    assert _index(tmp_path)["b"]["exit"]["reason"] == "exited"


@pytest.mark.parametrize(
    "spec", [b'{"process_id":"a","name":"\xff"}', b"{", b"[]", b'{"process_id":"b"}']
)
def test_a_spec_that_is_none_is_a_torn_claim(tmp_path: Path, spec: bytes) -> None:
    """A claim whose spec cannot be read is given back."""
    name = records.segment_name("a", 0)
    make_state(tmp_path)
    head = records.encode_base(1.0, 0, 0, 0) + records.encode(records.SPEC, 1.0, spec)
    (tmp_path / "logs" / name).write_bytes(head)

    assert _recover(tmp_path) == []
    assert not (tmp_path / "logs" / name).exists()


def test_an_end_that_did_not_reach_the_disk_is_lost(tmp_path: Path) -> None:
    """Where the index tells an end that the log does not reach, the log is believed."""
    log = _write(tmp_path, "a", ended=True)
    assert _recover(tmp_path) == []
    assert _index(tmp_path)["a"]["exit"]["reason"] == "exited"
    path = tmp_path / "logs" / records.segment_name("a", 0)
    os.truncate(path, log.end - 1)

    assert _recover(tmp_path) == ["a"]
    assert _index(tmp_path)["a"]["exit"]["reason"] == "lost"
    assert read_log(tmp_path, "a")[-1].kind == records.LOST


def test_a_log_that_cannot_be_read_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A log on a broken part of the disk is told of; the others get their ends."""
    _write(tmp_path, "a", ended=False)
    _write(tmp_path, "b", ended=False)
    name = records.segment_name("a", 0)
    opened = Store.open_segment

    def broken(store: Store, wanted: str) -> int:
        if wanted == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(store, wanted)

    monkeypatch.setattr(Store, "open_segment", broken)
    assert _recover(tmp_path) == ["b"]
    assert "the log of a cannot be read" in capfd.readouterr().err
