"""``hopx-async exec --pty`` on a real terminal: keys, sizes, signals, and what is left behind."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from hopx_async.cli.app import app
from tests.support.local_server import local_server
from tests.support.screens import CTRL_C, Screen, terminal

CLI = [sys.executable, "-m", "hopx_async.cli"]
# A shell without what people configure.
SHELL = ("--env", "PS1=ready> ", "--", "bash", "--norc", "--noediting", "-i")


class Agent(NamedTuple):
    """An agent that runs, and how the command line finds it."""

    env: dict[str, str]
    root: int

    @contextmanager
    def exec(self, *arguments: str, term: str = "xterm") -> Generator[Screen]:
        """Run ``exec -t`` on a terminal; see that it leaves that as it was."""
        # The shell stays, so that somebody still holds the terminal at the end.
        program = ["bash", "-c", '"$@"; echo "left $?"; read x', "bash"]
        program += [*CLI, "exec", "-t", *arguments]
        with terminal(program, environment=self.env, term=term) as screen:
            before = screen.modes()
            yield screen
            screen.until(r"left \d+")
            assert screen.modes() == before

    def statuses(self) -> list[str]:
        """Return how its commands are."""
        rows = CliRunner().invoke(app, ["ps", "--json"], env=self.env).stdout.splitlines()
        return [json.loads(row)["status"] for row in rows]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent of its own, named by the environment."""
    command = [sys.executable, "-m", "hopx_async.agent", "--announce"]
    command += ["--state-dir", str(tmp_path / "state"), "--grace", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as root:
        assert root.stdout is not None
        said = json.loads(root.stdout.readline())
        env = {**os.environ, "HOPX_AGENT_URL": said["url"], "HOPX_AGENT_TOKEN": said["token"]}
        yield Agent(env, root.pid)
        root.terminate()


def child(pid: int, module: str) -> int:
    """Return the child of *pid* that runs a module."""
    for line in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if module.encode() in Path(f"/proc/{line}/cmdline").read_bytes():
            return int(line)
    raise AssertionError(module)


def client_of(screen: Screen) -> int:
    """Return the pid of the command line on a screen."""
    return child(screen.program.pid, "hopx_async.cli")


def test_a_shell_is_as_if_it_were_here(agent: Agent) -> None:
    """Keys go there and are echoed there, Ctrl-C interrupts there, its status comes back."""
    with agent.exec(*SHELL) as screen:
        screen.until("ready> ")
        screen.type("tty | grep -c pts; echo $TERM $((6 * 7))\r")
        screen.until(r"\r\n1\r\nxterm 42\r\nready> ")
        screen.type("echo on; sleep 300\r")
        screen.until(r"\r\non\r\n")
        screen.type(CTRL_C)
        screen.until(r"\^C\r\n.*ready> ")
        screen.type("echo $?; exit 7\r")
        screen.until(r"\r\n130\r\n")
        screen.until("left 7")
    assert agent.statuses() == ["failed"]


def test_its_sizes_are_those_of_the_terminal_here(agent: Agent) -> None:
    """The size at the start is the terminal's, and each later one is told by SIGWINCH."""
    text = "trap 'stty size' WINCH; stty size; while :; do read -t 0.05 x && exit; done"
    with agent.exec(text) as screen:
        screen.until(r"24 100\r\n")
        screen.resize(30, 90)
        screen.until(r"30 90\r\n")
        screen.type("\r")
        screen.until("left 0")


def test_what_a_terminal_obeys_reaches_it(agent: Agent) -> None:
    """Control sequences come as they are; TERM is this terminal's, unless --env says otherwise."""
    with agent.exec(r"printf '\033[2J\033]0;title\007'; echo $TERM", term="screen") as screen:
        screen.until(re.escape("\x1b[2J\x1b]0;title\x07screen"))
    with agent.exec("--env", "TERM=vt100", "echo $TERM", term="screen") as screen:
        screen.until("vt100")


def test_much_output_comes_whole(agent: Agent) -> None:
    """Every line of a long output is on the screen, in order."""
    with agent.exec("seq 20000") as screen:
        screen.until("left 0")
    lines = screen.seen.decode().split("\r\n")
    assert lines[:20000] == [str(number) for number in range(1, 20001)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_the_command_and_gives_the_terminal_back(
    agent: Agent, number: signal.Signals
) -> None:
    """Whatever ends the command line ends the command too, and the terminal is as before."""
    with agent.exec("echo ready; sleep 300 & wait") as screen:
        screen.until("ready")
        os.kill(client_of(screen), number)
        screen.until("left (143|129)")
    assert agent.statuses() == ["killed"]


def test_a_terminal_that_goes_ends_the_command(agent: Agent) -> None:
    """When the window is closed nothing is left."""
    program = [*CLI, "exec", "--pty", "echo ready; sleep 300 & wait"]
    with terminal(program, environment=agent.env) as screen:
        screen.until("ready")
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), screen.fd)  # in the place of our side, which is closed so
        screen.program.wait()
    assert screen.program.returncode in {128 + signal.SIGHUP, 128 + signal.SIGPIPE}
    assert agent.statuses() == ["killed"]


def test_a_lost_connection_is_survived(agent: Agent) -> None:
    """The agent is killed meanwhile; no key and no byte is missing."""
    with agent.exec(*SHELL) as screen:
        screen.until("ready> ")
        os.kill(child(agent.root, "hopx_async.agent"), signal.SIGKILL)
        screen.type("echo still $((40 + 2))\r")
        screen.until(r"\r\nstill 42\r\n")
        screen.type("exit 3\r")
        screen.until("left 3")
    assert screen.seen.count(b"still 42\r\n") == 1


def test_a_connection_that_stays_lost_can_be_left(agent: Agent) -> None:
    """While keys do not get there, Ctrl-C thrice ends it; it claims nothing that it cannot know."""
    with agent.exec(*SHELL) as screen:
        screen.until("ready> ")
        os.kill(child(agent.root, "hopx_async.agent"), signal.SIGSTOP)
        screen.type("echo lost\r")
        screen.type(CTRL_C * 3)
        # What was read together with other keys hangs with them: one presses again.
        while not select.select([screen.fd], [], [], 5)[0]:
            screen.type(CTRL_C * 3)
        screen.until("interrupted: commands may still run there")
        screen.until("left 130")
        os.kill(child(agent.root, "hopx_async.agent"), signal.SIGCONT)


def test_a_stopped_session_goes_on(agent: Agent) -> None:
    """Stopped and continued, it makes the terminal raw again and asks for its size."""
    text = "trap 'stty size' WINCH; echo ready; while :; do read -t 0.05 x && exit; done"
    with agent.exec(text) as screen:
        screen.until("ready")
        raw = screen.modes()
        pid = client_of(screen)
        os.kill(pid, signal.SIGSTOP)
        screen.cook()
        screen.resize(40, 80)
        os.kill(pid, signal.SIGCONT)
        screen.until("40 80")
        assert screen.modes() == raw
        screen.type("\r")


def test_without_a_terminal_it_is_refused(agent: Agent) -> None:
    """A pipe is no terminal; JSON is none either. Both are told in one line, nothing is started."""
    for arguments, said in (
        (["exec", "--pty", "true"], "stdin is no terminal"),
        (["exec", "-t", "--json", "true"], "--json"),
    ):
        done = CliRunner().invoke(app, arguments, env=agent.env)
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert agent.statuses() == []


def test_a_far_side_without_terminals_is_told() -> None:
    """HopX's own agent has none for background commands: one line, and nothing was started."""
    with local_server("--agent", "stock") as server:
        env = {**os.environ, "HOPX_API_KEY": server.api_key, "HOPX_BASE_URL": server.url}
        sandbox = subprocess.check_output(
            [*CLI, "sandboxes", "create", "base"], env=env, text=True
        ).strip()
        here = Agent({**env, "HOPX_SANDBOX": sandbox}, 0)
        with here.exec("true") as screen:
            screen.until("left 2")
    assert screen.seen.startswith(b"hopx-async: pty: this sandbox runs HopX's own agent, which ")
