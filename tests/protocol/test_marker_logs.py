"""Logs behind polls: a peer over them delivers what lies there, whatever polls bring when."""

from __future__ import annotations

import itertools
import random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.protocol import marker_answers as answers
from hopx_async.protocol import marker_logs, records, wire
from hopx_async.protocol.link import Link
from hopx_async.protocol.marker_logs import MAX_HELD, ROOM, MarkerLogs
from hopx_async.protocol.markers import MAX_WATCHED
from hopx_async.protocol.peer import Peer
from hopx_async.testing.memory_log import MemoryLogs


def report(process_id: str, end: int, **more: Any) -> answers.Report:
    """Return what a poll tells of a command that runs."""
    known: dict[str, Any] = {
        "segments": (0,),
        "pid": 1,
        "started_at": 0.0,
        "over_at": None,
        "record": None,
        "exit": None,
        "spec": None,
    }
    return answers.Report(process_id=process_id, end=end, **{**known, **more})


class Far:
    """A far side with one log that grows, and polls that may fail or tell little."""

    def __init__(self, seed: int, size: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311  # no secret
        self.logs = MemoryLogs()
        self.log = self.logs.create("a", {"process_id": "a"}, 0.0)
        self.logs.append_json("a", records.STARTED, 0.0, {"pid": 1})
        self.left = size
        self.written = {records.STDOUT: b"", records.STDERR: b""}

    def grow(self) -> None:
        """Write something, or end."""
        if self.left <= 0:
            if not self.log.over:
                fate = {"exit_code": 0, "reason": "exited"}
                self.logs.append_json("a", records.EXITED, 1.0, fate)
            return
        data = self.chance.randbytes(self.chance.randrange(1, 90_000))
        kind = self.chance.choice([records.STDOUT, records.STDERR])
        self.left -= len(data)
        self.written[kind] += data
        self.logs.append_data("a", kind, 0.5, data)

    def report(self) -> answers.Report:
        """Return what it says of its command."""
        last = self.log.last
        return report(
            "a",
            self.log.end,
            over_at=None if last is None else last[0],
            record=None if last is None else last[1],
        )

    def answer(
        self, watched: dict[str, int | None], fetches: list[tuple[str, int, int]]
    ) -> list[answers.Line]:
        """Answer a poll, perhaps not all of it."""
        lines: list[answers.Line] = []
        if watched and (watched["a"] != self.log.end or self.log.over):
            lines.append(self.report())
        for process_id, offset, most in fetches:
            if self.chance.random() < 0.8:
                at, data = self.log.read(offset, self.chance.randrange(1, most + 1))
                lines.append(answers.Data(process_id, offset, at, data))
        return lines


@given(st.integers(0, 10**6), st.integers(0, 600_000), st.booleans())
def test_a_reader_gets_everything_once(seed: int, size: int, failing: bool) -> None:
    """Over polls that fail, tell half and bring pieces of any size, a stream is whole."""
    far, logs, link = Far(seed, size), MarkerLogs(), Link()
    logs.take([far.report()])
    peer = Peer(logs)
    link.connected(1)
    subscription = link.subscribe("a")
    seen = {"stdout": b"", "stderr": b""}
    for _ in itertools.count():
        if (frame := link.data_to_send(1)) is not None:
            peer.receive(frame)
        while (sent := peer.next_frame()) is not None:
            link.receive(1, sent)
        while (event := subscription.take()) is not None:
            if event.type in seen:
                seen[event.type] += event.data  # type: ignore[union-attr]
        assert subscription.error is None
        if subscription.done:
            break
        far.grow()
        watched, fetches = logs.watched(peer.waited_for), logs.fetches()
        if failing and far.chance.random() < 0.3:
            logs.want(fetches)
            continue
        lines = far.answer(watched, fetches)
        news = logs.take(lines)
        logs.miss(fetches, lines)
        for process_id in news:
            peer.news(process_id)
        assert logs.held <= MAX_HELD
    assert seen == {
        "stdout": far.written[records.STDOUT],
        "stderr": far.written[records.STDERR],
    }


def test_what_came_earlier_does_not_undo_what_came_later() -> None:
    """Answers may overtake each other: a log does not shrink, an end stays."""
    logs = MarkerLogs()
    assert logs.take([report("a", 100, spec={"command": "x"})]) == {"a"}
    assert logs.take([report("a", 90)]) == set()
    assert logs.take([report("a", 120, over_at=100, record=b"r")]) == {"a"}
    assert logs.take([report("a", 120)]) == set()
    known = logs.report("a")
    assert known is not None
    assert (known.end, known.over_at, known.spec) == (120, 100, {"command": "x"})
    assert logs.last("a") == (100, b"r")
    assert logs.take([answers.Unknown("a")]) == {"a"}
    assert logs.end("a") is None


def test_bytes_behind_the_last_record_are_not_used() -> None:
    """What a torn write left may be taken back by the far side."""
    logs = MarkerLogs()
    logs.take([report("a", 10)])
    assert logs.read("a", 0, 100) is None
    logs.take([answers.Data("a", 0, 0, b"x" * 30)])
    assert logs.read("a", 0, 100) == (0, b"x" * 10)
    assert logs.held == 0


def test_one_poll_serves_many_within_its_room() -> None:
    """Those who want log bytes share the room; who gets none this time is next."""
    logs = MarkerLogs()
    names = [f"c{number}" for number in range(100)]
    logs.take([report(name, 10**9) for name in names])
    for name in names:
        logs.read(name, 0, wire.MAX_DATA_BYTES)
    asked: list[str] = []
    while logs.wanting:
        fetches = logs.fetches()
        assert sum(size for _, _, size in fetches) <= ROOM
        asked += [name for name, _, _ in fetches]
    assert asked == names


def test_too_many_for_one_poll_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each live command is asked about, if not in this poll then soon; ended ones never."""
    monkeypatch.setattr(marker_logs, "MAX_WATCHED", 30)
    logs = MarkerLogs()
    names = [f"c{number:02}" for number in range(100)]
    logs.take([report(name, 1) for name in names])
    logs.take([attrs.evolve(report("c07", 5), over_at=1)])
    seen = [name for _ in range(5) for name in logs.watched(names)]
    assert set(seen) == set(names) - {"c07"}


def test_what_nobody_takes_is_bounded() -> None:
    """Readers that have left leave no more than a bounded rest behind."""
    logs = MarkerLogs()
    logs.take([report("a", 10**9)])
    for number in range(40):
        offset = number * ROOM
        logs.take([answers.Data("a", offset, offset, bytes(ROOM))])
        assert logs.held <= MAX_HELD


def test_a_poll_asks_for_less_where_answers_are_cut() -> None:
    """Half as much each time, of bytes and of commands, down to a little that still moves on."""
    logs = MarkerLogs()
    names = [f"c{number:04}" for number in range(2000)]
    logs.take([report(name, 10**9) for name in names])
    for name in names:
        logs.read(name, 0, wire.MAX_DATA_BYTES)
    sizes, watched = [], []
    while True:
        sizes.append(sum(size for _, _, size in logs.fetches()))
        watched.append(len(logs.watched(names)))
        if not logs.shrink():
            break
    assert sizes == [ROOM >> number for number in range(len(sizes))]
    assert sizes[-1] == 4096
    assert watched[0] == MAX_WATCHED
    assert watched == [MAX_WATCHED >> number for number in range(len(watched))]


@pytest.mark.parametrize("bound", ["MAX_ENDED", "MAX_ENDED_BYTES"])
def test_what_has_ended_is_forgotten_in_its_order(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so much is remembered; what runs, and what somebody reads, is."""
    monkeypatch.setattr(marker_logs, bound, {"MAX_ENDED": 3, "MAX_ENDED_BYTES": 6600}[bound])
    logs = MarkerLogs()
    logs.take([report("runs", 10)])
    for number in range(3):
        logs.take([report(f"c{number}", 20, over_at=10, record=b"r" * 500)] * 2)
    assert not logs.crowded
    for number in range(3, 6):
        logs.take([report(f"c{number}", 20, over_at=10, record=b"r" * 500)])
    assert logs.crowded
    logs.forget({"c0", "unknown"})

    assert not logs.crowded
    left = [name for name in ("runs", *(f"c{number}" for number in range(6))) if logs.report(name)]
    assert left == ["runs", "c0", "c4", "c5"]
    for name in left:
        logs.take([answers.Unknown(name)])
    assert (len(logs), logs._ended_bytes) == (0, 0)
