"""How keepers share what a sandbox may keep: simulated, with reports that come late."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.keeper.shares import Shares

NOTHING = {"commands": 0, "bytes": 0, "forgotten": 0, "oldest": None}


class Keeper:
    """Keeps as a keeper does: its share, then what it is told to give; reports each hundredth."""

    def __init__(self, share: dict[str, int]) -> None:
        self.ended: deque[int] = deque()
        self.forgotten = 0
        self.moves = 0
        self.share = share

    def take(self, share: dict[str, int]) -> None:
        self.share = share
        while self.ended and self.forgotten < share["until"]:
            self.forget()

    def end(self, at: int) -> None:
        self.ended.append(at)
        self.moves += 1
        while len(self.ended) > self.share["keep_commands"]:
            self.forget()

    def forget(self) -> None:
        self.ended.popleft()
        self.forgotten += 1
        self.moves += 1

    def held(self) -> dict[str, Any]:
        count = min(len(self.ended), max(1, self.share["keep_commands"] // 100))
        oldest = (count, float(self.ended[count - 1])) if count else None
        return {**NOTHING, "commands": len(self.ended), "forgotten": self.forgotten} | {
            "oldest": oldest
        }


class Sandbox:
    """A root with keepers, each of which it hears of after so many ends."""

    def __init__(self, most: int, *, lag: int) -> None:
        self.most = most
        self.shares = Shares(most, 1 << 30)
        self.keepers: dict[int, Keeper] = {}
        self.lag = lag
        self.at = 0
        self.largest = 0

    def more(self) -> None:
        number = len(self.keepers) + 1
        self.shares.add(number)
        self.keepers[number] = Keeper(self.shares.of_all(())[number])

    def end(self, number: int, count: int = 1) -> None:
        for _ in range(count):
            self.at += 1
            self.keepers[number].end(self.at)
            self.largest = max(self.largest, self.kept)
            if self.keepers[number].moves >= self.lag:
                self.hear(number)

    def hear(self, number: int) -> None:
        """Hear of a keeper, and of all that this makes others tell."""
        heard = {number}
        while heard:
            for one in heard:
                self.keepers[one].moves = 0
                self.shares.told(one, self.keepers[one].held())
            heard = set()
            for one, share in self.shares.of_all(self.keepers).items():
                before = self.keepers[one].forgotten
                self.keepers[one].take(share)
                if self.keepers[one].forgotten > before:
                    heard.add(one)

    @property
    def kept(self) -> int:
        return sum(len(keeper.ended) for keeper in self.keepers.values())

    def gone(self) -> list[int]:
        """Return which have been forgotten, by their turn."""
        kept = {at for keeper in self.keepers.values() for at in keeper.ended}
        return [at for at in range(1, self.at + 1) if at not in kept]


def test_one_keeper_has_it_all() -> None:
    """Alone, a keeper may keep what the sandbox may, whatever it holds."""
    shares = Shares(10, 1000)
    shares.add(1)
    shares.told(1, {**NOTHING, "commands": 11, "bytes": 1200, "oldest": (1, 1.0)})

    assert shares.of_all({1}) == {1: {"keep_commands": 10, "keep_bytes": 1000, "until": 0}}


def test_nothing_is_forgotten_for_a_second_keeper() -> None:
    """A keeper that comes when nearly all is used takes nothing of the first; then the oldest."""
    sandbox = Sandbox(10_000, lag=100)
    sandbox.more()
    sandbox.end(1, 9_900)
    sandbox.more()
    sandbox.end(2, 100)
    assert sandbox.gone() == []
    sandbox.end(2, 3_000)
    assert sandbox.gone() == list(range(1, 3_001))


def test_one_that_has_all_the_load_keeps_all() -> None:
    """Beside an idle keeper, one keeper keeps the whole number."""
    sandbox = Sandbox(1_000, lag=10)
    sandbox.more()
    sandbox.more()
    sandbox.end(2, 3_000)
    sandbox.hear(2)
    assert sandbox.kept == 1_000


@given(
    most=st.integers(1, 500),
    turns=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 400)), max_size=20),
)
def test_the_last_are_kept_and_the_bound_as_well(most: int, turns: list[tuple[int, int]]) -> None:
    """However the load moves, what is forgotten is old, and the whole keeps within its bound."""
    lag = max(1, most // 100)
    sandbox = Sandbox(most, lag=lag)
    for _ in range(3):
        sandbox.more()
    for number, count in turns:
        sandbox.end(number, count)
    # Each keeper forgets a few together, and one that is heard of late a few too early.
    few = 3 * 2 * lag
    assert [at for at in sandbox.gone() if at > sandbox.at - most + few] == []
    for number in sandbox.keepers:
        sandbox.hear(number)
    assert sandbox.kept == min(most, sandbox.at)
    assert sandbox.largest <= most + max(4, most // 25) + few


def test_one_that_does_not_answer_leaves_the_others_their_even_share() -> None:
    """Where the oldest are with a keeper that is stalled, the others keep an even share."""
    shares = Shares(100, 1000)
    shares.add(1)
    shares.add(2)
    shares.told(1, {**NOTHING, "commands": 100, "oldest": (1, 1.0)})
    shares.told(2, {**NOTHING, "commands": 60, "oldest": (1, 2.0), "forgotten": 7})
    told = shares.of_all({2})

    assert told[2] == {"keep_commands": 60, "keep_bytes": 1040, "until": 8}
    assert told[1]["until"] == 0
    shares.told(2, {**NOTHING, "commands": 3})
    assert shares.of_all({2})[2]["keep_commands"] == 50


@pytest.mark.parametrize(
    ("oldest", "share"),
    [((2, 5.0), {"keep_bytes": 900, "until": 2}), (None, {"keep_bytes": 800, "until": 0})],
)
def test_bytes_beyond_the_bound_are_freed(
    oldest: tuple[int, float] | None, share: dict[str, int]
) -> None:
    """Ended commands go first; where there are none, the largest frees what is too much."""
    shares = Shares(100, 1000)
    shares.add(1)
    shares.add(2)
    shares.told(1, {**NOTHING, "bytes": 900, "oldest": oldest})
    shares.told(2, {**NOTHING, "bytes": 200})
    told = shares.of_all({1, 2})

    assert {name: told[1][name] for name in share} == share
    assert told[2]["keep_bytes"] == 500


def test_a_new_keeper_in_a_place_has_what_the_old_one_left() -> None:
    """What a keeper has told holds until the one in its place tells otherwise."""
    shares = Shares(1_000, 1000)
    shares.add(1)
    shares.add(2)
    shares.told(2, {**NOTHING, "commands": 700})
    shares.add(2)

    assert shares.of_all(())[2]["keep_commands"] >= 700
