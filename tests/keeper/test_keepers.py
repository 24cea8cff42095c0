"""A root with several keepers, and what becomes of commands when one is killed or stopped."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.protocol import records
from tests.keeper.harness import output, read_log, running
from tests.keeper.root_harness import RootProcess, eventually, root_process

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN = "(env -i setsid sh -c 'trap \"\" TERM HUP PIPE; sleep 60; sleep 60' &) ; sleep 60"


def _another(root: RootProcess) -> None:
    """Ask for a second keeper, and wait until it takes starts."""
    assert root.ask({"op": "more"}) == {}
    eventually(lambda: 2 in root.keepers())


def _replaced(root: RootProcess, number: int, pid: int) -> int:
    """Wait until a keeper has another process than *pid*; return that."""

    def other() -> int | None:
        now = root.keepers()[number]["pid"]
        return None if now == pid else now

    return int(eventually(other))


def _ends(state: Path, process_id: str) -> list[dict[str, Any]]:
    found = read_log(state, process_id)
    return [dict(one.json()) for one in found if one.kind in records.TERMINAL_KINDS]


def _has_ended(state: Path, process_id: str) -> bool:
    """Tell whether a command has its end, or is forgotten by now."""
    there = (state / "logs" / records.segment_name(process_id, 0)).exists()
    return not there or bool(_ends(state, process_id))


@pytest.mark.parametrize(("keep", "keepers"), [("2000", {1, 2}), ("1999", {1})])
def test_help_leaves_each_keeper_enough_to_keep(
    tmp_path: Path, keep: str, keepers: set[int]
) -> None:
    """A keeper that is only to make it faster is not started where little is kept."""
    with root_process("--state-dir", str(tmp_path / "state"), "--keep-commands", keep) as root:
        assert root.ask({"op": "more", "busy": True}) == {}
        if 2 in keepers:
            eventually(lambda: 2 in root.keepers())

        assert root.keepers().keys() == keepers


def test_second_keeper_makes_the_first_forget_nothing_early(tmp_path: Path) -> None:
    """The last so many are kept, whichever keeper had them: the oldest of all go first."""
    state = tmp_path / "state"
    names = [f"c{number:03}" for number in range(120)]

    def kept() -> set[str]:
        parsed = (records.parse_segment_name(path.name) for path in (state / "logs").iterdir())
        return {one[0] for one in parsed if one is not None}

    def run(name: str, *, to: int) -> None:
        root.start(name, "exit 0", to=to)
        eventually(lambda: _has_ended(state, name))

    config = {"keep_commands": 100, "stalled_after": 0.5}
    with root_process("--state-dir", str(state), config=config) as root:
        for name in names[:95]:
            run(name, to=1)
        _another(root)
        assert kept() == set(names[:95])
        for name in names[95:]:
            run(name, to=2)
        eventually(lambda: len(kept()) == 100)
        # A few may go together.
        assert kept() >= set(names[24:])


@pytest.mark.leaves_orphans
def test_death_of_a_keeper_is_the_end_of_its_commands_alone(tmp_path: Path) -> None:
    """A killed keeper's commands are ended, hidden ones too, and called lost; others go on."""
    state = tmp_path / "state"
    with root_process("--state-dir", str(state)) as root:
        _another(root)
        first = root.keepers()[1]["pid"]
        left = [root.start("a", HIDDEN), root.start("b", "echo out; exec sleep 60")]
        kept = root.start("c", HIDDEN, to=2)
        eventually(lambda: output(state, "b")[0])
        os.kill(first, signal.SIGKILL)
        _replaced(root, 1, first)
        eventually(lambda: _ends(state, "a") and _ends(state, "b"))
        assert not any(map(running, left))
        assert [end["reason"] for end in _ends(state, "a") + _ends(state, "b")] == ["lost"] * 2
        assert output(state, "b") == (b"out\n", b"")
        assert running(kept)
        assert _ends(state, "c") == []
        # The new one has the place of the old one.
        assert running(root.start("d", "exec sleep 60"))
        assert root.process.poll() is None


@pytest.mark.leaves_orphans
def test_keepers_may_die_together(tmp_path: Path) -> None:
    """Two keepers killed at once are both replaced, and each calls its own commands lost."""
    state = tmp_path / "state"
    with root_process("--state-dir", str(state)) as root:
        _another(root)
        pids = {number: one["pid"] for number, one in root.keepers().items()}
        left = [root.start("a", HIDDEN), root.start("b", HIDDEN, to=2)]
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        for number, pid in pids.items():
            _replaced(root, number, pid)
        eventually(lambda: _ends(state, "a") and _ends(state, "b"))
        assert not any(map(running, left))
        indexes = [state / "index.1", state / "index.2"]
        eventually(lambda: [one.read_bytes().count(b'"lost"') for one in indexes] == [1, 1])


def test_claim_is_unique_over_keepers(tmp_path: Path) -> None:
    """An id that one keeper holds is refused by the other."""
    with root_process("--state-dir", str(tmp_path / "state")) as root:
        _another(root)
        root.start("a", "exec sleep 60")
        public = {"process_id": "a", "command": "exec sleep 60"}
        asked = {"op": "start", "rid": 1, "public": public, "env": {}, "working_dir": "/", "to": 2}
        assert root.ask(asked)["error"]["code"] == "conflict_claimed"


def test_keeper_that_does_not_answer_is_stalled(tmp_path: Path) -> None:
    """A stopped keeper is called stalled, and no more when it goes on."""
    config = {"stalled_after": 0.2}
    with root_process("--state-dir", str(tmp_path / "state"), config=config) as root:
        _another(root)
        pid = root.keepers()[2]["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: root.keepers()[2]["stalled"])
            assert not root.keepers()[1]["stalled"]
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: not root.keepers()[2]["stalled"])


def test_stopped_keeper_goes_on_for_a_stop(tmp_path: Path) -> None:
    """At a stop a keeper that was stopped is continued, and its commands have their grace."""
    state = tmp_path / "state"
    command = "trap 'echo told; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    with root_process("--state-dir", str(state), "--grace", "3600") as root:
        _another(root)
        root.start("a", command, to=2)
        eventually(lambda: output(state, "a")[0])
        os.kill(root.keepers()[2]["pid"], signal.SIGSTOP)
        root.process.terminate()
        assert root.wait() == 0
    assert output(state, "a")[0] == b"up\ntold\n"
    assert [end["reason"] for end in _ends(state, "a")] == ["sandbox_stopped"]


@pytest.mark.leaves_orphans
def test_keeper_that_does_not_answer_a_stop_is_killed(tmp_path: Path) -> None:
    """A keeper that nothing wakes is killed when the grace is over, and its commands with it."""
    state = tmp_path / "state"
    before = "from hopx_async.keeper import supervise; supervise.Child.go_on = lambda _: None"
    config = {"stalled_after": 1.0, "grace": 0.1}
    with root_process("--state-dir", str(state), config=config, before=before) as root:
        _another(root)
        left = [root.start("a", HIDDEN, to=2)]
        kept = root.start("b", "exec sleep 60")
        os.kill(root.keepers()[2]["pid"], signal.SIGSTOP)
        root.process.terminate()
        assert "keeper 2" in root.complaint("does not answer and is killed")
        assert root.wait() == 0
    assert not any(map(running, [*left, kept]))
    assert [end["reason"] for end in _ends(state, "b")] == ["sandbox_stopped"]


_LATE_SIGN = """
from hopx_async.keeper import keepers, supervise
supervise.Child.go_on = lambda _: None
sinces, look = [0.0], keepers.Keepers._kill_silent
keepers.Keepers._kill_silent = lambda self, since: look(self, sinces.pop() if sinces else since)
"""


@pytest.mark.leaves_orphans
def test_keeper_whose_last_word_comes_behind_the_stop_is_killed(tmp_path: Path) -> None:
    """What it had said before it fell silent, heard only then, does not keep it: it is too late."""
    config = {"stalled_after": 0.5, "grace": 0.1}
    state = str(tmp_path / "state")
    with root_process("--state-dir", state, config=config, before=_LATE_SIGN) as root:
        _another(root)
        os.kill(root.keepers()[2]["pid"], signal.SIGSTOP)
        root.process.terminate()
        assert "keeper 2" in root.complaint("does not answer and is killed")
        assert root.wait() == 0


def test_all_keepers_end_their_commands_at_a_stop(tmp_path: Path) -> None:
    """At a stop the commands of every keeper get their last word, and the status is 0."""
    state = tmp_path / "state"
    with root_process("--state-dir", str(state)) as root:
        _another(root)
        pids = [root.start("a", "sleep 60"), root.start("b", "sleep 60", to=2)]
        root.process.terminate()
        assert root.wait() == 0
    assert not any(map(running, pids))
    assert [_ends(state, name)[0]["reason"] for name in "ab"] == ["sandbox_stopped"] * 2


@pytest.mark.leaves_orphans
def test_new_root_ends_what_all_keepers_of_the_old_one_left(tmp_path: Path) -> None:
    """Root and keepers killed: the next root's keeper calls all lost and kills what runs on."""
    state = tmp_path / "state"
    with root_process("--state-dir", str(state)) as root:
        _another(root)
        left = [root.start("a", HIDDEN), root.start("b", HIDDEN, to=2)]
        pids = [root.process.pid, *(one["pid"] for one in root.keepers().values())]
        # Stopped first: a keeper that sees its root die writes last words.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                os.kill(pid, number)
        root.wait()
        with root_process("--state-dir", str(state)):
            assert [_ends(state, name)[0]["reason"] for name in "ab"] == ["lost", "lost"]
            eventually(lambda: not any(map(running, left)))


@pytest.mark.leaves_orphans
def test_keeper_that_keeps_dying_takes_nobody_along(tmp_path: Path) -> None:
    """After too many deaths a keeper is started again later; the root and others go on."""
    state = tmp_path / "state"
    before = "from hopx_async.keeper import keepers; keepers.LONG_PAUSE = 0.5"
    config = {"most_restarts": 1}
    with root_process("--state-dir", str(state), config=config, before=before) as root:
        _another(root)
        kept = root.start("kept", "exec sleep 60", to=2)
        pid = root.keepers()[1]["pid"]
        for name in "abc":
            left = root.start(name, "exec sleep 60")
            os.kill(pid, signal.SIGKILL)
            pid = _replaced(root, 1, pid)
            assert not running(left)
        assert "again and again; it is started again in 0.5 s" in root.complaint("again and again")
        for name in "abc":
            assert eventually(lambda name=name: _ends(state, name))[0]["reason"] == "lost"  # type: ignore[misc]
        assert running(kept)
        assert root.process.poll() is None


def test_root_stops_while_a_keeper_is_down(tmp_path: Path) -> None:
    """A keeper that waits for its long pause holds up no stop."""
    with root_process("--state-dir", str(tmp_path / "state"), config={"most_restarts": 0}) as root:
        os.kill(root.keepers()[1]["pid"], signal.SIGKILL)
        assert "signal 9" in root.complaint("again and again")
        root.process.terminate()
        assert root.wait() == 0


def test_keeper_that_never_comes_up_is_an_error(tmp_path: Path) -> None:
    """A root none of whose keepers comes up announces keeper_failed."""
    before = (
        "from hopx_async.keeper import keepers; keepers.python_module = lambda _: ['/bin/false']"
    )
    with root_process("--state-dir", str(tmp_path / "state"), before=before) as root:
        assert root.said["error"]["code"] == "keeper_failed"
        assert "exited with 1" in root.said["error"]["message"]
        assert root.wait() == 1
