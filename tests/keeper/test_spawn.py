"""Spawning means what ``subprocess`` means: the same programs are run both ways."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.keeper import proc
from hopx_async.keeper.spawn import Spawner, SpawnFailedError, arguments_of
from tests.keeper.harness import ENV, NONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a program finds when it is started.
_REPORT = """
import json, os, resource, signal, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
fds = [int(name) for name in os.listdir("/proc/self/fd")]
print(json.dumps({
    "argv": sys.argv, "cwd": os.getcwd(), "stdin": os.readlink("/proc/self/fd/0"),
    "env": {k: v for k, v in os.environ.items() if not k.startswith("HOPX_") and k != "LC_CTYPE"},
    "masks": {k: status[k].strip() for k in ("SigBlk", "SigIgn", "ShdPnd")},
    "fds": [fd for fd in fds if os.path.exists(f"/proc/self/fd/{fd}")],
    "session": os.getsid(0) == os.getpid(), "group": os.getpgrp() == os.getpid(),
    "umask": os.umask(0), "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "terminates": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
}))
"""


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    directory = Path.cwd()
    spawner = Spawner(NONCE, "")
    yield spawner
    spawner.close()
    os.chdir(directory)


def _ours(
    spawner: Spawner, arguments: list[str], env: dict[str, str], directory: Path
) -> tuple[int, bytes]:
    reader, writer = os.pipe()
    try:
        spawned = spawner.spawn("a", arguments, env, str(directory), (writer, writer))
    except SpawnFailedError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(spawned.pid, 0)[1]), said


def _theirs(arguments: list[str], env: dict[str, str], directory: Path) -> tuple[int, bytes]:
    done = subprocess.run(
        arguments,
        env=env,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        check=False,
    )
    return done.returncode, done.stdout


def _program(path: Path, text: str = "#!/bin/sh\necho $0\n", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_child_finds_what_subprocess_gives(spawner: Spawner, tmp_path: Path) -> None:
    """Arguments, directory, environment, signals, descriptors, session, limits are the same."""
    env = {**ENV, "COLOUR": "red", "EMPTY": "", "UTF": "grün"}
    arguments = [sys.executable, "-c", _REPORT, "an argument", "", "ü"]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    # A shell that starts the tests in the background lets them ignore it, and subprocess hands
    # that on.
    quitting = signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    other = os.open("/dev/null", os.O_RDONLY)
    try:
        code, said = _ours(spawner, arguments, env, tmp_path)
    finally:
        os.close(other)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    ours = json.loads(said)
    theirs = json.loads(_theirs(arguments, env, tmp_path)[1])
    signal.signal(signal.SIGQUIT, quitting)

    assert code == 0
    # The test's own process may have been given descriptors that are to be inherited.
    assert other not in ours["fds"]
    for facts in (ours, theirs):
        facts["fds"] = [fd for fd in facts["fds"] if fd <= 2]
        # posix_spawn leaves signals 32 and 33 ignored, which libc keeps for itself.
        facts["masks"]["SigIgn"] = int(facts["masks"]["SigIgn"], 16) & ~(3 << 31)
    assert ours == theirs


@pytest.mark.parametrize(
    "arguments",
    [
        ["true"],
        ["false"],
        ["sh", "-c", "exit 300"],
        ["sh", "-c", "kill -9 $$"],
        ["sh", "-c", "kill -TERM $$"],
        ["sh", "-c", "trap '' PIPE; kill -PIPE $$; exit 5"],
        ["sh", "-c", "kill -PIPE $$; exit 5"],
        ["sh", "-c", "echo out; echo err >&2; exit 3"],
    ],
)
def test_child_ends_as_under_subprocess(
    spawner: Spawner, tmp_path: Path, arguments: list[str]
) -> None:
    """Codes, signals and output are the same."""
    assert _ours(spawner, arguments, ENV, tmp_path) == _theirs(arguments, ENV, tmp_path)


@pytest.mark.parametrize(
    ("program", "path"),
    [
        ("tool", "bin"),  # relative to the command's directory
        ("tool", "nowhere:bin"),
        ("tool", "locked:bin"),  # not executable there, executable here
        ("tool", "folder:bin"),  # a directory of that name
        ("tool", "file:bin"),  # not a directory
        ("here", ""),  # an empty entry is the directory itself
        ("here", "bin:"),
        ("./here", "bin"),
        ("bin/tool", "nowhere"),
        ("{tmp}/bin/tool", "nowhere"),
    ],
)
def test_program_is_found_as_by_subprocess(
    spawner: Spawner, tmp_path: Path, program: str, path: str
) -> None:
    """PATH is the command's own, searched from its directory."""
    _program(tmp_path / "bin" / "tool")
    _program(tmp_path / "here")
    _program(tmp_path / "locked" / "tool", mode=0o644)
    (tmp_path / "folder" / "tool").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    arguments, env = [program.format(tmp=tmp_path)], {"PATH": path}
    ours = _ours(spawner, arguments, env, tmp_path)

    assert ours == _theirs(arguments, env, tmp_path)
    assert ours[0] == 0


@pytest.mark.parametrize(
    ("program", "path"),
    [
        ("nothing", "bin"),
        ("nothing", "file:bin"),
        ("nothing", "bin:file"),
        ("tool", "locked"),
        ("tool", "folder:nowhere"),
        ("tool", "locked:folder:nowhere"),
        ("./locked/tool", ""),
        ("file/x", ""),
        ("./folder", ""),
        ("loop", "loops"),
    ],
)
def test_program_fails_as_under_subprocess(
    spawner: Spawner, tmp_path: Path, program: str, path: str
) -> None:
    """What cannot be started raises the same error number, naming the program."""
    _program(tmp_path / "bin" / "tool")
    _program(tmp_path / "locked" / "tool", mode=0o644)
    (tmp_path / "folder" / "tool").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "loops").mkdir()
    (tmp_path / "loops" / "loop").symlink_to("loop")
    with pytest.raises(SpawnFailedError) as ours:
        _ours(spawner, [program], {"PATH": path}, tmp_path)
    with pytest.raises(OSError, match=program) as theirs:
        _theirs([program], {"PATH": path}, tmp_path)

    assert ours.value.errno == theirs.value.errno
    assert ours.value.filename == theirs.value.filename == program


@pytest.mark.parametrize("directory", ["nowhere", "file"])
def test_missing_directory_fails_as_under_subprocess(
    spawner: Spawner, tmp_path: Path, directory: str
) -> None:
    """A directory that is none raises the same error number, naming the directory."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpawnFailedError) as ours:
        _ours(spawner, ["true"], ENV, tmp_path / directory)
    with pytest.raises(OSError, match=directory) as theirs:
        _theirs(["true"], ENV, tmp_path / directory)

    assert ours.value.errno == theirs.value.errno
    assert ours.value.filename == str(theirs.value.filename)


def test_too_many_arguments_are_refused(spawner: Spawner, tmp_path: Path) -> None:
    """What execve refuses is an error of the start, as under subprocess."""
    arguments = ["true", *["x" * 100_000] * 100]
    with pytest.raises(SpawnFailedError) as ours:
        _ours(spawner, arguments, ENV, tmp_path)
    with pytest.raises(OSError, match="true") as theirs:
        _theirs(arguments, ENV, tmp_path)

    assert ours.value.errno == theirs.value.errno


def test_script_without_an_interpreter_runs_in_sh(spawner: Spawner, tmp_path: Path) -> None:
    """A script without #! is read by /bin/sh, as a shell would have it (subprocess refuses)."""
    _program(tmp_path / "bin" / "script", "echo $1 $2; exit 4\n")

    arguments = ["script", "a", "b c"]
    assert _ours(spawner, arguments, {"PATH": "bin"}, tmp_path) == (4, b"a b c\n")


def test_child_is_marked(spawner: Spawner, tmp_path: Path) -> None:
    """The child has scope, id and mark; the spawner gives up the mark when it rests."""
    script = "echo $HOPX_SCOPE $HOPX_PROCESS_ID; sed -n '/file locks/p' /proc/self/limits"
    _, said = _ours(spawner, ["sh", "-c", script], {**ENV, "HOPX_SCOPE": "x"}, tmp_path)
    spawner.rest()

    scope, limits = said.decode().splitlines()
    assert scope == f"{NONCE}/a a"
    assert limits.split()[3] == str(proc.mark_of(f"{NONCE}/a"))
    assert proc.read_mark(os.getpid()) is None
    assert Path.cwd() == Path("/")


def test_outer_scopes_are_kept(tmp_path: Path, spawner: Spawner) -> None:
    """In a sandbox within a command the scope grows."""
    inner = Spawner("in", "out/x")
    _, said = _ours(inner, ["sh", "-c", "echo $HOPX_SCOPE"], ENV, tmp_path)
    inner.close()

    assert said == b"out/x:in/a\n"


def test_start_ticks_are_the_kernels(spawner: Spawner, tmp_path: Path) -> None:
    """The start time, mostly computed, is what /proc says."""
    with Path(os.devnull).open("wb") as null:
        outputs = (null.fileno(), null.fileno())
        for _ in range(50):
            spawned = spawner.spawn("a", ["true"], ENV, str(tmp_path), outputs)
            stat = proc.read_stat(spawned.pid)
            os.waitpid(spawned.pid, 0)
            assert stat is not None
            assert stat.start_ticks == spawned.start_ticks
            assert spawned.mark == proc.mark_of(f"{NONCE}/a")


def test_text_runs_in_bash() -> None:
    """A text is run by bash -c, a list as it is."""
    listed: Any = ["ls", "-l"]

    assert arguments_of("ls | wc") == ["bash", "-c", "ls | wc"]
    assert arguments_of(listed) is listed
