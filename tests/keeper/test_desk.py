"""What an agent may ask for, and what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hopx_async.protocol import records
from tests.keeper.harness import KeeperProcess, read_log

if TYPE_CHECKING:
    from pathlib import Path


def test_start_is_answered_after_it_was_told(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A start's answer has pid and time; news of it came before, with its public spec."""
    rid = keeper.send_start("a", "sleep 60", name="n", tags={"k": "v"})
    keeper.wait(lambda: rid in keeper.replies)
    told = keeper.known["a"]

    ok = keeper.replies[rid]["ok"]
    assert ok == {"pid": told["pid"], "started_at": told["started_at"], "created": True}
    assert (told["spec"]["name"], told["spec"]["tags"]) == ("n", {"k": "v"})
    assert told["segments"] == [0]
    assert told["end"] == read_log(tmp_path, "a")[-1].end
    assert read_log(tmp_path, "a")[1].json() == told["spec"]


def test_late_answers_are_no_other_agents(keeper: KeeperProcess) -> None:
    """What an agent that has gone asked for last is not answered to the one that came."""
    keeper.start("a", "trap '' TERM; echo up; while :; do sleep 1; done")
    keeper.wait_for_output("a", b"up")
    rid = keeper.send("kill", id="a", grace=0.5)
    keeper.connect_agent()
    assert keeper.end_of("a")["reason"] == "killed"
    # Their numbers would be the same.
    keeper.ask("signal", id="a", name="SIGHUP", signal_id="s", cause=None)

    assert rid not in keeper.replies


def test_claimed_id_is_a_conflict(keeper: KeeperProcess) -> None:
    """An id in use is refused, alive or ended, and nothing is started."""
    keeper.start("a", "sleep 60")
    keeper.run("b", "true")

    for process_id in ("a", "b"):
        answer = keeper.start(process_id, "touch started")
        assert answer["error"]["code"] == "conflict_claimed"
    assert not (keeper.state_dir / "started").exists()


def test_failed_spawn_keeps_its_claim(keeper: KeeperProcess, tmp_path: Path) -> None:
    """What cannot be started is refused, its log says so, and asking again is a conflict."""
    answer = keeper.start("a", ["no-such-program", "x"])
    exit_ = keeper.end_of("a")

    assert answer["error"]["code"] == "spawn_failed"
    assert (answer["error"]["errno"], answer["error"]["filename"]) == (2, "no-such-program")
    assert (exit_["reason"], exit_["errno"]) == ("spawn_failed", 2)
    kinds = [record.kind for record in read_log(tmp_path, "a")]
    assert kinds == [records.BASE, records.SPEC, records.EXITED]
    assert keeper.start("a", "true")["error"]["code"] == "conflict_claimed"


@pytest.mark.parametrize(
    ("process_id", "command", "parameter"),
    [
        ("../../x", "true", "process_id"),
        ("$(x)", "true", "process_id"),
        ("a\nb", "true", "process_id"),
        ("x" * 300, "true", "process_id"),
        ("a", "", "command"),
        ("a", "echo \0", "command"),
        ("a", "x" * 131072, "command"),
        ("a", [], "command"),
    ],
)
def test_bad_start_is_refused_before_anything(
    keeper: KeeperProcess, process_id: str, command: str | list[str], parameter: str
) -> None:
    """A start that breaks a rule is refused with parameter, value and rule; no file is made."""
    error = keeper.start(process_id, command)["error"]

    assert error["code"] == "invalid_argument"
    assert error["parameter"] == parameter
    assert error["value"]
    assert error["rule"]
    assert list((keeper.state_dir / "logs").iterdir()) == []


def test_missing_directory_is_a_failed_spawn(keeper: KeeperProcess, tmp_path: Path) -> None:
    """A directory that is not there is named."""
    error = keeper.start("a", "true", directory=str(tmp_path / "nowhere"))["error"]

    assert (error["code"], error["errno"]) == ("spawn_failed", 2)
    assert error["filename"] == str(tmp_path / "nowhere")


def test_requests_wait_behind_the_start_of_their_command(keeper: KeeperProcess) -> None:
    """A signal sent right behind many starts finds its command started."""
    for number in range(30):
        keeper.send_start(f"n{number}", ["sleep", "60"])
    request = {"id": "n29", "signal_id": "s", "name": "SIGKILL", "cause": "killed"}
    answer = keeper.ask("signal", **request)

    assert answer["ok"] == {"delivered": True}
    assert keeper.end_of("n29")["reason"] == "killed"


def test_answer_for_an_agent_that_left_is_dropped(keeper: KeeperProcess) -> None:
    """What an agent asked for is done although it left; the next one hears of it."""
    for number in range(20):
        keeper.send_start(f"n{number}", ["sleep", "60"])
    keeper.wait(lambda: keeper.known)
    keeper.known = {}
    keeper.connect_agent()
    keeper.wait(lambda: len(keeper.known) == 20)


def test_unknown_request_is_refused(keeper: KeeperProcess) -> None:
    """A request of no kind is refused by name."""
    assert keeper.ask("dance")["error"]["parameter"] == "op"
