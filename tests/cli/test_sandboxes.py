"""``sandboxes``, ``--sandbox`` and ``exec``, against ``hopx-async serve`` and agents that run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from hopx_async.cli import execute
from hopx_async.cli.app import app
from tests.support.local_server import local_server

CLI = [sys.executable, "-m", "hopx_async.cli"]


class Done(NamedTuple):
    """What a command line leaves."""

    returncode: int
    stdout: str
    stderr: str


class Served(NamedTuple):
    """A server, and how the command line finds it."""

    env: dict[str, str]

    def cli(self, *arguments: str, **more: str) -> Done:
        """Run the command line to its end, in this process."""
        result = CliRunner().invoke(app, arguments, env={**self.env, **more})
        return Done(result.exit_code, result.stdout, result.stderr)

    def ok(self, *arguments: str) -> str:
        """Run the command line, see it succeed, and return what it printed."""
        done = self.cli(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def create(self) -> str:
        """Create a sandbox and return its id."""
        return self.ok("sandboxes", "create", "base").strip()

    def popen(self, *arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
        """Start the command line."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*CLI, *arguments],
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=self.env,
        )


@pytest.fixture
def served() -> Iterator[Served]:
    """A server of its own, named by the environment."""
    with local_server() as server:
        here = {"HOPX_API_KEY": server.api_key, "HOPX_BASE_URL": server.url}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HOPX_")}
        yield Served({**kept, **here})


def test_sandboxes_are_created_listed_and_deleted(served: Served) -> None:
    """What create prints is what list shows and kill takes; a wrong id keeps no other from it."""
    assert served.ok("sandboxes").split() == ["ID", "STATUS", "TEMPLATE", "REGION", "AGE", "LEFT"]
    first = served.create()
    made = json.loads(
        served.ok("sandboxes", "create", "--json", "--timeout-seconds", "600", "--env", "A=1")
    )
    assert (made["template_name"], made["timeout_seconds"]) == ("code-interpreter", 600)
    listed = [json.loads(line) for line in served.ok("sandboxes", "--json").splitlines()]
    # By id, which begins with the second in which it was made.
    ids = sorted([first, made["sandbox_id"]])
    assert [one["sandbox_id"] for one in listed] == ids
    assert "token" not in str(listed)
    rows = served.ok("sandboxes").splitlines()[1:]
    templates = {first: "base", made["sandbox_id"]: "code-interpreter"}
    assert [row.split()[:3] for row in rows] == [[one, "running", templates[one]] for one in ids]
    assert served.ok("sandboxes", "--status", "paused").count("\n") == 1

    killed = served.cli("sandboxes", "kill", "nobody", first, made["sandbox_id"])
    assert (killed.returncode, killed.stdout) == (2, "")
    assert killed.stderr.count(": deleted\n") == 2
    assert "'nobody' not found" in killed.stderr
    assert served.ok("sandboxes", "--json") == ""


def test_every_word_takes_a_sandbox(served: Served) -> None:
    """start, ps, logs, wait and kill work on --sandbox or HOPX_SANDBOX as on an agent."""
    sandbox = served.create()
    told = json.loads(served.ok("start", "--sandbox", sandbox, "--json", "--name", "job", "echo 1"))
    assert (told["sandbox_id"], told["name"]) == (sandbox, "job")
    here = {"HOPX_SANDBOX": sandbox}
    waited = served.cli("wait", "--json", "job", **here)
    assert (waited.returncode, waited.stderr) == (0, "")
    assert json.loads(waited.stdout)["process_id"] == told["process_id"]
    assert served.cli("logs", "job", **here).stdout == "1\n"
    events = [
        json.loads(line) for line in served.cli("logs", "--json", "job", **here).stdout.splitlines()
    ]
    assert [event["type"] for event in events] == ["started", "stdout", "exited"]
    left = served.cli("start", "sleep 300", **here).stdout.strip()
    rows = served.cli("ps", "--json", "--status", "running", **here).stdout.splitlines()
    assert [json.loads(row)["process_id"] for row in rows] == [left]
    killed = served.cli("kill", "--json", "--grace", "0.2", left, **here)
    assert json.loads(killed.stdout)["reason"] == "killed"
    assert served.cli("run", "--quiet", "echo here", **here).stdout == "here\n"


def test_exec_is_as_if_it_were_here(served: Served) -> None:
    """Its output, its errors and its status are the command's; arguments stay what they are."""
    sandbox = served.create()
    done = served.cli("exec", "--sandbox", sandbox, "--env", "A=1", "echo $A; echo 2 >&2; exit 7")
    assert done == Done(7, "1\n", "2\n")
    done = served.cli("exec", "--sandbox", sandbox, "--", "printf", "<%s>", "two words", "$HOME")
    assert done == Done(0, "<two words><$HOME>", "")
    timed = served.cli("exec", "--sandbox", sandbox, "--timeout", "0.2", "sleep 300")
    assert timed.returncode == 124
    done = served.cli("exec", "--sandbox", sandbox, "--json", "--name", "n", "true")
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["started", "exited"]
    assert served.cli("exec", "--sandbox", sandbox, "--", "/nonexistent").returncode == 127


def test_exec_passes_on_what_is_piped_in(served: Served, tmp_path: Path) -> None:
    """A pipe and a file reach the command's stdin, every byte, and so does their end."""
    sandbox = served.create()
    data = os.urandom(300_000)
    (tmp_path / "data").write_bytes(data)
    command = [*CLI, "exec", "--sandbox", sandbox, "--", "sha256sum"]
    wanted = subprocess.run(["sha256sum"], input=data, stdout=subprocess.PIPE, check=True).stdout
    piped = subprocess.run(command, input=data, stdout=subprocess.PIPE, env=served.env, check=True)
    assert piped.stdout == wanted
    with (tmp_path / "data").open("rb") as file:
        read = subprocess.run(
            command, stdin=file, stdout=subprocess.PIPE, env=served.env, check=True
        )
    assert read.stdout == wanted
    nothing = [*CLI, "exec", "--sandbox", sandbox, "cat; echo end"]
    assert subprocess.check_output(nothing, stdin=subprocess.DEVNULL, env=served.env) == b"end\n"


def test_exec_ends_with_its_command_though_more_could_be_piped_in(served: Served) -> None:
    """A command that reads one line ends; nobody waits for the rest of the pipe."""
    sandbox = served.create()
    with served.popen(
        "exec", "--sandbox", sandbox, "read x; echo got $x", stdin=subprocess.PIPE
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write("one\n")
        client.stdin.flush()
        assert client.stdout.read() == "got one\n"
        assert client.wait() == 0


def test_ctrl_c_ends_what_exec_runs(served: Served) -> None:
    """The command is killed with all it started; the sandbox stays."""
    sandbox = served.create()
    with served.popen("exec", "--sandbox", sandbox, "echo ready; sleep 300 & wait") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        client.send_signal(signal.SIGINT)
        assert client.wait() == 130
    rows = served.ok("ps", "--sandbox", sandbox, "--json").splitlines()
    assert [json.loads(row)["status"] for row in rows] == ["killed"]


def test_a_paused_sandbox_is_resumed(served: Served) -> None:
    """Whoever uses it wakes it."""
    sandbox = served.create()
    service = HTTPConnection(urlsplit(served.env["HOPX_BASE_URL"]).netloc)
    headers = {"X-API-Key": served.env["HOPX_API_KEY"]}
    service.request("POST", f"/v1/sandboxes/{sandbox}/pause", headers=headers)
    assert service.getresponse().status == 200
    service.close()
    assert served.cli("exec", "--sandbox", sandbox, "echo awake").stdout == "awake\n"


WRONG: list[tuple[list[str], dict[str, str], int, str]] = [
    (["sandboxes"], {"HOPX_API_KEY": ""}, 2, "HOPX_API_KEY"),
    (["exec", "true"], {}, 2, "HOPX_SANDBOX"),
    (["exec", "a", "b", "--sandbox", "x"], {}, 2, "one command only"),
    (["ps", "--sandbox", "a/b"], {}, 2, "sandbox_id="),
    (["ps", "--sandbox", "x", "--url", "http://127.0.0.1:1"], {}, 2, "either this"),
    (["ps"], {"HOPX_SANDBOX": "x", "HOPX_AGENT_URL": "http://127.0.0.1:1"}, 2, "either this"),
    (["ps", "--sandbox", "x", "--token-file", "f"], {}, 2, "needs --url"),
    (["run", "--sandbox", "x", "--no-internet", "true"], {}, 2, "was started with"),
    (["logs", "--json", "--last", "1", "c", "--sandbox", "nobody"], {}, 2, "not found"),
    (["ps", "--sandbox", "nobody"], {}, 2, "not found"),
    (["sandboxes", "create", "bse"], {}, 2, "did you mean base?"),
    (["sandboxes", "create", "--timeout-seconds", "0"], {}, 2, "timeout_seconds="),
    (["sandboxes"], {"HOPX_API_KEY": "wrong"}, 125, "Invalid API key"),
]


def test_what_is_wrong_is_told_in_one_line(served: Served) -> None:
    """Bad input is 2 and a line that says what to do; no key is ever shown."""
    for arguments, env, status, said in WRONG:
        done = served.cli(*arguments, **env)
        assert (done.returncode, done.stdout) == (status, ""), arguments
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert "wrong" not in done.stderr


def test_an_option_wins_over_the_environment(served: Served) -> None:
    """--sandbox counts although an agent is named by the environment."""
    sandbox = served.create()
    done = served.cli("ps", "--json", "--sandbox", sandbox, HOPX_AGENT_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_piped_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file and a pipe are; /dev/null, a closed stdin and no stdin at all are not."""
    (tmp_path / "f").touch()
    read_end, write_end = os.pipe()
    for name, kind in ((str(tmp_path / "f"), True), ("/dev/null", False)):
        with Path(name).open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            assert (execute.piped() is not None) is kind
        assert execute.piped() is None
    with os.fdopen(read_end) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert execute.piped() == read_end
    os.close(write_end)
    monkeypatch.setattr(sys, "stdin", None)
    assert execute.piped() is None


def test_the_ages_are_told(served: Served) -> None:
    """AGE counts from the creation, LEFT to the deletion."""
    served.ok("sandboxes", "create", "base", "--timeout-seconds", "7200")
    row = served.ok("sandboxes").splitlines()[1]
    assert re.search(r"local +\d+\.\d s +(1:59:\d\d|2:00:00)$", row), (row, time.time())
