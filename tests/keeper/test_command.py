"""One command's life, on a real keeper."""

from __future__ import annotations

import base64
import hashlib
import os
import resource
import signal
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hopx_async.keeper.command import Command
from hopx_async.keeper.log import Log
from hopx_async.keeper.loop import Loop, Timer
from hopx_async.keeper.plumbing import Plumbing
from hopx_async.keeper.spawn import Spawned
from hopx_async.keeper.store import Store
from hopx_async.protocol import records
from tests.keeper.harness import (
    KeeperProcess,
    keeper_process,
    make_state,
    output,
    read_log,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def test_every_line_arrives_whatever_it_is_written_to(
    keeper: KeeperProcess, tmp_path: Path
) -> None:
    """Output through /dev/stderr and tee loses nothing: a command's output is a pipe."""
    keeper.run("a", "echo a; echo b > /dev/stderr; echo c | tee /dev/stderr; echo d")

    assert output(tmp_path, "a") == (b"a\nc\nd\n", b"b\nc\n")


def test_records_stand_in_the_order_of_a_life(keeper: KeeperProcess, tmp_path: Path) -> None:
    """Started precedes all output and exactly one Exited comes last."""
    answer = keeper.start("a", "echo one; sleep 0.05; echo two >&2; sleep 0.05; echo three; exit 3")
    exit_ = keeper.end_of("a")
    found = read_log(tmp_path, "a")

    assert [records.KIND_NAMES[record.kind] for record in found] == [
        *("Base", "Spec", "Started", "Stdout", "Stderr", "Stdout", "Exited")
    ]
    assert found[2].json()["pid"] == answer["ok"]["pid"]
    assert [record.at for record in found] == sorted(record.at for record in found)
    assert (exit_["exit_code"], exit_["signal"], exit_["reason"]) == (3, None, "exited")
    assert exit_["started_at"] == answer["ok"]["started_at"]
    assert exit_["duration"] >= 0.1
    assert exit_ == found[-1].json()
    tail = [(stream, base64.b64decode(data)) for stream, data in exit_["tail"]]
    assert tail == [("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"three\n")]


def test_good_end_has_no_tail(keeper: KeeperProcess) -> None:
    """An end that is ok carries no output, one by a signal does and names the signal."""
    assert "tail" not in keeper.run("a", "echo hi")
    exit_ = keeper.run("b", "echo hi; kill -USR1 $$")

    assert (exit_["exit_code"], exit_["signal"], exit_["reason"]) == (None, "SIGUSR1", "signaled")
    assert exit_["tail"] == [["stdout", base64.b64encode(b"hi\n").decode()]]


def test_real_time_signal_has_a_name(keeper: KeeperProcess) -> None:
    """A signal without a name of its own is counted from SIGRTMIN."""
    assert keeper.run("a", "kill -37 $$")["signal"] == "SIGRTMIN+3"


def test_merged_streams_are_one(keeper: KeeperProcess, tmp_path: Path) -> None:
    """With merge_stderr both streams are stdout, in the order written."""
    keeper.run("a", "echo a; echo b >&2; echo c", merge_stderr=True)

    assert output(tmp_path, "a") == (b"a\nb\nc\n", b"")


def test_secrets_never_reach_the_log(keeper: KeeperProcess, tmp_path: Path) -> None:
    """Masked output keeps its length; nothing is held back at an end of a pipe or a command."""
    slow = "for c in h u n t e r 2; do printf $c; sleep 0.02; done; printf hunt; exit 1"
    options = {"mask_secrets": True, "mask": ["hunter2"]}
    exit_ = keeper.run("a", slow, **options)
    drained = keeper.run("b", "sleep 60 & printf hunter2hunt >&2", **options)
    closed = keeper.start("c", "exec 2>&-; printf hunte; exec >&-; sleep 60", **options)
    keeper.wait_for_output("c", b"hunte")
    keeper.run("d", ["head", "-c", "3000000", "/dev/zero"], **options)

    assert output(tmp_path, "a") == (b"*******hunt", b"")
    assert [base64.b64decode(data) for _, data in exit_["tail"]] == [b"*******hunt"]
    assert drained["survivors"] == 1
    assert output(tmp_path, "b") == (b"", b"*******hunt")
    assert "pid" in closed["ok"]
    assert output(tmp_path, "d")[0] == bytes(3_000_000)


def test_late_writers_within_the_drain_time_are_heard(
    keeper: KeeperProcess, tmp_path: Path
) -> None:
    """exec > >(tee x); echo tail loses nothing, 100 times in a row."""
    ids = [f"tee{number}" for number in range(100)]
    for process_id in ids:
        keeper.send_start(process_id, f"exec > >(tee {process_id}.out); echo tail")
    ends = [keeper.end_of(process_id) for process_id in ids]

    assert [end["exit_code"] for end in ends] == [0] * 100
    assert [output(tmp_path, process_id)[0] for process_id in ids] == [b"tail\n"] * 100


class _Loop(Loop):
    """A loop whose timers run when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[Timer] = []

    def call_later(self, delay: float, action: Callable[[], object]) -> Timer:
        self.timers.append(super().call_later(3600.0 + delay, action))
        return self.timers[-1]

    def run(self, timers: list[Timer]) -> None:
        """Let the time of these timers be over."""
        for timer in timers:
            action, timer.action = timer.action, None
            if action is not None:
                action()


def test_time_without_room_is_no_time_to_drain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits in a pipe while the log has no room is read when it has, behind the end as well.

    The drain time from before is over at the very moment at which there is room again.
    """
    store = Store(str(make_state(tmp_path)))
    log = Log(store, "a")
    log.claim(b"{}")
    log.append(records.STARTED, b'{"pid":1}')
    loop, nothing = _Loop(), lambda *_: None
    host: Any = SimpleNamespace(loop=loop, buffer=memoryview(bytearray(4096)), drain_time=0.25)
    host.changed = host.stuck = host.timed_out = host.ended = nothing
    host.count_survivors = lambda _: 1
    plumbing = Plumbing({"merge_stderr": True})
    command = Command(host, log, Spawned(1, 1, 1.0, time.monotonic()), plumbing=plumbing)

    command.died(0, resource.getrusage(resource.RUSAGE_SELF))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", lambda *_: 0)
        os.write(plumbing.outputs[0], b"first ")
        loop.turn()
    os.write(plumbing.outputs[0], b"second")
    before = loop.timers[:]
    assert log.retry()
    command.resume()
    loop.run(before)
    loop.turn(wait=False)
    loop.run(loop.timers)
    assert command.ended
    assert output(tmp_path, "a")[0] == b"first second"

    plumbing.close_theirs()
    loop.turn()
    for fd in (store._dir, store._reserve):
        os.close(fd)


def test_survivors_do_not_hold_up_the_end(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A command ends with its leader, and says how many live on."""
    exit_ = keeper.run("a", ["sh", "-c", "sleep 60 & sleep 60 >/dev/null 2>&1 & echo bye"])

    assert (exit_["exit_code"], exit_["survivors"]) == (0, 2)
    assert output(tmp_path, "a")[0] == b"bye\n"


def test_survivors_may_write_on(keeper: KeeperProcess, tmp_path: Path) -> None:
    """What survivors write after the end is dropped, without blocking or killing them."""
    script = "while ! [ -e go ]; do sleep 0.01; done; head -c 1000000 /dev/zero; echo > done"
    keeper.run("a", ["sh", "-c", f"({script}) & echo bye"])
    end = read_log(tmp_path, "a")[-1].end
    (tmp_path / "go").touch()
    keeper.run("b", "while ! [ -e done ]; do sleep 0.01; done")

    assert read_log(tmp_path, "a")[-1].end == end


def test_big_output_arrives_whole(keeper: KeeperProcess, tmp_path: Path) -> None:
    """Many megabytes arrive as they were written; the agent is told of fewer lines than reads."""
    keeper.run("a", "head -c 20000000 /dev/urandom | tee copy", timeout=60)

    written = (tmp_path / "copy").read_bytes()
    assert hashlib.sha256(output(tmp_path, "a")[0]).digest() == hashlib.sha256(written).digest()


def test_somebody_else_may_read_the_pipe(keeper: KeeperProcess) -> None:
    """A command that empties its own stdout does not block the keeper."""
    keeper.start("a", "cat /dev/stdout >/dev/null & while :; do echo x; sleep 0.001; done")
    ends = [keeper.run(f"b{number}", "echo y") for number in range(20)]

    assert {end["exit_code"] for end in ends} == {0}


def test_hot_output_delays_nobody(keeper: KeeperProcess, tmp_path: Path) -> None:
    """Beside one that prints without end, others start and end, and retention holds."""
    keeper.start("hot", "exec yes")
    ends = [keeper.run(f"b{number}", "echo y") for number in range(20)]
    keeper.ask("kill", id="hot", grace=0.0)

    assert {end["exit_code"] for end in ends} == {0}
    assert keeper.end_of("hot")["reason"] == "killed"
    assert tmp_path.exists()


def test_timeout_ends_the_whole_tree(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A command over its time gets TERM, grace, KILL, with all below it."""
    script = "sh -c 'trap : TERM; echo $$ > pid; while :; do sleep 0.05; done' & wait"
    with keeper_process(tmp_path / "short", grace=0.2) as short:
        exit_ = short.run("a", script, timeout=0.3)
        short.ask("kill", id="a", grace=5.0)
        survivor = int((tmp_path / "short" / "pid").read_text())

        assert exit_["reason"] == "timed_out"
        assert not running(survivor)


def test_timeout_counts_for_nothing_after_the_end(keeper: KeeperProcess) -> None:
    """An end in time is an ordinary end."""
    assert keeper.run("a", "sleep 0.05; exit 2", timeout=30)["reason"] == "exited"


def test_first_cause_is_the_reason(keeper: KeeperProcess) -> None:
    """A command killed while it is over its time has timed out."""
    keeper.start("a", "trap '' TERM; echo up; while :; do sleep 0.05; done", timeout=0.2)
    keeper.wait_for_output("a", b"up")
    keeper.run("wait", "sleep 0.3")
    keeper.ask("kill", id="a", grace=0.0)

    assert keeper.end_of("a")["reason"] == "timed_out"


def test_signals_are_delivered_once(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A signal reaches the leader's group; its id repeated is answered and not sent again."""
    script = "trap 'echo usr1' USR1; echo up; while ! [ -e go ]; do sleep 0.01; done"
    keeper.start("a", script)
    keeper.wait_for_output("a", b"up")
    for signal_id in ["one", "one", "two"]:
        answer = keeper.ask("signal", id="a", signal_id=signal_id, name="SIGUSR1", cause=None)
        assert answer["ok"] == {"delivered": True}
        keeper.run(f"pause-{signal_id}-{len(keeper.replies)}", "sleep 0.1")
    (tmp_path / "go").touch()
    exit_ = keeper.end_of("a")

    assert output(tmp_path, "a")[0] == b"up\nusr1\nusr1\n"
    assert exit_["reason"] == "exited"


def test_signal_with_a_cause_is_the_reason(keeper: KeeperProcess) -> None:
    """A signal sent with a cause makes the end that reason; an ended command takes none."""
    keeper.start("a", "exec sleep 60")
    request = {"id": "a", "signal_id": "s", "name": "SIGTERM", "cause": "killed"}
    assert keeper.ask("signal", **request)["ok"] == {"delivered": True}
    exit_ = keeper.end_of("a")
    refused = keeper.ask("signal", **request)

    assert (exit_["signal"], exit_["reason"]) == ("SIGTERM", "killed")
    assert refused["error"]["code"] == "command_ended"


def test_usage_is_told(keeper: KeeperProcess) -> None:
    """An end tells processor time, and peak memory where it is above the keeper's own."""
    small = keeper.run("small", "exit 0")["usage"]
    # The keeper began as a copy of this process, whose peak counts as its own.
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 100_000_000
    big = keeper.run("big", f"python3 -c 'x = bytearray({size})'")["usage"]

    assert small["cpu_seconds"] > 0
    assert small["max_rss_bytes"] is None
    assert big["max_rss_bytes"] > size


def test_totals_tell_what_was_written(keeper: KeeperProcess, tmp_path: Path) -> None:
    """Bytes that reached storage are in the end, those of a reaped child as well."""
    script = f"import os; f = open('{tmp_path}/f', 'wb'); f.write(bytes(4096)); f.flush()"
    usage = keeper.run("a", f'python3 -c "{script}; os.fsync(f.fileno())"; true')["usage"]

    assert usage["read_bytes"] % 512 == usage["write_bytes"] % 512 == 0
    assert usage["write_bytes"] >= _counted_by_the_kernel(tmp_path / "f")


def _counted_by_the_kernel(path: Path) -> int:
    """Return 4096 where this file system counts what is written, 0 where it does not (tmpfs)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_oublock
    with path.open("wb") as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
    return 4096 if resource.getrusage(resource.RUSAGE_SELF).ru_oublock > before else 0


def test_samples_stand_in_the_log_in_order(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A sample is appended while the command runs, is news to the agent, and none after the end."""
    usage = {"cpu_seconds": 0.5, "rss_bytes": 4096, "read_bytes": 0, "write_bytes": None}
    keeper.start("a", "echo one; exec sleep 60")
    keeper.wait_for_output("a", b"one")
    end = keeper.known["a"]["end"]
    told = keeper.ask("usage", id="a", usage=usage)
    keeper.wait(lambda: keeper.known["a"]["end"] > end)
    keeper.ask("kill", id="a", grace=0)
    keeper.end_of("a")
    late = keeper.ask("usage", id="a", usage=usage)
    refused = keeper.ask("usage", id="a", usage={**usage, "rss_bytes": -1})
    found = read_log(tmp_path, "a")

    assert [record.json() for record in found if record.kind == records.USAGE] == [usage]
    assert (told["ok"]["delivered"], late["ok"]["delivered"]) == (True, False)
    assert refused["error"]["parameter"] == "rss_bytes"
    assert found[-1].kind == records.EXITED


def test_stopped_command_goes_on(keeper: KeeperProcess) -> None:
    """A stopped leader has not ended."""
    keeper.start("a", "exec sleep 0.3")
    pid = keeper.known["a"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    keeper.run("b", "sleep 0.4")
    assert "last" not in keeper.known["a"]
    os.kill(pid, signal.SIGCONT)
    assert keeper.end_of("a")["exit_code"] == 0
