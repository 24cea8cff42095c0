"""Kills with proof, on a real keeper."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hopx_async.keeper import proc
from hopx_async.keeper.kill import Killer
from hopx_async.keeper.loop import Loop
from tests.keeper.harness import NONCE, KeeperProcess, keeper_process, output, running
from tests.keeper.root_harness import eventually

if TYPE_CHECKING:
    from hopx_async.keeper.scan import Found, Wanted

# A daemon as stubborn as they come: double fork, own session, no environment, TERM ignored.
_STUBBORN = "trap '' TERM HUP; echo $$ >> pids; echo up > up; while :; do sleep 0.05; done"
_DAEMON = f'(env -i setsid sh -c "{_STUBBORN}" &) ; exit 0'.replace("$$", "\\$\\$")


def _pids(directory: Path) -> list[int]:
    return [int(line) for line in (directory / "pids").read_text().split()]


def test_kill_of_a_plain_command(keeper: KeeperProcess) -> None:
    """A kill ends a command by TERM, proves it, and the reason is killed."""
    keeper.start("a", "sleep 60 & sleep 60; echo never")
    answer = keeper.ask("kill", id="a", grace=30.0)
    exit_ = keeper.end_of("a")

    assert answer["ok"] == {"survivors": [], "means": "ancestry"}
    assert (exit_["reason"], exit_["signal"]) == ("killed", "SIGTERM")


def test_grace_lets_a_command_tidy_up(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A command that ends on TERM in time is not sent KILL, and gets TERM once."""
    script = "trap 'echo term' TERM; echo up; while ! [ -e go ]; do sleep 0.05; done"
    keeper.start("a", script)
    keeper.wait_for_output("a", b"up")
    rid = keeper.send("kill", id="a", grace=30.0)
    keeper.wait_for_output("a", b"term")
    # By the time of this answer the scan's round is over.
    keeper.ask("kill", id="never", grace=30.0)
    keeper.run("pause", "sleep 0.2")
    (tmp_path / "go").touch()
    keeper.wait(lambda: rid in keeper.replies)
    exit_ = keeper.end_of("a")

    assert output(tmp_path, "a")[0] == b"up\nterm\n"
    assert (exit_["exit_code"], exit_["reason"]) == (0, "killed")


@pytest.mark.parametrize("hidden", ["", "setsid -w "])
def test_kill_reaches_who_is_stopped(keeper: KeeperProcess, tmp_path: Path, hidden: str) -> None:
    """A stopped process goes on to hear of TERM, in the leader's group and elsewhere."""
    text = "trap 'echo told; exit 3' TERM; echo up; kill -STOP $$; echo on; sleep 60; echo never"
    (tmp_path / "stops").write_text(text)
    keeper.start("a", f"{hidden}sh stops; exit $?")
    keeper.wait_for_output("a", b"up")
    stopped = lambda: [found for found in proc.pids() if _is_stopped(found, "stops")]  # noqa: E731
    [pid] = eventually(stopped)
    # An hour of grace: KILL is not what ends it.
    keeper.ask("kill", id="a", grace=3600.0)

    assert b"told\n" in output(tmp_path, "a")[0]
    assert not running(pid)


def _is_stopped(pid: int, argument: str) -> bool:
    try:
        told = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return argument.encode() in told and ") T " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_kill_finds_who_hides(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A double fork with setsid, env -i and TERM ignored is ended by kill(grace=0.3)."""
    exit_ = keeper.run("a", _DAEMON)
    eventually((tmp_path / "up").exists)
    [pid] = _pids(tmp_path)
    assert exit_["survivors"] >= 1
    assert "HOPX" not in Path(f"/proc/{pid}/environ").read_text()
    answer = keeper.ask("kill", id="a", grace=0.3)

    assert answer["ok"]["survivors"] == []
    assert not running(pid)


def test_kill_without_grace(keeper: KeeperProcess) -> None:
    """grace=0 sends KILL at once."""
    keeper.start("a", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    keeper.wait_for_output("a", b"up")
    keeper.ask("kill", id="a", grace=0)

    assert keeper.end_of("a")["signal"] == "SIGKILL"


def test_shorter_grace_holds(keeper: KeeperProcess) -> None:
    """A second kill joins the first and shortens its grace; both are answered."""
    keeper.start("a", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    keeper.wait_for_output("a", b"up")
    first = keeper.send("kill", id="a", grace=3600.0)
    keeper.ask("kill", id="a", grace=0.0)
    keeper.wait(lambda: first in keeper.replies)

    assert keeper.replies[first]["ok"]["survivors"] == []


def test_longer_grace_does_not_prolong(keeper: KeeperProcess) -> None:
    """A second kill with more grace leaves the first one's deadline."""
    keeper.start("a", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    keeper.wait_for_output("a", b"up")
    keeper.send("kill", id="a", grace=0.2)
    answer = keeper.ask("kill", id="a", grace=3600.0)

    assert answer["ok"]["survivors"] == []


def test_kill_of_what_has_ended_or_never_was(keeper: KeeperProcess) -> None:
    """A kill finds nobody and is no error."""
    keeper.run("a", "true")

    for process_id in ("a", "never"):
        answer = keeper.ask("kill", id=process_id, grace=5.0)
        assert answer["ok"] == {"survivors": [], "means": "ancestry"}


def test_kill_spares_others(keeper: KeeperProcess) -> None:
    """A kill does not touch another command, be its id ever so similar."""
    for process_id in ("a", "ab", "b"):
        keeper.start(process_id, "exec sleep 60")
    keeper.ask("kill", id="a", grace=5.0)

    assert running(keeper.known["ab"]["pid"])
    assert running(keeper.known["b"]["pid"])


def test_same_id_in_another_sandbox_is_another_command(tmp_path: Path) -> None:
    """Two sandboxes with the same process id do not touch each other."""
    with (
        keeper_process(tmp_path / "one", sandbox_id=f"{NONCE}_one") as one,
        keeper_process(tmp_path / "two", sandbox_id=f"{NONCE}_two") as two,
    ):
        for keeper in (one, two):
            keeper.run("a", _DAEMON)
            eventually((keeper.state_dir / "up").exists)
        one.ask("kill", id="a", grace=0.0)
        assert not running(_pids(tmp_path / "one")[0])
        assert running(_pids(tmp_path / "two")[0])
        two.ask("kill", id="a", grace=0.0)
        assert not running(_pids(tmp_path / "two")[0])


def test_many_kills_share_a_scan(keeper: KeeperProcess) -> None:
    """Kills that come together are served by scans together."""
    ids = [f"k{number}" for number in range(40)]
    for process_id in ids:
        keeper.start(process_id, "exec sleep 60")
    before = len(keeper.root_said)
    rids = [keeper.send("kill", id=process_id, grace=30.0) for process_id in ids]
    keeper.wait(lambda: all(rid in keeper.replies for rid in rids))

    scans = [message for message in keeper.root_said[before:] if message["op"] == "scan"]
    assert len(scans) < 20
    assert {keeper.end_of(process_id)["reason"] for process_id in ids} == {"killed"}


def test_kill_gives_up_and_says_who_is_left() -> None:
    """When somebody does not go, a kill ends with naming him."""
    loop = Loop()
    me = os.getpid()
    left: list[list[tuple[int, str]]] = []

    def look(wanted: Wanted) -> Found:
        return {process_id: [(me, 1, "me")] for process_id in wanted}

    killer = Killer(loop, lambda _wanted: None, look, {}, lambda _process_id: [])
    killer.kill("a", 0.0, left.append)
    kill = killer._kills["a"]
    # The start time is wrong, so it is taken for gone, and the next scan is asked for.
    killer.scanned({"a": [(me, 1, "me")]})
    kill._give_up()
    loop._epoll.close()

    assert left == [[(me, "me")]]
    assert killer._kills == {}


def test_kill_looks_twice() -> None:
    """A kill is proven by two looks in a row that find nobody, not by one."""
    loop = Loop()
    left: list[list[tuple[int, str]]] = []
    asked: list[Wanted] = []
    killer = Killer(loop, asked.append, lambda _wanted: {}, {}, lambda _process_id: [])
    killer.kill("a", 5.0, left.append)
    killer.scanned({"a": []})
    assert left == []
    killer.scanned({"a": []})
    loop._epoll.close()

    assert left == [[]]
    assert [set(wanted) for wanted in asked] == [{"a"}, {"a"}]


def test_fork_bomb_ends(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A command that replaces itself again and again is ended all the same."""
    (tmp_path / "f").write_text("echo x > up; sleep 0.02; sh f & exit 0\n")
    keeper.run("a", ["sh", "-c", "sh f & sh f & sh f & exit 0"])
    eventually((tmp_path / "up").exists)

    assert keeper.ask("kill", id="a", grace=0.2)["ok"]["survivors"] == []
