"""Tests of hopx_async.agent.board."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import msgspec
import pytest

from hopx_async.agent import board as boards
from hopx_async.agent.board import PAGE_LENGTH, Board, Command, News
from hopx_async.errors import CommandNotFound, InvalidArgument
from hopx_async.model import CommandInfo
from hopx_async.protocol import records
from tests.agent.keeper_double import PATIENCE, PID, STARTED_AT, public

END = 10_000


def spec_of(process_id: str, **changes: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(public(process_id, **changes)))


def terminal(kind: int = records.EXITED, **changes: Any) -> bytes:
    value: dict[str, Any] = {
        "exit_code": 0,
        "signal": None,
        "reason": "exited",
        "started_at": 1.0,
        "ended_at": 2.0,
    }
    value |= {"duration": 1.0, "survivors": 0, "tail": [["stdout", "eA=="]], **changes}
    return records.encode_json(kind, 2.0, value)


def started(process_id: str, **changes: Any) -> News:
    return News(process_id, spec_of(process_id, **changes), PID, STARTED_AT, end=400)


def ended(process_id: str, **changes: Any) -> News:
    return News(process_id, end=END, last=terminal(**changes))


def info(board: Board, process_id: str) -> CommandInfo:
    encoded = msgspec.json.encode(board.require(process_id).info())
    return CommandInfo.from_dict(msgspec.json.decode(encoded))


def test_a_started_command_is_known() -> None:
    """News of a start make an info that the client can read."""
    board = Board()
    board.apply(started("a", name="n", tags={"k": "v"}))

    known = info(board, "a")
    assert (known.process_id, known.pid, known.started_at, known.status) == (
        "a", PID, STARTED_AT, "running",
    )  # fmt: skip
    assert (known.name, known.tags, known.log_end, known.exit) == ("n", {"k": "v"}, 400, None)
    assert board.live == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "completed"),
        ({"exit_code": 3}, "failed"),
        ({"exit_code": None, "signal": "SIGKILL", "reason": "killed"}, "killed"),
        ({"exit_code": None, "reason": "lost"}, "lost"),
    ],
)
def test_an_end_is_known_without_its_tail(changes: dict[str, Any], status: str) -> None:
    """News of an end give status and exit, and leave the tail to the log."""
    board = Board()
    board.apply(started("a"))
    command = board.apply(ended("a", **changes))

    assert info(board, "a").status == status
    assert command.exit is not None
    assert b"tail" not in command.exit
    assert (board.live, command.last_size) == (0, len(terminal(**changes)))
    assert board.last("a") == terminal(**changes)


def test_news_never_take_back() -> None:
    """An older end of the log or a second end changes nothing."""
    board = Board()
    board.apply(started("a"))
    board.apply(ended("a", exit_code=3))
    board.apply(News("a", end=5))
    board.apply(News("a", last=terminal(exit_code=4)))

    assert board.require("a").end == END
    exit_ = info(board, "a").exit
    assert exit_ is not None
    assert exit_.exit_code == 3
    assert board.live == 0


@pytest.mark.parametrize(
    "record",
    [
        b"",
        records.encode_base(1.0, END - 40, 0, 0),
        terminal()[:-1],
        terminal() + b"x",
        records.encode_json(records.EXITED, 1.0, {"reason": 7}),
    ],
)
def test_what_is_no_terminal_record_is_refused(record: bytes) -> None:
    """Bytes that are not exactly one terminal record raise ValueError."""
    board = Board()
    board.apply(started("a"))
    with pytest.raises(ValueError, match=r".+"):
        board.apply(News("a", end=END, last=record))

    assert board.live == 1


def test_segments_are_told_when_they_change() -> None:
    """The segments stay until news name others."""
    board = Board()
    board.apply(started("a"))
    assert board.require("a").segments == (0,)
    board.apply(News("a", end=500, segments=[0, 65536]))
    board.apply(News("a", end=600))

    assert board.require("a").segments == (0, 65536)


def test_who_is_not_there_is_not_found() -> None:
    """An unknown id raises CommandNotFound, one outside the grammar InvalidArgument."""
    board = Board()
    with pytest.raises(CommandNotFound):
        board.require("nobody")
    for bad in ("../../x", "$(x)", "a\n", "x" * 300, "", None, 7):
        with pytest.raises(InvalidArgument, match="process_id"):
            board.require(bad)


def test_pages_hold_every_command_once() -> None:
    """Following pages lists all commands in the order of their ids, also while others come."""
    board = Board()
    board.fill(Command(f"c{n:05}") for n in range(0, 5000, 2))
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page, after = board.page(after=after)
        assert 1 <= len(page) <= PAGE_LENGTH
        seen += [command.process_id for command in page]
        board.put(Command(f"a{len(seen)}"))

    assert seen == [f"c{n:05}" for n in range(0, 5000, 2)]


def test_pages_are_bounded_in_bytes() -> None:
    """Large specs make short pages, and a page holds one command at least."""
    board = Board()
    board.fill(Command(f"c{n}", b" " * 300_000) for n in range(3))

    assert [len(board.page(after=after)[0]) for after in ("", "c0", "c1")] == [1, 1, 1]
    assert board.page(after="c1")[1] is None


def test_pages_are_filtered() -> None:
    """Status, name and every tag must match."""
    board = Board()
    board.apply(started("a", name="n", tags={"k": "v", "l": "w"}))
    board.apply(started("b", name="n", tags={"k": "v"}))
    board.apply(started("c", name="m", tags={"k": "u"}))
    board.apply(ended("b"))

    def ids(**filters: Any) -> list[str]:
        return [command.process_id for command in board.page(**filters)[0]]

    assert ids(status="running") == ["a", "c"]
    assert ids(status="completed") == ["b"]
    assert ids(name="n") == ["a", "b"]
    assert ids(tags={"k": "v"}) == ["a", "b"]
    assert ids(tags={"k": "v", "l": "w"}) == ["a"]
    assert ids(name="n", status="running", tags={"k": "v"}) == ["a"]
    assert ids(name="") == []


def test_fill_and_put_keep_what_is_known() -> None:
    """A command that is known already is not replaced, and counted once."""
    board = Board()
    first = board.put(Command("a"))
    assert board.put(Command("a")) is first
    board.fill([Command("a"), Command("b")])

    assert board.get("a") is first
    assert (len(board), board.live) == (2, 2)


async def test_waiting_for_an_end_returns_with_the_news() -> None:
    """ended() returns when the end is told, at once when it was."""
    board = Board()
    command = board.apply(started("a"))
    waiting = [asyncio.create_task(board.ended(command)) for _ in range(2)]
    await asyncio.sleep(0)
    board.apply(ended("a"))
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*waiting)
        await board.ended(command)


async def test_a_cancelled_wait_leaves_nothing() -> None:
    """Cancelling ended() forgets the waiter and disturbs no other."""
    board = Board()
    command = board.apply(started("a"))
    first, second = (asyncio.create_task(board.ended(command)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert len(board._waiting) == 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)

    assert len(board._waiting) == 0


def test_terminal_records_at_hand_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest terminal records fall off above the bound; the commands stay."""
    monkeypatch.setattr(boards, "_LAST_BYTES", 2 * len(terminal()))
    board = Board()
    for name in "abc":
        board.apply(started(name))
        board.apply(ended(name))

    assert [board.last(name) is None for name in "abc"] == [True, False, False]
    assert len(board) == 3


def test_a_command_takes_little_memory() -> None:
    """A thousand ended commands with ordinary specs take at most 2 KiB each."""
    board = Board()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(1000):
        name = f"cmd_{n:026}"
        news = started(name, command="make -j4 all && make test", env_names=["A", "B"])
        raw = msgspec.Raw(bytes(bytearray(bytes(news.spec))))
        board.apply(News(name, raw, 70_000 + n, 1e9 + n, end=100_000 + n))
        board.apply(News(name, end=200_000 + n, last=terminal()))
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    kept = sum(len(record) for record in board._last.values())

    assert (after - before - kept) / 1000 <= 2048


async def test_command_forgotten_before_its_end_was_told_has_ended() -> None:
    """Forgotten while it counts as running, a command is lost to who waits, and counts no more."""
    board = Board()
    command = board.apply(started("one"), 3)
    waiting = asyncio.create_task(board.ended(command))
    await asyncio.sleep(0)
    board.forget("one", STARTED_AT + 2)
    async with asyncio.timeout(PATIENCE):
        await waiting

    assert (board.live, board.live_on[3], len(board)) == (0, 0, 0)
    exit_ = CommandInfo.from_dict(msgspec.json.decode(msgspec.json.encode(command.info()))).exit
    assert exit_ is not None
    assert (exit_.reason, exit_.exit_code, exit_.duration) == ("lost", None, 2.0)
