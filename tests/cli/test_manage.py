"""``start``, ``ps``, ``logs``, ``wait``, ``kill``, ``run --url``: an agent that runs already."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.lowlevel
import pytest
from typer.testing import CliRunner

from hopx_async.cli import manage
from hopx_async.cli.app import app
from hopx_async.cli.output import LineCutter
from hopx_async.errors import AgentUnreachable
from hopx_async.model import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

CLI = [sys.executable, "-m", "hopx_async.cli"]


class Done(NamedTuple):
    """What a command line leaves."""

    returncode: int
    stdout: str
    stderr: str


class Agent(NamedTuple):
    """An agent and how the command line finds it."""

    env: dict[str, str]
    workspace: Path

    def cli(self, *arguments: str) -> Done:
        """Run the command line to its end, in this process."""
        result = CliRunner().invoke(app, arguments, env=self.env)
        return Done(result.exit_code, result.stdout, result.stderr)

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command line."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*CLI, *arguments], stdout=pipe, stderr=pipe, text=True, env=self.env
        )

    def start(self, *arguments: str) -> str:
        """Start a command and return its id."""
        done = self.cli("start", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent of its own, named by the environment."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    command = [sys.executable, "-m", "hopx_async.agent", "--announce"]
    command += ["--state-dir", str(tmp_path / "state"), "--workspace", str(workspace)]
    with subprocess.Popen([*command, "--grace", "0.2"], stdout=subprocess.PIPE) as root:
        assert root.stdout is not None
        said = json.loads(root.stdout.readline())
        env = {**os.environ, "HOPX_AGENT_URL": said["url"], "HOPX_AGENT_TOKEN": said["token"]}
        yield Agent(env, workspace)
        root.terminate()


def test_a_command_is_started_listed_read_waited_for_and_killed(agent: Agent) -> None:
    """A command started by one call is found by the others, by its id and by its name."""
    text = "echo one; echo two >&2; printf three; exit 3"
    first = agent.start("--name", "job", "--env", "A=1", text)
    waited = agent.cli("wait", "job")
    assert waited.returncode == 3
    assert re.sub(r"[\d.]+ s", "0.0 s", waited.stderr) == "job: exited with 3 after 0.0 s\n"
    assert waited.stdout == ""

    logs = agent.cli("logs", first)
    assert (logs.returncode, logs.stdout, logs.stderr) == (0, "one\nthree", "two\n")
    last = agent.cli("logs", "--last", "1", "job")
    assert (last.stdout, last.stderr) == ("three\n", "")

    second = agent.start("--name", "job", "--", "sleep", "300")
    listed = [json.loads(line) for line in agent.cli("ps", "--json").stdout.splitlines()]
    assert [(info["process_id"], info["status"]) for info in listed] == [
        (first, "failed"),
        (second, "running"),
    ]
    assert listed[0]["env_names"] == ["A"]
    assert listed[1]["command"] == ["sleep", "300"]
    table = agent.cli("ps", "--status", "running").stdout
    assert re.sub(r"\d+\.\d s", "0.0 s", table).splitlines()[1:] == [
        f"{second} running     0.0 s job  sleep 300"
    ]

    killed = agent.cli("kill", "job", "--grace", "0.5")
    assert killed.returncode == 0
    assert killed.stderr.startswith("job: was killed after ")
    assert agent.cli("wait", "--quiet", second).returncode == 128 + signal.SIGTERM


def test_logs_follow(agent: Agent) -> None:
    """logs -f goes on to the end; without it, it ends with what is there now."""
    gate = agent.workspace / "gate"
    os.mkfifo(gate)
    process_id = agent.start("echo one; echo two; printf thr; read x < gate; echo ee")
    with agent.popen("logs", "-f", process_id) as follower:
        assert follower.stdout is not None
        assert [follower.stdout.readline() for _ in "12"] == ["one\n", "two\n"]
        assert agent.cli("logs", process_id).stdout == "one\ntwo\nthr"
        assert agent.cli("logs", "--last", "2", process_id).stdout == "two\nthr\n"
        gate.write_text("\n")
        assert follower.stdout.read() == "three\n"
    assert follower.returncode == 0
    assert agent.cli("logs", "-f", "--last", "1", process_id).stdout == "three\n"


def test_the_last_lines_of_a_long_log_are_looked_for_from_its_end(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """logs --last of a running command reads its end; farther back where that is not enough."""
    gate = agent.workspace / "gate"
    os.mkfifo(gate)
    number = agent.start("seq 1000000; printf end; echo > gate; exec sleep 300")
    gate.read_text()
    read: list[int] = []
    feed = LineCutter.feed

    def counted(cutter: LineCutter, data: bytes) -> None:
        read.append(len(data))
        feed(cutter, data)

    monkeypatch.setattr(LineCutter, "feed", counted)
    shown = agent.cli("logs", "--last", "2", number)
    assert shown.stdout == "1000000\nend\n"
    # Once while looking, once while writing.
    assert 0 < sum(read) < 500_000
    shown = agent.cli("logs", "--last", "400000", number)
    lines = shown.stdout.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (400_000, "600002", "end")
    agent.cli("kill", number, "--grace", "0")


def test_ctrl_c_leaves_the_command_alone(agent: Agent) -> None:
    """Whoever follows a command may go, without a word; the command does not notice."""
    process_id = agent.start("echo ready; exec sleep 300")
    with agent.popen("logs", "-f", process_id) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == "ready\n"
        client.send_signal(signal.SIGINT)
        assert client.stderr.read() == ""

    assert client.returncode == 130
    assert f"{process_id} running" in agent.cli("ps").stdout


def test_run_elsewhere_owns_its_commands(agent: Agent) -> None:
    """run --url runs in that agent's workspace, and Ctrl-C ends what it started there."""
    (agent.workspace / "sub").mkdir()
    done = agent.cli("run", "--working-dir", "sub", "--", "pwd")
    assert done.stdout == f"[1] {agent.workspace.resolve()}/sub\n"

    with agent.popen("run", "echo ready; exec sleep 300") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "[1] ready\n"
        client.send_signal(signal.SIGINT)
        client.wait()
    assert client.returncode == 130
    assert "running" not in agent.cli("ps").stdout
    assert "killed" in agent.cli("ps").stdout


def test_a_run_elsewhere_whose_reader_goes_leaves_nothing(agent: Agent) -> None:
    """When nobody reads any more, the commands on the agent end as well."""
    with agent.popen("run", "while :; do echo y; done") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "[1] y\n"
        client.stdout.close()
        assert client.stderr is not None
        assert client.stderr.read() == ""

    assert client.returncode == 128 + signal.SIGPIPE
    assert "running" not in agent.cli("ps").stdout


def test_what_is_not_there_is_told(agent: Agent, tmp_path: Path) -> None:
    """Unknown commands and ambiguous names are bad input, a wrong token is trouble: one line."""
    agent.start("--name", "two", "sleep 300")
    agent.start("--name", "two", "sleep 300")
    assert "2 commands run under this name: cmd_" in agent.cli("kill", "two").stderr
    wrong = tmp_path / "wrong"
    wrong.write_text("nonsense\n")
    for arguments, status, said in (
        (["logs", "nobody"], 2, "no command has the id or name 'nobody'"),
        (["wait", "no id \x1b[2J"], 2, "no command has the id or name"),
        (["logs", "two", "--last", "0"], 2, "--last=0"),
        (["kill", "two"], 2, "command='two'"),
        (["ps", "--status", "sleeping"], 2, "status='sleeping'"),
        (["start", "--", "no-such-program"], 127, "no-such-program"),
        (["ps", "--token-file", str(wrong)], 125, "token"),
        (["run", "--token-file", str(wrong), "true"], 125, "token"),
    ):
        done = agent.cli(*arguments)
        assert (done.returncode, done.stdout) == (status, ""), arguments
        assert said in done.stderr
        assert done.stderr.startswith("hopx-async: ")
        assert done.stderr.count("\n") == 1
        assert "\x1b" not in done.stderr
    right = tmp_path / "right"
    right.write_text(agent.env["HOPX_AGENT_TOKEN"] + "\n")
    assert agent.cli("ps", "--token-file", str(right)).returncode == 0


async def test_a_kill_that_fails_keeps_no_other_from_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command is waited for and told of, and the status is the failure's."""
    failed = anyio.Event()

    class Handle:
        def __init__(self, name: str) -> None:
            self.process_id = name

        async def kill(self, _grace: float) -> Exit:
            if self.process_id == "bad":
                failed.set()
                raise AgentUnreachable("nobody answers")
            await failed.wait()
            await anyio.lowlevel.checkpoint()
            return Exit(reason="killed", signal="SIGTERM", duration=1.0)

    async def find(_sandbox: object, wanted: str) -> Handle:
        return Handle(wanted)

    monkeypatch.setattr(manage, "find", find)
    nowhere: Any = None

    assert await manage.kill(nowhere, ["bad", "good"], 0.0) == 125
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "good: was killed after 1.0 s",
        "hopx-async: nobody answers",
    ]
