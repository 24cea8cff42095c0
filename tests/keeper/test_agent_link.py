from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any, cast

import pytest

from hopx_async.keeper.agent_link import AgentLink, encode_terminal
from hopx_async.keeper.index import Index
from hopx_async.keeper.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hopx_async.keeper.command import Command


class _Log:
    def __init__(self, process_id: str) -> None:
        self.process_id = process_id
        self.end = 100
        self.segments = [0]


class _Spawned:
    pid = 7
    started_at = 1.5


class _Command:
    """What a link looks at of a command."""

    def __init__(self, process_id: str, spec: str = "{}") -> None:
        self.process_id = process_id
        self._spec = spec
        self.log = _Log(process_id)
        self.spawned = _Spawned()
        self.ended = False
        self.terminal = b""
        self.told_segments: list[int] = []

    def spec(self) -> str:
        return self._spec


class _Desk:
    """A link to an agent that reads when it is told to."""

    def __init__(self, directory: Path) -> None:
        self.live: dict[str, _Command] = {}
        self.index = Index(str(directory), 1)
        self.loop = Loop()
        self._socks: list[socket.socket] = []

    def connect(self) -> AgentLink:
        ours, self.peer = socket.socketpair()
        self._socks.append(self.peer)
        live = cast("dict[str, Command]", self.live)
        return AgentLink(
            ours, self.loop, live, self.index, on_request=lambda _request: None, on_end=int
        )

    def lines(self, link: AgentLink) -> list[dict[str, Any]]:
        """Flush, read all that there is, as often as it takes."""
        data = b""
        self.peer.setblocking(False)
        while True:
            link.flush()
            try:
                data += self.peer.recv(1 << 20)
            except BlockingIOError:
                if not link.backlog:
                    break
            self.loop.turn(wait=False)
        return [json.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        for sock in self._socks:
            sock.close()
        os.close(self.index._fd)
        self.loop._epoll.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[_Desk]:
    desk = _Desk(tmp_path)
    yield desk
    desk.close()


def _as_command(command: _Command) -> Command:
    return cast("Command", command)


def test_first_comes_a_snapshot(desk: _Desk) -> None:
    """An agent is told of all that live, then that this was all."""
    for name in ("a", "b"):
        desk.live[name] = _Command(name, '{"x":1}')
    link = desk.connect()
    *snapshots, ready = desk.lines(link)
    link.close()

    entries = [entry for line in snapshots for entry in line["snapshot"]]
    told = {"spec": {"x": 1}, "pid": 7, "started_at": 1.5, "end": 100, "segments": [0]}
    assert sorted(entries, key=lambda entry: str(entry["id"])) == [
        {"id": "a", **told},
        {"id": "b", **told},
    ]
    assert ready == {"ready": True, "index": 0}


def test_what_ended_before_the_snapshot_was_told_is_not_remembered(desk: _Desk) -> None:
    """It stands in the index; its spec would be kept as long as the agent lives."""
    link = desk.connect()
    for name in ("ended", "lives"):
        link.changed(_as_command(_Command(name)), spec='"' + "x" * 1000 + '"')
    link._changed["ended"].ended = True
    *_, news = desk.lines(link)
    link.close()

    assert [entry["id"] for entry in news["news"]] == ["lives"]
    assert link._new == {}


def test_big_snapshot_comes_in_pieces(desk: _Desk) -> None:
    """A snapshot of many is cut into lines of moderate size, and nobody is left out."""
    for number in range(300):
        desk.live[f"n{number}"] = _Command(f"n{number}", json.dumps("s" * 3000))
    link = desk.connect()
    *snapshots, ready = desk.lines(link)
    link.close()

    assert len(snapshots) > 5
    assert max(len(json.dumps(line)) for line in snapshots) < 100_000
    assert {entry["id"] for line in snapshots for entry in line["snapshot"]} == set(desk.live)
    assert ready["ready"]


def test_news_are_coalesced_until_the_agent_reads(desk: _Desk) -> None:
    """However much happens while the agent does not read, it is told once per command."""
    link = desk.connect()
    desk.lines(link)
    busy = _Command("busy")
    link.changed(_as_command(busy), spec="{}")
    while not link.backlog:  # until the socket is full
        link.refuse(1, "x", "y" * 100_000)
        link.flush()
    for end in range(200, 300):
        busy.log.end = end
        link.changed(_as_command(busy))
        link.flush()
    busy.ended, busy.terminal = True, b"end"
    link.changed(_as_command(busy))
    news = [entry for line in desk.lines(link) for entry in line.get("news", [])]
    link.close()

    assert len(news) == 2
    assert news[0] == {
        "id": "busy",
        "spec": {},
        "pid": 7,
        "started_at": 1.5,
        "segments": [0],
        "end": 100,
    }
    assert news[1] == {"id": "busy", "end": 299, "last": encode_terminal(b"end")}


def test_segments_are_told_when_they_change(desk: _Desk) -> None:
    """News name the segments only if they are others than before."""
    link = desk.connect()
    desk.lines(link)
    command = _Command("a")
    told = []
    for segments in ([0], None, [0, 65536]):
        command.log.segments = segments or command.log.segments
        link.changed(_as_command(command))
        told += [line["news"][0].get("segments") for line in desk.lines(link)]
    link.close()

    assert told == [[0], None, [0, 65536]]


def test_news_come_before_answers(desk: _Desk) -> None:
    """Within a turn an agent hears what happened before it hears what it asked for."""
    link = desk.connect()
    desk.lines(link)
    link.reply(5, '{"pid":7}')
    link.refuse(6, "conflict_claimed", "in use", errno=3)
    link.failed("f", "{}", 90, b"exit")
    link.changed(_as_command(_Command("a")), spec="{}")
    news, ok, error = desk.lines(link)
    link.close()

    assert [entry["id"] for entry in news["news"]] == ["f", "a"]
    assert news["news"][0]["last"] == encode_terminal(b"exit")
    assert news["news"][0]["pid"] is None
    assert ok == {"re": 5, "ok": {"pid": 7}}
    assert error["error"] == {"code": "conflict_claimed", "message": "in use", "errno": 3}
