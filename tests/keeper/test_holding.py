"""Holding: a full log waits for its reader, and not longer than the reader's lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hopx_async.protocol import records
from tests.keeper.harness import keeper_process, output

if TYPE_CHECKING:
    from pathlib import Path

    from tests.keeper.harness import KeeperProcess

MIB = 1024 * 1024
SMALL: dict[str, Any] = {"retention_bytes": MIB, "segment_bytes": records.BLOCK}


def _fill(keeper: KeeperProcess) -> int:
    """Hold everything of a command that prints without end; return where its log stops."""
    keeper.start("a", "read x; exec yes", stdin=True)
    keeper.ask("hold", id="a", offset=0, seconds=60)
    keeper.ask("stdin", id="a", offset=0, data="Cg==", eof=True)
    return _full(keeper)


def _full(keeper: KeeperProcess) -> int:
    """Return where the log stops: where it stays while the keeper does something else."""
    keeper.wait(lambda: keeper.known["a"].get("end", 0) >= MIB // 2)
    end = 0
    while end != keeper.known["a"]["end"]:
        end = keeper.known["a"]["end"]
        assert end <= MIB
        keeper.run(f"other{end}", "true")
    return end


def _moved(keeper: KeeperProcess, end: int) -> int:
    """Let the reader have read all up to *end*; return how far the log goes when it goes on."""
    keeper.ask("hold", id="a", offset=end, seconds=60)
    keeper.wait(lambda: keeper.known["a"]["end"] > end)
    return int(keeper.known["a"]["end"])


def test_a_held_log_loses_nothing(tmp_path: Path) -> None:
    """The command waits at the bound, and goes on as far as its reader moves."""
    with keeper_process(tmp_path, **SMALL) as keeper:
        end = _fill(keeper)
        assert keeper.known["a"]["segments"] == list(range(0, end, records.BLOCK))
        keeper.ask("hold", id="a", offset=end, seconds=60)
        keeper.wait(lambda: keeper.known["a"]["end"] > end)
        keeper.ask("kill", id="a", grace=0)


def test_a_reader_that_moves_gets_everything(tmp_path: Path) -> None:
    """One read of a pipe may be more than there is room for: what had room is told at once."""
    with keeper_process(tmp_path, retention_bytes=MIB) as keeper:
        end = _fill(keeper)
        for _ in range(20):
            end = _moved(keeper, end)
        keeper.ask("kill", id="a", grace=0)


def test_a_first_reader_is_waited_for(tmp_path: Path) -> None:
    """What was started to wait does so from its start, and lets go when told that nobody reads."""
    with keeper_process(tmp_path, **SMALL) as keeper:
        keeper.start("a", "exec yes", overflow="wait")
        end = _full(keeper)
        keeper.ask("hold", id="a", offset=0, seconds=0)
        keeper.wait(lambda: keeper.known["a"]["end"] > end + 2 * MIB)
        assert keeper.known["a"]["segments"][1] > records.BLOCK
        keeper.ask("kill", id="a", grace=0)


def test_a_lease_runs_out(tmp_path: Path) -> None:
    """Nobody renews it: the command goes on by itself, and the oldest output is freed."""
    with keeper_process(tmp_path, **SMALL) as keeper:
        end = _fill(keeper)
        keeper.ask("hold", id="a", offset=0, seconds=0.2)
        keeper.wait(lambda: keeper.known["a"]["end"] > end + 4 * MIB)
        assert keeper.known["a"]["segments"][1] > records.BLOCK
        keeper.ask("kill", id="a", grace=0)
        assert keeper.ask("hold", id="a", offset=0, seconds=5)["ok"] == {}


def test_a_stopped_sandbox_does_not_wait_for_readers(tmp_path: Path) -> None:
    """The end of everything ends a command that is held, too, however often it is asked for."""
    with keeper_process(tmp_path, **SMALL) as keeper:
        _fill(keeper)
        assert keeper.root is not None
        keeper.root.send({"op": "stop", "grace": 0.0})
        assert keeper.stop(grace=0.0) == 0
    assert output(tmp_path, "a")[0].startswith(b"y\ny\n")


def test_a_hold_that_is_none_is_refused(tmp_path: Path) -> None:
    """Offset and seconds keep their rules."""
    with keeper_process(tmp_path) as keeper:
        for wrong in ({"offset": -1, "seconds": 1}, {"offset": 0, "seconds": 1e9}):
            assert keeper.ask("hold", id="a", **wrong)["error"]["code"] == "invalid_argument"
