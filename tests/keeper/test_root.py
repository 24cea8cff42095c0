from __future__ import annotations

import json
import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from hopx_async.keeper.options import RootError
from hopx_async.keeper.root import listen
from tests.keeper.harness import running
from tests.keeper.root_harness import root_process


def test_announces_where_it_is_and_leaves_a_note(tmp_path: Path) -> None:
    """root prints url, token and pids when ready, and notes url and pid in agent.json."""
    with root_process("--state-dir", str(tmp_path / "state")) as root:
        assert root.said.keys() == {"url", "token", "pid", "agent_pid"}
        assert root.said["pid"] == root.process.pid
        who = root.ask({"op": "who"})
        assert who["pid"] == root.said["agent_pid"]
        assert root.said["token"] == (tmp_path / "state" / "token").read_text().strip()
        note = json.loads((tmp_path / "state" / "agent.json").read_text())
        assert note == {"url": root.said["url"], "pid": root.process.pid}

    assert not (tmp_path / "state" / "agent.json").exists()


def test_state_is_for_its_owner_alone(tmp_path: Path) -> None:
    """root makes the state directory 0700 and every file in it 0600."""
    state = tmp_path / "state"
    with root_process("--state-dir", str(state)):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}

    assert {name for name, mode in modes.items() if mode == 0o700} == {"logs", "workspace"}
    assert {mode for mode in modes.values() if mode != 0o700} == {0o600}


def test_token_and_sandbox_survive_a_restart(tmp_path: Path) -> None:
    """A second root on a state directory has the first one's token and sandbox id."""
    facts = []
    for _ in range(2):
        with root_process("--state-dir", str(tmp_path / "state")) as root:
            config = root.ask({"op": "who"})["config"]
            facts.append((root.said["token"], config["sandbox_id"], config["secret"]))

    assert facts[0] == facts[1]
    assert facts[0][1].startswith("sbx_")


def test_refuses_a_state_directory_that_is_held(tmp_path: Path) -> None:
    """A root announces state_dir_held with the holder's pid, and changes nothing."""
    with root_process("--state-dir", str(tmp_path / "state")) as first:
        with root_process("--state-dir", str(tmp_path / "state")) as second:
            assert second.said["error"]["code"] == "state_dir_held"
            assert second.said["error"]["pid"] == first.process.pid
            assert second.wait() == 1
        assert first.ask({"op": "who"})["pid"] == first.said["agent_pid"]


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_refuses_a_state_directory_that_others_write_to(tmp_path: Path, mode: int) -> None:
    """A root announces state_dir_unsafe and exits with 1."""
    tmp_path.chmod(mode)
    with root_process("--state-dir", str(tmp_path)) as root:
        assert root.said["error"]["code"] == "state_dir_unsafe"
        assert f"{mode:04o}" in root.said["error"]["message"]
        assert root.wait() == 1


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        (["--port", "65536"], "port"),
        (["--grace", "nan"], "grace"),
        (["--segment-bytes", "1"], "segment_bytes"),
        (["--host", "no such host"], "host"),
        (["--workspace", "/proc/nowhere"], "workspace"),
        (["--bogus"], "arguments"),
    ],
)
def test_refuses_bad_arguments(tmp_path: Path, arguments: list[str], parameter: str) -> None:
    """A root announces invalid_argument, naming the argument, and exits with 1."""
    announce = ["--state-dir", str(tmp_path / "state"), "--announce"]
    with root_process(*announce, *arguments) as root:
        if parameter != "arguments":
            assert root.said["error"]["code"] == "invalid_argument"
            assert root.said["error"]["parameter"] == parameter
        assert root.wait() == 1


def test_refuses_a_port_that_is_taken() -> None:
    """listen raises address_in_use when somebody listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RootError, match="in use") as caught:
            listen("127.0.0.1", taken.getsockname()[1])

    assert caught.value.code == "address_in_use"


def test_parent_config_overrules_the_command_line(tmp_path: Path) -> None:
    """The parent's first line decides on workspace, environment and sandbox id."""
    config = {
        "workspace": str(tmp_path / "work"),
        "base_env": {"COLOUR": "red"},
        "sandbox_id": "mine",
        "allow_hosts": ["example.org"],
    }
    with root_process("--state-dir", str(tmp_path / "state"), config=config) as root:
        told = root.ask({"op": "who"})["config"]

    assert told["workspace"] == str(tmp_path / "work")
    assert told["sandbox_id"] == "mine"
    assert told["allow_hosts"] == ["example.org"]
    names = {"PATH", "HOME", "LANG", "TERM", "USER", "TMPDIR", "COLOUR"}
    assert told["base_env"].keys() == names
    assert told["base_env"]["HOME"] == str(tmp_path / "work")
    assert (tmp_path / "work").is_dir()


@pytest.mark.parametrize("line", [{"workspace": 3}, {"bogus": 1}, {"base_env": {"A=B": "x"}}])
def test_refuses_a_bad_parent_config(tmp_path: Path, line: dict[str, object]) -> None:
    """A first line that breaks a rule is announced as invalid_argument."""
    with root_process("--state-dir", str(tmp_path / "state"), config=line) as root:
        assert root.said["error"]["code"] == "invalid_argument"
        assert root.wait() == 1


def test_ephemeral_directory_is_removed(tmp_path: Path) -> None:
    """A root removes the directory that its parent called ephemeral, at its end."""
    home = tmp_path / "home"
    config = {"ephemeral": str(home)}
    with root_process("--state-dir", str(home / "state"), config=config) as root:
        assert home.is_dir()
        root.tell({"stop": {"grace": 0}})
        assert root.wait() == 0

    assert not home.exists()


def test_children_see_no_secrets(tmp_path: Path) -> None:
    """Neither argv nor environment of keeper and agent hold the token or a HOPX variable."""
    env = {"HOPX_API_KEY": "hopx_live_x", "SECRET": "s3"}
    with root_process("--state-dir", str(tmp_path / "state"), env=env) as root:
        token = root.said["token"].encode()
        for pid in (root.said["agent_pid"], root.keeper_pid()):
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert b"HOPX" not in environ
            assert b"SECRET" not in environ
            assert token not in environ + arguments


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_commands_first_and_exits_0(tmp_path: Path, number: int) -> None:
    """SIGTERM or SIGINT ends the commands, then keeper and agent, and the status is 0."""
    with root_process("--state-dir", str(tmp_path / "state")) as root:
        pid = root.start("a", "sleep 60 & sleep 60")
        others = [root.keeper_pid(), root.said["agent_pid"]]
        os.kill(root.process.pid, number)
        assert root.wait() == 0
        assert not any(running(pid) for pid in [pid, *others])
        log = (tmp_path / "state" / "logs" / "a.0000000000000000").read_bytes()
        assert b'"reason":"sandbox_stopped"' in log
