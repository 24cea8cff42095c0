"""The keeper and cgroups: real ones as evidence in kills, and files in their place for the rest."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from hopx_async.keeper import proc
from tests.keeper.harness import keeper_process, output
from tests.support.cgroups import REAL, needs_cgroups, needs_memory, needs_pids

_REPOSITORY = Path(__file__).parents[2]

# A keeper that takes cgroups for cheap, in the places that the expression tells.
_PROGRAM = """
import sys
sys.path.insert(0, {repository!r})
from pathlib import Path
from hopx_async.keeper import keeper
from hopx_async.keeper.cgroup import find_places
from tests.support.cgroups import fake_places
places = {places}
places.cheap = True
keeper.find_places = lambda: places
sys.exit(keeper.main(sys.argv[1:]))
"""
# Without mark, variable, session and parent: nothing but a cgroup tells whose it is.
_HIDDEN = """
ulimit -S -x 4711
env -i setsid sh -c 'sleep 300 >/dev/null 2>&1 & echo $! >&3' 3>&1
"""

_MANY = """
import os, time
made = 0
try:
    while made < 20:
        if os.fork() == 0:
            time.sleep(300)
        made += 1
except OSError:
    os._exit(made)
"""


def program(places: str) -> tuple[str, str]:
    """Return what runs a keeper with these places."""
    return "-c", _PROGRAM.format(repository=str(_REPOSITORY), places=places)


def left_of_cgroups() -> list[Path]:
    """Return the cgroups of keepers that are there."""
    return [path for place in REAL.all for path in Path(place).glob("hopx-*")]


@needs_cgroups
def test_what_hides_from_ancestry_is_killed_in_its_cgroup(tmp_path: Path) -> None:
    """A process without any mark of its command is found, killed, and the answer says how."""
    before = left_of_cgroups()
    with keeper_process(tmp_path, program("find_places()")) as keeper:
        keeper.start("hides", f"{_HIDDEN}\nexec sleep 300")
        keeper.wait_for_output("hides", b"\n")
        hidden = int(output(tmp_path, "hides")[0])
        assert proc.read_stat(hidden) is not None
        assert proc.read_mark(hidden) == 4711
        answer = keeper.ask("kill", id="hides", grace=0.0)
        assert answer["ok"] == {"survivors": [], "means": "cgroup"}
        stat = proc.read_stat(hidden)
        assert stat is None or stat.dead
        assert keeper.end_of("hides")["reason"] == "killed"
    assert left_of_cgroups() == before


@needs_pids
def test_a_limit_of_processes_is_kept(tmp_path: Path) -> None:
    """With a limit the command can be so many and no more; its cgroup goes with it."""
    before = left_of_cgroups()
    with keeper_process(tmp_path) as keeper:
        started = keeper.start("many", [sys.executable, "-c", _MANY], limits={"processes": 4})
        assert "ok" in started, started
        end = keeper.end_of("many")
        assert (end["exit_code"], end["survivors"]) == (3, 3)
        answer = keeper.ask("kill", id="many", grace=0.0)
        assert answer["ok"] == {"survivors": [], "means": "cgroup"}
        assert keeper.run("one", ["true"])["exit_code"] == 0
    assert left_of_cgroups() == before


@pytest.mark.parametrize(("asked", "reason"), [(False, "oom_killed"), (True, "signaled")])
def test_a_kill_for_lack_of_memory_is_told(tmp_path: Path, asked: bool, reason: str) -> None:
    """A SIGKILL while the cgroup counts one is the kernel's, unless somebody asked for one."""
    (tmp_path / "cg").mkdir()
    fake = program(f"fake_places(Path({str(tmp_path / 'cg')!r}))")
    with keeper_process(tmp_path / "state", fake) as keeper:
        pid = keeper.start("full", ["sleep", "300"])["ok"]["pid"]
        (group,) = (tmp_path / "cg").glob("hopx-*/full")
        (group / "memory.events").write_text("oom 1\noom_kill 1\n")
        if asked:
            keeper.ask("signal", id="full", signal_id="s", name="SIGKILL")
        else:
            os.kill(pid, signal.SIGKILL)
        end = keeper.end_of("full")
        assert (end["reason"], end["signal"], end["exit_code"]) == (reason, "SIGKILL", None)


def test_a_kill_from_outside_is_not_for_lack_of_memory(tmp_path: Path) -> None:
    """Where nothing counts, a SIGKILL is a signal and no more is said."""
    with keeper_process(tmp_path) as keeper:
        pid = keeper.start("shot", ["sleep", "300"])["ok"]["pid"]
        os.kill(pid, signal.SIGKILL)
        assert keeper.end_of("shot")["reason"] == "signaled"


# A keeper that lives where memory is short.
_SHORT = """
import sys
sys.path.insert(0, {repository!r})
from hopx_async.keeper import keeper
with open({procs!r}, "w") as procs:
    procs.write("0")
sys.exit(keeper.main(sys.argv[1:]))
"""
_HUNGRY = "held = []\nwhile True: held.append(bytearray(16 << 20))"


@needs_memory
def test_the_kernel_is_believed_where_memory_runs_out(tmp_path: Path) -> None:
    """A command that takes all memory is ended by the kernel itself, and the end says so."""
    short = Path(f"{REAL.memory}/hopx-short-{os.getpid()}")
    short.mkdir()
    try:
        (short / "memory.limit_in_bytes").write_text(str(256 << 20))
        runs = _SHORT.format(repository=str(_REPOSITORY), procs=str(short / "cgroup.procs"))
        with keeper_process(tmp_path, ("-c", runs)) as keeper:
            started = keeper.start(
                "hungry", [sys.executable, "-c", _HUNGRY], limits={"processes": 50}
            )
            assert "ok" in started, started
            end = keeper.end_of("hungry")
            assert (end["reason"], end["signal"]) == ("oom_killed", "SIGKILL")
            assert keeper.run("modest", ["true"])["exit_code"] == 0
    finally:
        short.rmdir()
