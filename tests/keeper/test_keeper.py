"""The keeper as a whole: many commands, new agents, no root, full disks."""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.protocol import records
from tests.keeper.harness import KeeperProcess, keeper_process, output, read_log, running
from tests.keeper.root_harness import eventually, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Iterator


def _descriptors(keeper: KeeperProcess) -> list[str]:
    names = Path(f"/proc/{keeper.process.pid}/fd").iterdir()
    return sorted(str(name.readlink()).partition(":")[0] for name in names)


def test_many_at_once_end_with_their_own_codes(keeper: KeeperProcess, tmp_path: Path) -> None:
    """300 commands at once each have their own output and code, and no descriptor is left."""
    keeper.run("first", "true")
    before = _descriptors(keeper)
    ids = [f"n{number}" for number in range(300)]
    for number, process_id in enumerate(ids):
        keeper.send_start(process_id, ["sh", "-c", f"echo {number}; exit {number % 256}"])
    ends = [keeper.end_of(process_id) for process_id in ids]

    assert [end["exit_code"] for end in ends] == [number % 256 for number in range(300)]
    outputs = [output(tmp_path, process_id)[0] for process_id in ids]
    assert outputs == [b"%d\n" % number for number in range(300)]
    assert _descriptors(keeper) == before


def test_leaders_are_not_among_the_orphans(keeper: KeeperProcess) -> None:
    """A second thread starts them: the first one's children, looked at for orphans, are none."""
    keeper.start("a", "exec sleep 60")
    leader = keeper.known["a"]["pid"]
    task = Path(f"/proc/{keeper.process.pid}/task")
    children = {one.name: (one / "children").read_text().split() for one in task.iterdir()}

    assert children.pop(str(keeper.process.pid)) == []
    assert list(children.values()) == [[str(leader)]]


def test_idle_command_holds_two_descriptors(keeper: KeeperProcess) -> None:
    """A command that says nothing costs its two pipes; its log is closed when others need it."""
    before = len(_descriptors(keeper))
    for number in range(100):
        keeper.start(f"n{number}", ["sleep", "60"])

    assert len(_descriptors(keeper)) <= before + 2 * 100 + 64


def test_more_commands_than_the_soft_limit_of_files(tmp_path: Path) -> None:
    """The keeper raises its own limit of open files, and a command has the usual one."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, limits[1]))
    try:
        with keeper_process(tmp_path) as keeper:
            for number in range(100):
                assert "ok" in keeper.start(f"n{number}", ["sleep", "60"])
            keeper.run("a", "ulimit -Sn")
            assert output(tmp_path, "a")[0] == b"128\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_agent_may_come_and_go(keeper: KeeperProcess) -> None:
    """A new agent is told of the commands alive, and of what happens from then on."""
    keeper.start("a", "while ! [ -e go ]; do sleep 0.01; done; echo done; exit 7")
    keeper.run("b", "true")
    known = keeper.known["a"]
    keeper.known = {}
    keeper.connect_agent()

    assert keeper.known.keys() == {"a"}
    told = keeper.known["a"]
    assert (told["pid"], told["started_at"]) == (known["pid"], known["started_at"])
    assert told["spec"] == known["spec"]
    assert told["segments"] == [0]
    assert keeper.index_bytes is not None
    index = (keeper.state_dir / "index.1").read_bytes()[: keeper.index_bytes].decode()
    assert [json.loads(line)["id"] for line in index.splitlines()] == ["a", "b", "b"]
    (keeper.state_dir / "go").touch()
    assert keeper.end_of("a")["exit_code"] == 7
    assert "spec" not in keeper.news[-1]


def test_commands_end_without_an_agent(keeper: KeeperProcess) -> None:
    """What ends while there is no agent stands in the index of the next one's snapshot."""
    keeper.start("a", "while ! [ -e go ]; do sleep 0.01; done; exit 7")
    assert keeper.agent is not None
    keeper.agent.sock.close()
    keeper.agent = None
    (keeper.state_dir / "go").touch()
    eventually(lambda: read_log(keeper.state_dir, "a")[-1].kind == records.EXITED)
    keeper.connect_agent()

    entries = [json.loads(line) for line in (keeper.state_dir / "index.1").read_text().splitlines()]
    assert entries[-1]["exit"]["exit_code"] == 7
    assert entries[-1]["end"] == read_log(keeper.state_dir, "a")[-1].end


def test_agent_that_does_not_read_holds_up_nobody(keeper: KeeperProcess, tmp_path: Path) -> None:
    """While the agent does not read, commands run on, and later it is told the last state."""
    keeper.start("busy", "for i in $(seq 20000); do echo line; done; echo > done; sleep 60")
    keeper.start("end", "sleep 0.1; exit 9")
    eventually((tmp_path / "done").exists)
    keeper.wait(lambda: keeper.known["busy"].get("end", 0) > 100_000)

    assert keeper.end_of("end")["exit_code"] == 9


def test_agent_that_talks_nonsense_is_dropped(keeper: KeeperProcess) -> None:
    """A line that is no JSON ends the agent's connection; commands do not notice."""
    keeper.start("a", "sleep 60")
    assert keeper.agent is not None
    keeper.agent.sock.sendall(b"nonsense\n")
    keeper.wait(lambda: keeper.agent is None)
    keeper.connect_agent()

    assert keeper.known.keys() == {"a"}


def test_stop_ends_commands_and_keeper(tmp_path: Path) -> None:
    """A stop ends the commands with sandbox_stopped, tells the agent, and the keeper exits 0."""
    with keeper_process(tmp_path) as keeper:
        ids = [f"n{number}" for number in range(20)]
        for process_id in ids:
            keeper.start(process_id, "echo up; sleep 60 & sleep 60")
        keeper.run("left", "trap '' TERM; (setsid sleep 60 >/dev/null 2>&1 &) ; exit 0")
        assert keeper.stop(grace=0.3) == 0
        assert {keeper.end_of(process_id)["reason"] for process_id in ids} == {"sandbox_stopped"}
    # What the last command had left behind went as well, or the test would leave it.


def test_stop_waits_for_no_disk(tmp_path: Path) -> None:
    """Where not even an end can be written, the keeper goes all the same; the next says Lost."""
    with keeper_process(tmp_path) as keeper:
        keeper.start("a", "trap 'echo told; exit 3' TERM; echo up; while :; do sleep 0.05; done")
        keeper.wait_for_output("a", b"up")
        # As a disk that takes nothing more: each write fails.
        resource.prlimit(keeper.process.pid, resource.RLIMIT_FSIZE, (1, 1))
        assert keeper.stop(grace=3600.0) == 0
    with keeper_process(tmp_path):
        found = read_log(tmp_path, "a")
    assert [record.kind for record in found][-1] == records.LOST
    assert output(tmp_path, "a")[0] == b"up\n"


def test_a_log_that_somebody_removes_harms_no_other(tmp_path: Path) -> None:
    """An end whose last output cannot be read back goes without it; the keeper lives on."""
    with keeper_process(tmp_path) as keeper:
        keeper.start("a", "echo up; while ! [ -e go ]; do sleep 0.02; done; exit 3")
        keeper.start("b", "echo up; while ! [ -e go ]; do sleep 0.02; done; exit 4")
        for name in "ab":
            keeper.wait_for_output(name, b"up")
        (tmp_path / "logs" / records.segment_name("a", 0)).unlink()
        (tmp_path / "go").touch()
        assert keeper.end_of("b")["exit_code"] == 4
        assert keeper.end_of("b")["tail"] != []
        assert "tail" not in keeper.end_of("a")
        assert keeper.run("c", "exit 5")["exit_code"] == 5


def test_stopping_keeper_starts_nothing(tmp_path: Path) -> None:
    """A start during a stop is refused, and its id is not claimed."""
    with keeper_process(tmp_path) as keeper:
        keeper.start("a", "trap 'echo term' TERM; echo up; while :; do sleep 0.05; done")
        keeper.wait_for_output("a", b"up")
        assert keeper.root is not None
        keeper.root.send({"op": "stop", "grace": 3600.0})
        keeper.wait_for_output("a", b"term")
        assert keeper.start("b", "true")["error"]["code"] == "stopping"
        assert keeper.stop(grace=0.0) == 0
    assert read_log(tmp_path, "b") == []


def test_root_gone_is_the_end(tmp_path: Path) -> None:
    """When the root goes, the keeper ends its commands by itself, those in hiding too."""
    daemon = "(env -i setsid sh -c \"trap '' TERM; echo \\$\\$ > pid; sleep 60; sleep 60\" &) ;"
    with keeper_process(tmp_path, grace=0.3) as keeper:
        keeper.start("a", f"{daemon} sleep 60")
        pid = int(eventually(lambda: _text(tmp_path / "pid")))
        assert keeper.root is not None
        keeper.root.sock.close()
        keeper.root = None
        assert keeper.end_of("a")["reason"] == "sandbox_stopped"
        keeper.wait(lambda: keeper.agent is None)
        assert keeper.process.wait(30) == 0
        assert not running(pid)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_term_is_a_stop(tmp_path: Path) -> None:
    """SIGTERM to the keeper itself stops it as the root would; SIGINT is not for it."""
    with keeper_process(tmp_path) as keeper:
        pid = keeper.start("a", "sleep 60")["ok"]["pid"]
        os.kill(keeper.process.pid, 2)
        keeper.run("b", "true")
        keeper.process.terminate()
        keeper.wait(lambda: {"op": "stopped"} in keeper.root_said)
        assert keeper.close() == 0
        wait_for_end(pid)


def test_keeper_imports_little() -> None:
    """The keeper uses the standard library, records, lifecycle, problems, and its own package."""
    program = (
        "import sys, json, hopx_async.keeper.keeper;"
        "print(json.dumps([name for name in sys.modules if name.startswith('hopx_async')"
        " or name in ('asyncio', 'typing', 'dataclasses', 'attr', 'subprocess', 'threading')]))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    names = set(json.loads(said.stdout))
    ours = {name for name in names if name.startswith("hopx_async.")}

    assert {name for name in ours if not name.startswith("hopx_async.keeper")} == {
        "hopx_async.protocol",
        "hopx_async.protocol.records",
        "hopx_async.protocol.lifecycle",
        "hopx_async.protocol.problems",
    }
    assert names & {"asyncio", "dataclasses", "attr", "subprocess"} == set()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_full_disk_makes_its_command_wait(small_disk: Path, capfd: Any) -> None:
    """One that fills the disk waits, others end, starts are refused, and room heals all."""
    with keeper_process(small_disk) as keeper:
        keeper.start("quiet", "head -c 5000 /dev/zero; exec sleep 60")
        keeper.wait_for_output("quiet", bytes(5000))
        (small_disk / "ballast").write_bytes(bytes(600_000))
        keeper.start("big", "head -c 3000000 /dev/zero; echo end")
        eventually(lambda: _free(small_disk) == 0)
        refused = keeper.start("late", "true")
        keeper.send("signal", id="quiet", signal_id="x", name="SIGTERM", cause="killed")
        # Its end is longer than a page, hence it needs room, and has it: the reserve.
        ended = keeper.end_of("quiet")
        assert "last" not in keeper.known["big"]
        (small_disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
        big = keeper.end_of("big")
        late = keeper.run("late", "true")

    assert refused["error"]["code"] == "disk_full"
    assert ended["reason"] == "killed"
    assert (big["exit_code"], late["exit_code"]) == (0, 0)
    assert output(small_disk, "big")[0] == bytes(3_000_000) + b"end\n"
    assert capfd.readouterr().err.count("disk_full") == 1


def _free(directory: Path) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def test_full_disk_does_not_hold_up_a_stop(small_disk: Path) -> None:
    """A stop ends a command whose output waits for room, and the log has its end."""
    with keeper_process(small_disk) as keeper:
        keeper.start("big", "exec cat /dev/zero")
        eventually(lambda: _free(small_disk) == 0)
        assert keeper.stop(grace=0.0) == 0
    found = read_log(small_disk, "big")

    assert found[-1].kind == records.EXITED
    assert found[-1].json()["reason"] == "sandbox_stopped"


def test_retention_goes_on_while_a_command_prints(tmp_path: Path) -> None:
    """Segments go as others come, news tell of them, and the whole end is kept."""
    with keeper_process(tmp_path, segment_bytes=65536, retention_bytes=1_000_000) as keeper:
        exit_ = keeper.run("a", "for i in $(seq 300000); do echo line $i; done; exit 1")
        known = keeper.known["a"]

    total = sum(path.stat().st_size for path in (tmp_path / "logs").iterdir())
    assert total <= 1_200_000
    assert known["segments"][0] == 0
    assert known["segments"][1] > 1_000_000
    on_disk = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert on_disk == [records.segment_name("a", start) for start in known["segments"]]
    assert base64.b64decode(exit_["tail"][-1][1]).endswith(b"line 299999\nline 300000\n")
    assert len(base64.b64decode(exit_["tail"][-1][1])) == 4096
