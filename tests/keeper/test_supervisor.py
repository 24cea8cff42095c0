from __future__ import annotations

import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.keeper.harness import read_log, running
from tests.keeper.root_harness import RootProcess, eventually, root_process, wait_for_end


def _who(root: RootProcess) -> int:
    return int(root.ask({"op": "who"})["pid"])


def test_agent_is_replaced_on_the_same_port(tmp_path: Path) -> None:
    """A killed agent is started again, five times over; a command does not notice."""
    with root_process("--state-dir", str(tmp_path / "state")) as root:
        pid = root.start("a", "sleep 60")
        seen = [root.said["agent_pid"]]
        for _ in range(5):
            os.kill(seen[-1], signal.SIGKILL)
            # Who connects now waits in the backlog for the next one.
            seen.append(_who(root))
        assert len(set(seen)) == 6
        assert running(pid)


def test_agent_that_keeps_dying_stays_down(tmp_path: Path) -> None:
    """The sixth death within a minute is the last; commands go on, and stderr says so."""
    with root_process("--state-dir", str(tmp_path / "state")) as root:
        pid = root.start("a", "sleep 60")
        for _ in range(6):
            os.kill(_who(root), signal.SIGKILL)
        assert "signal 9" in root.complaint("stays down")
        assert running(pid)
        root.process.terminate()
        assert root.wait() == 0
        assert not running(pid)


_NO_SECOND = """
from hopx_async.keeper import supervise, supervisor
class Child(supervise.Child):
    starts = iter([True, False, False])
    def __init__(self, *arguments):
        if not next(self.starts, True):
            raise BlockingIOError(11, "no more processes")
        super().__init__(*arguments)
supervisor.Child = Child
"""


def test_agent_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    """Where there is no process for another agent just now, commands go on until there is one."""
    with root_process("--state-dir", str(tmp_path / "state"), before=_NO_SECOND) as root:
        pid = root.start("a", "sleep 60")
        os.kill(root.said["agent_pid"], signal.SIGKILL)
        assert "no more processes" in root.complaint("could not be started")
        assert _who(root) != root.said["agent_pid"]
        assert running(pid)


def test_agent_that_never_comes_up_is_an_error(tmp_path: Path) -> None:
    """A root whose agent dies again and again before it was ready announces agent_failed."""
    with root_process("--state-dir", str(tmp_path / "state"), mode="crash") as root:
        assert root.said["error"]["code"] == "agent_failed"
        assert "exited with 3" in root.said["error"]["message"]
        assert root.wait() == 1


def test_silent_agent_is_killed_and_replaced(tmp_path: Path) -> None:
    """An agent that answers no pings is killed."""
    with root_process("--state-dir", str(tmp_path / "state"), mode="mute", silence=0.3) as root:
        assert "silent" in root.complaint("silent")
        root.complaint("started again")
        assert _who(root) != root.said["agent_pid"]


def test_agent_that_answers_pings_is_left_alone(tmp_path: Path) -> None:
    """An agent that answers pings lives on for many times the silence allowed."""
    with root_process("--state-dir", str(tmp_path / "state"), silence=0.2) as root:
        root.start("a", "sleep 1")
        eventually(lambda: b'"exit_code":0' in _log(tmp_path))
        assert _who(root) == root.said["agent_pid"]


def _log(tmp_path: Path) -> bytes:
    return (tmp_path / "state" / "logs" / "a.0000000000000000").read_bytes()


def test_stopped_agent_goes_on_for_a_stop(tmp_path: Path) -> None:
    """An agent that was stopped is continued, hears of the end, and goes by itself."""
    before = "from hopx_async.keeper import supervise; supervise.Child.kill = lambda _: None"
    with root_process("--state-dir", str(tmp_path / "state"), before=before) as root:
        os.kill(root.said["agent_pid"], signal.SIGSTOP)
        root.process.terminate()
        assert root.wait() == 0


def test_parent_gone_is_the_end(tmp_path: Path) -> None:
    """EOF on the parent's pipe ends commands and root, as if told to stop."""
    config = {"grace": 5.0}
    with root_process("--state-dir", str(tmp_path / "state"), config=config) as root:
        pid = root.start("a", "sleep 60")
        root.let_go()
        assert root.wait() == 0
        assert not running(pid)


@pytest.mark.leaves_orphans
def test_detached_root_outlives_its_parent(tmp_path: Path) -> None:
    """A detached root is nobody's child, and EOF on the parent's pipe leaves it alone."""
    config = {"detached": True}
    with root_process("--state-dir", str(tmp_path / "state"), config=config) as root:
        assert root.wait() == 0
        root.let_go()
        assert _who(root) == root.said["agent_pid"]
        assert root.said["pid"] != root.process.pid
        os.kill(root.said["pid"], signal.SIGTERM)
        wait_for_end(root.said["pid"])


def test_stop_takes_the_grace_it_is_told(tmp_path: Path) -> None:
    """{"stop": {"grace": 0}} kills what ignores TERM at once, although the default is an hour."""
    config = {"grace": 3600.0}
    with root_process("--state-dir", str(tmp_path / "state"), config=config) as root:
        pid = root.start("a", "trap '' TERM; echo > up; sleep 60; sleep 60", str(tmp_path))
        eventually((tmp_path / "up").exists)
        root.tell({"stop": {"grace": 0}})
        assert root.wait() == 0
        assert not running(pid)


def test_parent_that_said_how_to_stop_may_go(tmp_path: Path) -> None:
    """EOF behind {"stop": ...} does not shorten the grace that was given."""
    command = "trap 'echo told > told' TERM; echo > up; while :; do sleep 0.05; done"
    config = {"grace": 0.1}
    with root_process("--state-dir", str(tmp_path / "state"), config=config) as root:
        pid = root.start("a", command, str(tmp_path))
        eventually((tmp_path / "up").exists)
        root.tell({"stop": {"grace": 3600}})
        root.let_go()
        eventually((tmp_path / "told").exists)
        # Nothing is to happen, for longer than the grace that would be wrong.
        time.sleep(0.4)
        assert running(pid)
        root.process.terminate()
        assert root.wait() == 0


def test_second_signal_is_in_a_hurry(tmp_path: Path) -> None:
    """A second SIGTERM sets the grace to 0."""
    command = "trap 'echo told > told' TERM; echo > up; while :; do sleep 0.1; done"
    with root_process("--state-dir", str(tmp_path / "state"), "--grace", "3600") as root:
        pid = root.start("a", command, str(tmp_path))
        eventually((tmp_path / "up").exists)
        root.process.terminate()
        eventually((tmp_path / "told").exists)
        root.process.terminate()
        assert root.wait() == 0
        assert not running(pid)


@pytest.mark.leaves_orphans
def test_root_death_ends_everything(tmp_path: Path) -> None:
    """When the root is killed, keeper and agent end the commands and go by themselves."""
    with root_process("--state-dir", str(tmp_path / "state")) as root:
        pid = root.start("a", "sleep 60 & sleep 60")
        others = [root.keeper_pid(), root.said["agent_pid"]]
        root.process.kill()
        for other in [pid, *others]:
            wait_for_end(other)
        assert read_log(tmp_path / "state", "a")[-1].json()["reason"] == "sandbox_stopped"


@pytest.mark.leaves_orphans
def test_state_is_held_until_the_keeper_has_gone(tmp_path: Path) -> None:
    """After the root's death the keeper still holds the state directory while it ends commands."""
    command = "trap 'echo told > told' TERM; echo > up; while :; do sleep 0.1; done"
    with root_process("--state-dir", str(tmp_path / "state"), "--grace", "3600") as root:
        pid = root.start("a", command, str(tmp_path))
        keeper = root.keeper_pid()
        eventually((tmp_path / "up").exists)
        root.process.kill()
        root.wait()
        eventually((tmp_path / "told").exists)
        with root_process("--state-dir", str(tmp_path / "state")) as second:
            assert second.said["error"]["code"] == "state_dir_held"
        os.kill(keeper, signal.SIGTERM)
        os.killpg(pid, signal.SIGKILL)
        wait_for_end(keeper)
    with root_process("--state-dir", str(tmp_path / "state")) as third:
        assert "url" in third.said


def test_orphans_of_the_keeper_are_reaped(tmp_path: Path) -> None:
    """Nothing that a command leaves behind stays a zombie."""
    with root_process("--state-dir", str(tmp_path / "state")) as root:
        root.start("a", "(setsid sh -c 'exit 0' &) ; exit 0")
        eventually(lambda: b'"exit_code":0' in _log(tmp_path))
        keeper = root.keeper_pid()
        children = Path(f"/proc/{keeper}/task/{keeper}/children")
        eventually(lambda: not children.read_text().split())


def test_ipv6_is_served(tmp_path: Path) -> None:
    """A root on ::1 announces a url with brackets."""
    if not socket.has_ipv6 or not _has_loopback_6():
        pytest.skip("this machine has no ::1")
    with root_process("--state-dir", str(tmp_path / "state"), "--host", "::1") as root:
        assert root.said["url"].startswith("http://[::1]:")


def _has_loopback_6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


def test_commands_inherit_the_usual_limits(tmp_path: Path) -> None:
    """A command sees the root's own limit of open files, not the keeper's."""
    with root_process("--state-dir", str(tmp_path / "state")) as root:
        root.start("a", "ulimit -Sn > limit", str(tmp_path))
        eventually(lambda: b'"exit_code":0' in _log(tmp_path))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert (tmp_path / "limit").read_text().strip() == str(soft)
