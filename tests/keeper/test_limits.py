"""Limits, as the limited programs feel them."""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hopx_async.keeper.limits import launch_limited
from tests.keeper.harness import ENV, KeeperProcess, output

if TYPE_CHECKING:
    from collections.abc import Mapping

_PYTHON = [sys.executable, "-S", "-c"]
_MIB = 1024 * 1024


def _launch(
    arguments: list[str], limits: Mapping[str, int | None], path: str = sys.executable
) -> tuple[int, bytes]:
    reader, writer = os.pipe()
    with Path(os.devnull).open("rb") as null:
        try:
            pid = launch_limited(
                path,
                arguments,
                ENV,
                stdin=null.fileno(),
                outputs=(writer, writer),
                terminal=None,
                limits=limits,
                files=resource.getrlimit(resource.RLIMIT_NOFILE),
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def test_limits_are_those_asked_for() -> None:
    """Each limit is set, hard as soft but for a second of processor time; others are ours."""
    program = (
        "import json, os, resource as r; print(json.dumps([r.getrlimit(x) for x in "
        "(r.RLIMIT_CPU, r.RLIMIT_AS, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_STACK)]"
        " + [os.nice(0)]))"
    )
    limits = {
        "cpu_seconds": 5,
        "address_space_bytes": 512 * _MIB,
        "open_files": 50,
        "file_size_bytes": 0,
        "nice": 3,
    }
    code, said = _launch([*_PYTHON, program], limits)
    stack = list(resource.getrlimit(resource.RLIMIT_STACK))

    assert code == 0
    assert json.loads(said) == [
        *([5, 6], [512 * _MIB] * 2, [50, 50], [0, 0], stack),
        min(19, os.nice(0) + 3),
    ]


def test_limit_above_ours_is_ours() -> None:
    """A limit above the hard one is void: nothing can be allowed that is not ours to allow."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    program = "import resource as r; print(*r.getrlimit(r.RLIMIT_NOFILE))"
    _, said = _launch([*_PYTHON, program], {"open_files": 2**31 - 1})

    assert said == f"{hard} {hard}\n".encode()


def test_program_that_cannot_run_is_an_error() -> None:
    """What execve refuses is the same error as of a spawn, and nobody is left to be reaped."""
    with pytest.raises(PermissionError):
        _launch(["x"], {"nice": 1}, path="/")
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# On a keeper.


@pytest.mark.parametrize(
    ("limits", "program", "fate"),
    [
        ({"cpu_seconds": 1}, "while True: pass", (None, "SIGXCPU")),
        (
            {"open_files": 20},
            (
                "import errno, sys\ntry:\n  [open('/dev/null') for _ in range(30)]\n"
                "except OSError as e: sys.exit(40 + (e.errno == errno.EMFILE))"
            ),
            (41, None),
        ),
        (
            {"file_size_bytes": 1000},
            (
                "import errno, sys\nf = open('x', 'wb', 0); f.write(bytes(1000))\n"
                "try: f.write(b'x')\n"
                "except OSError as e: sys.exit(40 + (e.errno == errno.EFBIG))"
            ),
            (41, None),
        ),
        (
            {"address_space_bytes": 256 * _MIB},
            f"import sys\ntry: bytearray({512 * _MIB})\nexcept MemoryError: sys.exit(41)",
            (41, None),
        ),
        ({"nice": 7}, "import os, sys; sys.exit(os.nice(0))", (min(19, os.nice(0) + 7), None)),
    ],
    ids=["cpu", "files", "size", "memory", "nice"],
)
def test_limits_are_felt(
    keeper: KeeperProcess,
    limits: dict[str, int],
    program: str,
    fate: tuple[int | None, str | None],
) -> None:
    """A limited program meets its limit, and so does its child; the next one has none."""
    exit_ = keeper.run("a", [*_PYTHON, program], limits=limits)
    assert (exit_["exit_code"], exit_["signal"]) == fate
    child = ["sh", "-c", '"$@"; exit $?', "sh", *_PYTHON, program]
    exit_ = keeper.run("b", child, limits=limits)
    assert exit_["exit_code"] == (128 + 24 if fate[1] else fate[0])
    assert keeper.run("c", ["sh", "-c", "exit $(nice)"])["exit_code"] == os.nice(0)


def test_limited_command_is_like_any_other(keeper: KeeperProcess, tmp_path: Path) -> None:
    """Signals, descriptors, session and marks are those of a spawned one."""
    report = (
        "grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | wc -l; "
        "echo $HOPX_PROCESS_ID | wc -c; ps -o sid= -p $$ | tr -d ' ' | grep -c ^$$\\$; "
        "grep locks /proc/self/limits | wc -l; ulimit -n; pwd"
    )
    keeper.run("a", ["sh", "-c", report])
    keeper.run("b", ["sh", "-c", report], limits={"nice": 0})
    plain, limited = output(tmp_path, "a")[0], output(tmp_path, "b")[0]

    assert _known_signals(limited) == _known_signals(plain)


def _known_signals(report: bytes) -> bytes:
    """Return a report without signals 32 and 33, which libc keeps for itself."""
    kept = ~(0b11 << 31)
    return re.sub(rb"\b[0-9a-f]{16}\b", lambda mask: b"%x" % (int(mask[0], 16) & kept), report)


def test_missing_program_under_limits_is_told(keeper: KeeperProcess) -> None:
    """What cannot be started is a failed spawn that names the program, limits or not."""
    error = keeper.start("a", ["no-such-program"], limits={"nice": 1})["error"]

    assert (error["code"], error["errno"]) == ("spawn_failed", 2)
    assert error["filename"] == "no-such-program"


@pytest.mark.parametrize(
    ("limits", "parameter"),
    [
        ({"cpu_seconds": 0}, "limits.cpu_seconds"),
        ({"nice": -1}, "limits.nice"),
        ({"nice": 20}, "limits.nice"),
        ({"open_files": 2}, "limits.open_files"),
        ({"open_files": True}, "limits.open_files"),
        ({"address_space_bytes": 1.5}, "limits.address_space_bytes"),
        ({"stack": 1}, "limits"),
        ([], "limits"),
    ],
)
def test_wrong_limits_are_refused(keeper: KeeperProcess, limits: object, parameter: str) -> None:
    """A limit that breaks a rule is refused before anything is started."""
    error = keeper.start("a", "true", limits=limits)["error"]

    assert (error["code"], error["parameter"]) == ("invalid_argument", parameter)
