"""Holds: keepers are told of readers of commands that wait, and of nothing else."""

from __future__ import annotations

import asyncio

import msgspec

from hopx_async.agent.board import Board, Command
from hopx_async.agent.holds import Holds
from hopx_async.errors import AgentFault
from hopx_async.protocol.leases import LEASE_STEP, Hold
from hopx_async.protocol.lifecycle import LEASE_SECONDS

KEPT = 64 * LEASE_STEP


class _Keeper:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, bool]] = []
        self.gone = False

    async def tell(self, command: Command, hold: Hold) -> None:
        await asyncio.sleep(0)
        if self.gone:
            raise AgentFault("gone", status=503)
        self.told.append((command.process_id, hold.offset, hold.seconds > 0))


def _board() -> Board:
    board = Board()
    for name, overflow in (("waits", "wait"), ("drops", "drop")):
        spec = msgspec.json.encode({"process_id": name, "overflow": overflow})
        board.put(Command(name, spec)).end = 10 * LEASE_STEP
    return board


async def _settled(holds: Holds) -> None:
    while holds._tasks:
        await asyncio.gather(*holds._tasks.values())


async def test_only_commands_that_wait_are_held() -> None:
    """joined says whether moves matter; the keeper hears of the reader until it leaves."""
    keeper = _Keeper()
    holds = Holds(_board(), KEPT, keeper.tell)

    assert not holds.joined((1, 1), "drops", 0)
    assert not holds.joined((1, 2), "nobody", 0)
    assert holds.joined((1, 3), "waits", 100)
    await _settled(holds)
    holds.moved((1, 3), "waits", 100 + 2 * LEASE_STEP)
    await _settled(holds)
    holds.left((1, 3), "waits")
    await _settled(holds)

    far = 100 + 2 * LEASE_STEP
    assert keeper.told == [("waits", 100, True), ("waits", far, True), ("waits", 0, False)]
    assert len(holds) == 0
    await holds.aclose()


async def test_what_changes_while_one_is_told_is_told_once() -> None:
    """A fast reader does not queue a message for each of its moves."""
    keeper = _Keeper()
    holds = Holds(_board(), KEPT, keeper.tell)
    holds.joined((1, 1), "waits", 0)
    for step in range(1, 10):
        holds.moved((1, 1), "waits", step * LEASE_STEP)
    await _settled(holds)

    assert keeper.told == [("waits", 9 * LEASE_STEP, True)]
    await holds.aclose()


async def test_a_keeper_that_has_gone_is_no_fault() -> None:
    """Its commands end with it; what cannot be told is dropped."""
    keeper = _Keeper()
    keeper.gone = True
    holds = Holds(_board(), KEPT, keeper.tell)
    holds.joined((1, 1), "waits", 0)
    await _settled(holds)

    assert not holds._tasks
    assert not holds._wanted
    await holds.aclose()


async def test_a_reader_at_the_end_is_looked_after() -> None:
    """The lease of one that waits for output is renewed by the clock; an ended command is left."""
    keeper = _Keeper()
    board = _board()
    holds = Holds(board, KEPT, keeper.tell)
    holds.joined((1, 1), "waits", 10 * LEASE_STEP)
    await _settled(holds)
    reader = holds._leases["waits"]._readers[1, 1]
    reader.until -= LEASE_SECONDS / 2
    before = reader.until
    holds._look()
    assert reader.until > before

    command = board.get("waits")
    assert command is not None
    command.exit = b"{}"
    holds._look()
    assert len(holds) == 0
    await holds.aclose()
