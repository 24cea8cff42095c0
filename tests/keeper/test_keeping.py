"""Keeping: bounds on bytes, count and age, by real keepers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hopx_async.keeper.keeping import Keeping
from hopx_async.protocol import records
from tests.keeper.harness import keeper_process

if TYPE_CHECKING:
    from pathlib import Path

    from tests.keeper.harness import KeeperProcess

MIB = 1024 * 1024
_NOTHING: dict[str, Any] = {"op": "kept", "commands": 0, "forgotten": 0}


def _ids(state: Path) -> set[str]:
    parsed = (records.parse_segment_name(path.name) for path in (state / "logs").iterdir())
    return {one[0] for one in parsed if one is not None}


def _size(state: Path) -> int:
    return sum(path.stat().st_size for path in (state / "logs").iterdir())


def _gone(keeper: KeeperProcess) -> list[str]:
    """Return the ids of which the keeper has told that they were forgotten, in order."""
    return [one["id"] for one in keeper.news if "gone" in one]


def _kept(keeper: KeeperProcess) -> dict[str, Any]:
    """Return what the keeper has told the root last of what it holds."""
    return next((one for one in reversed(keeper.root_said) if one["op"] == "kept"), _NOTHING)


def _run_many(keeper: KeeperProcess, count: int) -> list[str]:
    names = [f"c{number:03}" for number in range(count)]
    for name in names:
        keeper.run(name, "echo x")
    return names


def test_only_so_many_ended_commands_are_kept(tmp_path: Path) -> None:
    """Beyond the count the oldest are forgotten, and the agent is told; one that runs stays."""
    with keeper_process(tmp_path, keep_commands=5) as keeper:
        keeper.start("runs", "sleep 60")
        names = _run_many(keeper, 12)
        keeper.wait(lambda: len(_gone(keeper)) == 7)

        assert _gone(keeper) == names[:7]
        assert _ids(tmp_path) == {"runs", *names[7:]}


def test_they_are_kept_for_so_long(tmp_path: Path) -> None:
    """A command is forgotten when its time is over, without anybody asking."""
    with keeper_process(tmp_path, keep_seconds=0.5) as keeper:
        names = _run_many(keeper, 2)
        keeper.wait(lambda: len(_gone(keeper)) == 2)

        assert _gone(keeper) == names
        assert _ids(tmp_path) == set()


def test_the_oldest_logs_give_way_to_new_output(tmp_path: Path) -> None:
    """Within the bound of the whole sandbox, ended commands are forgotten first."""
    with keeper_process(tmp_path, keep_bytes=2 * MIB, segment_bytes=records.BLOCK) as keeper:
        for number in range(6):
            keeper.run(f"c{number}", f"head -c {MIB} /dev/zero")
        keeper.wait(lambda: len(_gone(keeper)) >= 4)

        assert _ids(tmp_path) <= {"c4", "c5"}
        assert _size(tmp_path) <= 2 * MIB + records.BLOCK


def test_running_commands_share_the_bound(tmp_path: Path) -> None:
    """Where all run, the largest logs lose their oldest segments, however large those are."""
    with keeper_process(tmp_path, keep_bytes=4 * MIB) as keeper:
        for name in ("a", "b"):
            keeper.start(name, f"head -c {20 * MIB} /dev/zero; echo > {name}; echo; sleep 60")
        keeper.wait(lambda: all((tmp_path / name).exists() for name in ("a", "b")))

        # A turn of the loop may write a mebibyte for each of them.
        assert _size(tmp_path) <= 4 * MIB + 2 * MIB + 8 * records.BLOCK
        assert all(keeper.known[name]["segments"][0] == 0 for name in ("a", "b"))


def test_a_new_keeper_knows_what_is_kept(tmp_path: Path) -> None:
    """After a restart the count and the bytes go on from what is there, tombstones included."""
    with keeper_process(tmp_path, keep_commands=5) as keeper:
        _run_many(keeper, 7)
        keeper.wait(lambda: len(_gone(keeper)) == 2)
    with keeper_process(tmp_path, keep_commands=3) as keeper:
        keeper.run("last", "true")
        keeper.wait(lambda: len(_gone(keeper)) == 3)
        assert _ids(tmp_path) == {"c005", "c006", "last"}

    lines = [json.loads(line) for line in (tmp_path / "index.1").read_text().splitlines()]
    assert [line["id"] for line in lines if "gone" in line] == [f"c00{i}" for i in range(5)]


def test_a_smaller_share_is_kept_at_once(tmp_path: Path) -> None:
    """When another keeper comes, the share gets smaller and what is too much goes."""
    with keeper_process(tmp_path) as keeper:
        _run_many(keeper, 6)
        assert keeper.root is not None
        keeper.root.send({"op": "share", "keep_bytes": MIB, "keep_commands": 2})
        keeper.wait(lambda: len(_gone(keeper)) == 4)
        assert _ids(tmp_path) == {"c004", "c005"}


def test_a_keeper_gives_way_as_often_as_it_is_told(tmp_path: Path) -> None:
    """Told how many are to be forgotten in all, it forgets the oldest; told again, no more."""
    with keeper_process(tmp_path) as keeper:
        names = _run_many(keeper, 6)
        assert keeper.root is not None
        share = {"op": "share", "keep_bytes": MIB, "keep_commands": 6}
        for until in (2, 2, 3):
            keeper.root.send({**share, "until": until})
        keeper.wait(lambda: _kept(keeper)["forgotten"] == len(_gone(keeper)) == 3)

        assert _gone(keeper) == names[:3]
        assert _kept(keeper)["commands"] == 3
        assert _ids(tmp_path) == set(names[3:])
        keeper.root.send({**share, "until": 99})
        keeper.wait(lambda: _kept(keeper)["forgotten"] == 6)
        assert _kept(keeper)["oldest"] is None


def test_a_keeper_tells_what_it_holds(tmp_path: Path) -> None:
    """The root hears of each hundredth part of the share, and at once of what was found."""
    with keeper_process(tmp_path, keep_commands=200) as keeper:
        _run_many(keeper, 3)
        keeper.wait(lambda: _kept(keeper)["commands"] == 2)
        oldest = _kept(keeper)["oldest"]
        assert oldest[0] == 2
        assert keeper.root is not None
        keeper.root.send({"op": "ping"})
        keeper.wait(lambda: {"op": "pong"} in keeper.root_said)
        told = _kept(keeper)
        assert told == {"op": "kept", "commands": 3, "bytes": _size(tmp_path), "forgotten": 0} | {
            "oldest": oldest
        }
    with keeper_process(tmp_path) as keeper:
        assert _kept(keeper)["commands"] == 3
        assert keeper.root_said.index(_kept(keeper)) < keeper.root_said.index({"op": "ready"})


def test_a_keeper_that_finds_nothing_tells_so(tmp_path: Path) -> None:
    """In the place of one that told something, it holds nothing, and cannot give way."""
    with keeper_process(tmp_path) as keeper:
        assert keeper.root_said[0] == {**_NOTHING, "bytes": 0, "oldest": None}


class _Log:
    """A log that has nothing to free, and counts how often it was looked at."""

    def __init__(self) -> None:
        self.looks = 0

    @property
    def kept_bytes(self) -> int:
        self.looks += 1
        return MIB

    def shrink(self) -> bool:
        return False


def test_a_share_makes_a_keeper_try_again_only_if_it_is_much_smaller() -> None:
    """Where nothing can be freed, the commands are not looked through after each message."""
    log, store = _Log(), SimpleNamespace(kept_bytes=100 * MIB)
    host: Any = SimpleNamespace(
        store=store, index=SimpleNamespace(size=0), commands={"a": SimpleNamespace(log=log)}
    )
    bounds: dict[str, Any] = {"keep_bytes": 90 * MIB, "keep_commands": 9, "keep_seconds": 1.0}
    keeping = Keeping(host, lambda _: None, **bounds)
    looked = []
    for keep in (90, 89.5, 90, 95, 89.5, 80, 79.5, 89.5, 80):
        keeping.share({"keep_bytes": int(keep * MIB), "keep_commands": 9, "until": 0})
        log.looks = 0
        keeping.tidy()
        looked.append(log.looks > 0)
    assert looked == [True, False, False, False, False, True, False, False, False]
    store.kept_bytes += MIB
    log.looks = 0
    keeping.tidy()
    assert log.looks
