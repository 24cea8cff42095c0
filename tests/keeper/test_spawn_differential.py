"""Odd commands, run by a keeper and by ``subprocess.Popen``: the same outcome, or a reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.keeper.harness import ENV, KeeperProcess, keeper_process, output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Case(NamedTuple):
    """One odd command.

    Attributes:
        arguments: With ``{dir}`` for the directory of the odd programs.
        env: Beside the usual variables; None as a value unsets.
        directory: Where it runs, below that directory.
        differs: Why the two may end otherwise, "" if they may not.
    """

    arguments: list[str]
    env: Mapping[str, str | None] = MappingProxyType({})
    directory: str = "."
    differs: str = ""


_STATUS = "sed -n 's/^{}:[[:space:]]*//p' /proc/self/status"
_NO_INTERPRETER = "execve alone refuses it; a shell, and so the keeper, has /bin/sh read it"
_MARKS = "the keeper marks its commands, so that none can escape a kill"
_RESERVED = "posix_spawn leaves 32 and 33 ignored, which libc keeps for itself and nobody sends"

CASES: dict[str, Case] = {
    "exit code": Case(["sh", "-c", "exit 7"]),
    "exit code above 255": Case(["sh", "-c", "exit 263"]),
    "exit code below 0": Case([sys.executable, "-S", "-c", "import os; os._exit(-1)"]),
    "signal": Case(["sh", "-c", "kill -SEGV $$"]),
    "core signal of a child": Case(["sh", "-c", "sh -c 'kill -ABRT $$'; exit $?"]),
    "SIGPIPE kills": Case(["sh", "-c", "kill -PIPE $$; echo ignored"]),
    "SIGPIPE in a pipeline": Case(["bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}"]),
    "SIGPIPE in python": Case(
        [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGPIPE))"]
    ),
    "SIGINT is default": Case(["sh", "-c", "kill -INT $$; echo ignored"]),
    "SIGHUP is default": Case(["sh", "-c", "kill -HUP $$; echo ignored"]),
    "SIGCHLD is default": Case(["sh", "-c", _STATUS.format("SigCgt")]),
    "signal mask": Case(["sh", "-c", _STATUS.format("SigBlk")]),
    "ignored signals": Case(["sh", "-c", _STATUS.format("SigIgn")], differs=_RESERVED),
    "PATH in env": Case(["tool"], {"PATH": "{dir}/bin"}),
    "PATH with a relative entry": Case(["tool"], {"PATH": "bin"}),
    "PATH with an empty entry": Case(["here"], {"PATH": ":/nowhere"}),
    "PATH empty": Case(["here"], {"PATH": ""}),
    "PATH unset": Case(["sh", "-c", "echo found"], {"PATH": None}),
    "PATH without it": Case(["tool"], {"PATH": "/nowhere:{dir}/none"}),
    "PATH through a file": Case(["tool"], {"PATH": "{dir}/here:{dir}/bin"}),
    "PATH with one not executable": Case(["tool"], {"PATH": "{dir}/locked:{dir}/bin"}),
    "PATH with only one not executable": Case(["tool"], {"PATH": "{dir}/locked"}),
    "PATH with a directory of that name": Case(["tool"], {"PATH": "{dir}/folder"}),
    "relative program": Case(["./here"]),
    "relative program from another directory": Case(["../here"], directory="bin"),
    "relative program not there": Case(["./here"], directory="bin"),
    "absolute program": Case(["{dir}/here", "a b", ""]),
    "no such program": Case(["no-such-program"]),
    "not executable": Case(["{dir}/locked/tool"]),
    "a directory": Case(["{dir}/bin"]),
    "an empty file": Case(["{dir}/empty"], differs=_NO_INTERPRETER),
    "no #!": Case(["{dir}/plain", "x"], differs=_NO_INTERPRETER),
    "#! of nothing": Case(["{dir}/orphan"]),
    "#! of a script": Case(["{dir}/nested", "x"]),
    "garbage": Case(["{dir}/garbage"], differs=_NO_INTERPRETER),
    "dangling link": Case(["{dir}/dangling"]),
    "a loop of links": Case(["{dir}/loop"]),
    "trailing slash": Case(["{dir}/here/"]),
    "missing directory": Case(["true"], directory="none"),
    "file as directory": Case(["true"], directory="here"),
    "locked directory": Case(["pwd"], directory="locked"),
    "stdin is empty": Case(["sh", "-c", "cat; readlink /proc/self/fd/0"]),
    "descriptors": Case(["bash", "-c", "cd /proc/self/fd; echo *"]),
    "session and group": Case(
        ["bash", "-c", "set -- $(cat /proc/$$/stat); [ $$ = $5 ] && [ $$ = $6 ] && echo leads"]
    ),
    "no terminal": Case(["sh", "-c", ": < /dev/tty"]),
    "umask": Case(["sh", "-c", "umask"]),
    "niceness": Case(["nice"]),
    "limits": Case(["bash", "-c", "ulimit -a | grep -v 'file locks'"]),
    "file locks": Case(["bash", "-c", "ulimit -x"], differs=_MARKS),
    "environment": Case(
        ["env"],
        {"EMPTY": "", "SPACE": "a b", "UTF": "grün", "LF": "a\nb"},
        differs=_MARKS,
    ),
    "environment but for the marks": Case(
        ["bash", "-c", "env | sort | grep -v ^HOPX_"], {"EMPTY": "", "UTF": "grün", "LANG": None}
    ),
    "odd arguments": Case(["printf", "[%s]", "", "a b", "*", "$HOME", "ü", "-n", "a\nb"]),
    "long argument": Case(["sh", "-c", "echo ${#1}", "sh", "x" * 131_071]),
    "output through /dev/stdout": Case(["sh", "-c", "echo a > /dev/stdout; echo b > /dev/stderr"]),
    "stop and go on": Case(
        ["bash", "-c", "(sleep 0.1; kill -CONT $$) & kill -STOP $$; wait; echo on"]
    ),
}


def _programs(directory: Path) -> Path:
    for name in ("bin", "locked", "folder/tool", "none/.."):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "none").rmdir()
    script = '#!/bin/sh\necho "$0" "$#" "$@"\n'
    for name, text, mode in (
        ("bin/tool", script, 0o755),
        ("here", script, 0o755),
        ("locked/tool", script, 0o644),
        ("empty", "", 0o755),
        ("plain", 'echo plain "$@"\n', 0o755),
        ("orphan", "#!/nowhere/interpreter\n", 0o755),
        ("nested", f"#!{directory}/here\n", 0o755),
        ("garbage", "\x7f\x00\x01\x02\n", 0o755),
    ):
        (directory / name).write_text(text)
        (directory / name).chmod(mode)
    (directory / "dangling").symlink_to("nowhere")
    (directory / "loop").symlink_to("loop")
    return directory


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeeperProcess]:
    """One keeper for all: each command meets what the one before has left in it."""
    state = tmp_path_factory.mktemp("keeper")
    _programs(state)
    with keeper_process(state) as keeper:
        yield keeper


def _ours(keeper: KeeperProcess, process_id: str, case: dict[str, Any]) -> tuple[Any, ...]:
    # Its usual variables are added by the harness, hence unset ones need the bare request.
    public = {"process_id": process_id, "command": case["args"], "merge_stderr": True}
    answer = keeper.ask("start", public=public, env=case["env"], working_dir=case["cwd"])
    if "error" in answer:
        assert answer["error"]["code"] == "spawn_failed"
        return ("error", answer["error"]["errno"])
    exit_ = keeper.end_of(process_id)
    return (exit_["exit_code"], exit_["signal"], output(keeper.state_dir, process_id)[0])


def _theirs(case: dict[str, Any]) -> tuple[Any, ...]:
    try:
        done = subprocess.run(
            **case,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
        )
    except OSError as error:
        return ("error", error.errno)
    code = done.returncode
    name = None if code >= 0 else _names()[-code]
    return (code if code >= 0 else None, name, done.stdout)


def _names() -> dict[int, str]:
    return {int(number): number.name for number in signal.Signals}


@pytest.mark.parametrize("name", CASES)
def test_odd_command_ends_as_under_subprocess(keeper: KeeperProcess, name: str) -> None:
    """The outcome is the same to the byte, or the table says why not."""
    case = CASES[name]
    directory = str(keeper.state_dir)
    changed: dict[str, str | None] = {**ENV, **case.env}
    run = {
        "args": [argument.replace("{dir}", directory) for argument in case.arguments],
        "env": {
            key: value.replace("{dir}", directory)
            for key, value in changed.items()
            if value is not None
        },
        "cwd": os.path.join(directory, case.directory),  # noqa: PTH118  # as it is written
    }
    ours = _ours(keeper, f"n{list(CASES).index(name)}", run)
    theirs = _theirs(run)

    assert (ours != theirs) == bool(case.differs)
