"""``hopx-async run``: in a pipe, as scripts see it; and its parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUN = [sys.executable, "-m", "hopx_async.cli", "run"]


def run(
    *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*RUN, *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=env
    )


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start it, to be sent signals; as long as it runs, its group is not ours."""
    return subprocess.Popen([*RUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# In a pipe.


def test_lines_are_prefixed_and_a_summary_follows(tmp_path: Path) -> None:
    """Lines go where the command wrote them, each with its number; the summary to stderr."""
    trick = "echo $'\\e[2J' '\x1b]0;title\x07 \x9b1A'"
    last = "printf 'gr\\303'; printf '\\274n without a newline'"
    done = run("echo out; echo err >&2", "pwd", trick, last, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == [
        "",
        "[1] out",
        f"[2] {tmp_path.resolve()}",
        "[3] \x1b[2J \x1b]0;title\x07 \x9b1A",
        "[4] grün without a newline",
    ]
    first, *summary = done.stderr.splitlines()
    assert first == "[1] err"
    assert [line.rpartition(" after ")[0] for line in summary] == [
        "[1] echo out; echo err >&2: exited with 0",
        "[2] pwd: exited with 0",
        r"[3] echo $'\e[2J' '\x1b]0;title\x07 \x9b1A': exited with 0",
        r"[4] printf 'gr\303'; printf '\274n without a newline': exited with 0",
    ]


def test_behind_dashes_stands_one_program(tmp_path: Path) -> None:
    """What follows -- is one argument vector, as it is, beside the texts before it."""
    done = run("echo text", "--", "printf", "%s|", "a b", "--json", "--", "$HOME", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "[1] text",
        "[2] a b|--json|--|$HOME|",
    ]
    assert "[2] printf '%s|' 'a b' --json -- '$HOME': exited with 0" in done.stderr


def test_names_stand_before_lines(tmp_path: Path) -> None:
    """A name takes the place of a number, bounded, and cannot play tricks."""
    trick = "\x1b[2J\n" + "x" * 30
    done = run("--name", "büro", "--name", trick, "echo a", "echo b", "echo c", cwd=tmp_path)

    assert sorted(done.stdout.splitlines()) == [
        "[                   3] c",
        "[                büro] a",
        r"[\x1b[2J\nxxxxxxxxxx…] b",
    ]


def test_json_prints_events_one_a_line(tmp_path: Path) -> None:
    """--json prints each event as its to_dict() and nothing else."""
    done = run("--json", "echo out; echo err >&2; printf '\\377'; exit 3", cwd=tmp_path)
    events = [json.loads(line) for line in done.stdout.splitlines()]

    assert (done.returncode, done.stderr) == (3, "")
    assert events[0]["type"] == "started"
    assert events[-1]["type"] == "exited"
    assert events[-1]["exit"]["exit_code"] == 3
    data = {event["type"]: event.get("data", event.get("data_base64")) for event in events[1:-1]}
    assert data.keys() == {"stdout", "stderr"}
    assert all({"process_id", "cursor", "at"} <= event.keys() for event in events)


def test_quiet_is_the_output_alone(tmp_path: Path) -> None:
    """--quiet hands on the bytes of one command, and the lines of several, and says nothing."""
    done = run("--quiet", "printf 'no newline'; echo err >&2; exit 3", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "no newline", "err\n")
    several = run("--quiet", "echo a; printf b", "echo c", cwd=tmp_path)
    assert sorted(several.stdout.splitlines()) == ["a", "b", "c"]
    assert several.stderr == ""


@pytest.mark.parametrize("flag", ["--quiet", "--json"])
def test_what_cannot_start_is_always_told(flag: str, tmp_path: Path) -> None:
    """A command that could not start is told on stderr in every style."""
    done = run(flag, "--", "no-such-program", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (127, "")
    assert "no-such-program" in done.stderr
    assert done.stderr.count("\n") == 1


def test_variables_and_directory(tmp_path: Path) -> None:
    """--env sets a variable or hands one on, --working-dir starts from here."""
    (tmp_path / "sub").mkdir()
    env = {**os.environ, "HERE": "a secret"}
    options = ("--env", "A=1=2", "--env", "HERE", "--working-dir", "sub")
    done = run(*options, 'echo "$A $HERE $PWD"', cwd=tmp_path, env=env)

    assert done.stdout == f"[1] 1=2 a secret {tmp_path.resolve()}/sub\n"


def test_the_first_failure_is_the_exit_status() -> None:
    """The exit status is that of the first command, in the order given, that did not complete."""
    done = run("true", "kill -9 $$", "exit 3")

    assert done.returncode == 128 + signal.SIGKILL
    assert "[2] kill -9 $$: was ended by SIGKILL" in done.stderr
    assert "[3] exit 3: exited with 3" in done.stderr


def test_a_time_limit_is_124() -> None:
    """A command beyond --timeout ends as timed out, the others run on to their end."""
    done = run("--timeout", "0.5", "sleep 3600", "exit 3")

    assert done.returncode == 124
    assert "[1] sleep 3600: was ended by its time limit" in done.stderr


def test_a_command_that_cannot_start_is_127() -> None:
    """Where there is no bash, the exit status is 127 and the summary says why."""
    done = run("true", env={**os.environ, "PATH": "/nonexistent"})

    assert done.returncode == 127
    assert "[1] true: 'bash' could not be started: No such file or directory" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(number: signal.Signals) -> None:
    """Ctrl-C, which reaches this process alone, ends the commands and everything of theirs."""
    with start("echo $$; exec sleep 3600", "sleep 3600 & exec sleep 3600") as client:
        assert client.stdout is not None
        leader = int(client.stdout.readline().removeprefix(b"[1] "))
        client.send_signal(number)
        out, err = client.communicate()

    assert client.returncode == 128 + number
    assert (out, err) == (b"", b"interrupted: all commands are ended\n")
    assert not Path(f"/proc/{leader}").exists()


def test_a_second_interruption_does_not_wait_for_the_grace_period(tmp_path: Path) -> None:
    """A command that ignores TERM is killed at once when Ctrl-C comes again."""
    said = tmp_path / "said"
    os.mkfifo(said)
    stubborn = "trap 'echo term >&3; sleep 4; echo late >&3' TERM"
    with start(f"exec 3>{said}; {stubborn}; echo ready; while :; do sleep 60; done") as client:
        with said.open() as lines:
            # What the client prints, it follows: a start that is cancelled ends at once.
            assert client.stdout is not None
            assert client.stdout.readline() == b"[1] ready\n"
            client.send_signal(signal.SIGINT)
            assert lines.readline() == "term\n"
            client.send_signal(signal.SIGINT)
            # The grace period is longer than the nap before this word.
            assert lines.read() == ""
        client.communicate()

    assert client.returncode == 130


def test_a_reader_that_goes_ends_the_commands() -> None:
    """When nobody reads any more, as behind ``| head``, everything ends without a word."""
    with start("while :; do echo y; done") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"[1] y\n"
        client.stdout.close()
        assert client.stderr is not None
        assert client.stderr.read() == b""

    assert client.returncode == 128 + signal.SIGPIPE
