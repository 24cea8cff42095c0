"""Tests of hopx_async.agent.errands: calls side by side, bounded, answered; how they end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent import errands as module
from hopx_async.agent.errands import Errands
from hopx_async.errors import NotFoundError, RemoteProtocolError
from hopx_async.protocol import wire
from hopx_async.protocol.peer import Peer
from hopx_async.testing.memory_log import MemoryLogs
from tests.agent.harness import greeting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Slow:
    """Calls that are answered when they are let."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.let = asyncio.Event()

    async def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.begun.append(method)
        await self.let.wait()
        if method == "missing":
            raise NotFoundError("no such thing")
        return {"method": method}


class Desk:
    """Errands over a peer, and how often they rang."""

    def __init__(self) -> None:
        self.calls = Slow()
        self.peer = Peer(MemoryLogs())
        self.rings = 0
        self.errands = Errands(self.calls, self.peer, self._ring)  # type: ignore[arg-type]

    def _ring(self) -> None:
        self.rings += 1

    def replies(self) -> list[wire.Reply]:
        """Return the answers that wait to be sent."""
        found: list[wire.Reply] = []
        while isinstance(frame := self.peer.next_frame(), str):
            found += [one for one in wire.decode_agent(frame) if isinstance(one, wire.Reply)]
        self.errands.sent()
        return found


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Lay out a desk."""
    desk = Desk()
    yield desk
    await desk.errands.aclose()


async def test_calls_are_answered(desk: Desk) -> None:
    """Each call gets its result or its error, and rings when it has."""
    desk.errands.receive(greeting(wire.Call(1, "one", {}), wire.Call(2, "missing", {})))
    desk.calls.let.set()
    before = desk.rings
    while len(desk.errands._under_way):
        await asyncio.sleep(0)
    one, two = desk.replies()

    assert (one.call, one.result) == (1, {"method": "one"})
    assert (two.call, two.result) == (2, None)
    assert two.error is not None
    assert two.error["code"] == "not_found"
    assert desk.rings > before


async def test_calls_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls beyond the bound wait in order; there is room when all have begun and one has ended."""
    monkeypatch.setattr(module, "_MAX_CALLS", 2)
    assert desk.errands.has_room
    desk.errands.receive(greeting(*[wire.Call(n, f"m{n}", {}) for n in range(5)]))
    room = asyncio.create_task(desk.errands.room())
    for _ in range(20):
        await asyncio.sleep(0)
    assert desk.calls.begun == ["m0", "m1"]
    assert not room.done()
    desk.calls.let.set()
    await room

    assert desk.calls.begun == [f"m{n}" for n in range(5)]


async def test_the_bytes_of_calls_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large calls under way leave no room for more."""
    monkeypatch.setattr(module, "_MAX_CALL_BYTES", 100_000)
    desk.errands.receive(greeting(wire.Call(1, "one", {"x": "y" * 100_000})))
    assert not desk.errands.has_room
    desk.calls.let.set()
    await desk.errands.room()

    assert desk.errands.has_room


async def test_unread_answers_leave_no_room(desk: Desk) -> None:
    """While answers fill the peer nothing is begun; it goes on when they have left."""
    desk.errands.receive(greeting())
    for _ in range(5):
        desk.peer.reply(7, "x" * 1_000_000)
    desk.errands.receive(wire.encode([wire.Call(1, "one", {})]))
    room = asyncio.create_task(desk.errands.room())
    for _ in range(20):
        await asyncio.sleep(0)
    assert (desk.calls.begun, room.done()) == ([], False)
    desk.replies()
    desk.calls.let.set()
    await room

    assert desk.calls.begun == ["one"]


async def test_waiting_for_room_can_be_cancelled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """room that is cancelled loses no call."""
    monkeypatch.setattr(module, "_MAX_CALLS", 1)
    desk.errands.receive(greeting(wire.Call(1, "one", {}), wire.Call(2, "two", {})))
    room = asyncio.create_task(desk.errands.room())
    await asyncio.sleep(0)
    room.cancel()
    await asyncio.wait([room])
    desk.calls.let.set()
    await desk.errands.room()

    assert desk.calls.begun == ["one", "two"]


async def test_closing_cancels_calls(desk: Desk) -> None:
    """aclose leaves no call under way, and none that waits."""
    desk.errands.receive(greeting(*[wire.Call(n, "m", {}) for n in range(600)]))
    await asyncio.sleep(0)
    await desk.errands.aclose()

    assert len(desk.calls.begun) == module._MAX_CALLS
    assert desk.replies() == []


async def test_a_frame_against_the_protocol_begins_nothing(desk: Desk) -> None:
    """A frame that breaks the protocol is told to who received it."""
    with pytest.raises(RemoteProtocolError, match="hello"):
        desk.errands.receive(wire.encode([wire.Call(1, "one", {})]))

    assert desk.calls.begun == []
