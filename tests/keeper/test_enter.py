"""Going inside: refused with a reason, fallen back from, and arrived at with everything."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hopx_async.keeper import enter
from hopx_async.keeper.options import Options, RootError
from hopx_async.keeper.state import StateDir
from tests.support.namespaces import needs_isolation


def asked(state: Path, isolation: str, *, internet_access: bool = True) -> Options:
    """Return options that ask for isolation."""
    options = Options()
    options.state_dir, options.isolation = str(state), isolation
    options.internet_access = internet_access
    return options


@pytest.fixture
def no_bwrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let there be no bubblewrap."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def bad_bwrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let bubblewrap fail, as where the kernel forbids namespaces."""
    program = tmp_path / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


def test_without_a_wish_nothing_is_tried(no_bwrap: None, tmp_path: Path) -> None:
    """No isolation asked for is none, whatever there is."""
    assert enter.prepare(asked(tmp_path, "none")) is None


def test_a_refusal_says_what_to_install(no_bwrap: None, tmp_path: Path) -> None:
    """Without the program the error names it, and its package."""
    with pytest.raises(RootError, match="apt install bubblewrap") as caught:
        enter.prepare(asked(tmp_path, "namespace"))
    assert caught.value.code == "unsupported"


def test_a_refusal_says_what_bubblewrap_says(bad_bwrap: None, tmp_path: Path) -> None:
    """Where bubblewrap fails, its own words are the reason."""
    with pytest.raises(RootError, match="No permissions"):
        enter.prepare(asked(tmp_path, "namespace"))


def test_auto_falls_back_and_says_why(bad_bwrap: None, tmp_path: Path) -> None:
    """Asked for what can be had, options say what it became."""
    options = asked(tmp_path, "auto")
    assert enter.prepare(options) is None
    assert options.isolation == "none"
    assert "No permissions" in options.isolation_missing


def test_auto_does_not_give_the_network_back(no_bwrap: None, tmp_path: Path) -> None:
    """To forbid the network is a wish of its own, which nothing falls back from."""
    with pytest.raises(RootError, match="bwrap"):
        enter.prepare(asked(tmp_path, "auto", internet_access=False))


@needs_isolation
def test_a_state_directory_in_sight_is_refused(tmp_path: Path) -> None:
    """Below the workspace, commands would read the token; below /usr as well."""
    options = asked(tmp_path / "state", "namespace")
    options.workspace = str(tmp_path)
    with pytest.raises(RootError, match="which commands see") as caught:
        enter.prepare(options)
    assert caught.value.data["parameter"] == "state_dir"


@needs_isolation
def test_what_can_be_had_is_prepared(tmp_path: Path) -> None:
    """The command line has been tried, and holds the workspace to come."""
    options = asked(tmp_path / "state", "auto", internet_access=False)
    command = enter.prepare(options)
    assert command is not None
    assert options.isolation == "namespace"
    assert f"{tmp_path}/state/workspace" in command


_INSIDE = """
import os, sys
from hopx_async.keeper.enter import arrive
options, state, listening, said = arrive(int(sys.argv[-1]))
print(options.grace, options.workspace, options.outer_pid, options.watcher_fd is not None)
print(state.token, os.listdir(state.path) != [], listening, said, options.ephemeral)
print(os.stat("/proc/self/stat").st_uid == os.geteuid() != 0)
"""
_OUTSIDE = """
import json, socket, sys
from hopx_async.keeper import enter
from hopx_async.keeper.options import Options
from hopx_async.keeper.state import StateDir
options = Options()
vars(options).update(json.loads(sys.argv[1]))
state = StateDir(options.state_dir)
sock = socket.socket(fileno=int(sys.argv[2]))
sys.executable = sys.argv[3]
enter.enter([sys.argv[3]], options, state, sock, b"rest")
"""


def test_everything_is_carried_inside(tmp_path: Path) -> None:
    """Options, state, socket and words arrive by descriptors; the state has no path but one."""
    inside = tmp_path / "inside.py"
    inside.write_text(_INSIDE)
    # Stands for bubblewrap and for Python: tells a pid, and becomes what is inside.
    stand_in = tmp_path / "bwrap"
    stand_in.write_text(
        f'#!/bin/sh\nprintf \'{{"child-pid": 77}}\' >&"$2"\n'
        f'eval "exec $2>&-"\nshift 5\nexec {sys.executable} {inside} "$@"\n'
    )
    stand_in.chmod(0o755)
    given = {"state_dir": f"{tmp_path}/home/state", "grace": 7.0, "ephemeral": f"{tmp_path}/home"}
    with socket.create_server(("127.0.0.1", 0)) as sock:
        done = subprocess.run(
            [sys.executable, "-c", _OUTSIDE, json.dumps(given), str(sock.fileno()), str(stand_in)],
            pass_fds=[sock.fileno()],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)},
        )
        first, second, _ = done.stdout.splitlines()
        assert first == "7.0 /workspace 77 True"
        token = (tmp_path / "home/state/token").read_text().strip()
        told = second.split(" ", 3)
        assert told[:3] == [token, "True", str(sock.fileno())]
        assert told[3].startswith("b'rest' /proc/self/fd/")
        assert told[3].endswith("/../../home")


def test_a_carried_state_is_the_same(tmp_path: Path) -> None:
    """Through its descriptor a state directory has the same secrets, and is told of."""
    state = StateDir(str(tmp_path))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        carried = StateDir.carried(fd, state.lock_fd)
        assert (carried.token, carried.secret) == (state.token, state.secret)
        assert carried.default_sandbox_id == state.default_sandbox_id
        assert carried.fds == {"state": fd}
        carried.tell("http://x", 5)
        assert json.loads((tmp_path / "agent.json").read_text()) == {"url": "http://x", "pid": 5}
    finally:
        os.close(fd)
        os.close(state.lock_fd)
