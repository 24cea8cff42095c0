from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from hopx_async.keeper.options import RootError
from hopx_async.keeper.state import StateDir
from tests.support.leaks import open_descriptors

if TYPE_CHECKING:
    from pathlib import Path


def test_holds_it_alone(tmp_path: Path) -> None:
    """A second hold on a state directory is refused, until the first one's end."""
    first = StateDir(str(tmp_path / "s"))
    with pytest.raises(RootError, match="is held") as caught:
        StateDir(str(tmp_path / "s"))
    os.close(first.lock_fd)
    second = StateDir(str(tmp_path / "s"))
    os.close(second.lock_fd)

    assert caught.value.code == "state_dir_held"
    assert caught.value.data["pid"] == os.getpid()
    assert (first.token, first.secret) == (second.token, second.secret)
    assert first.default_sandbox_id == second.default_sandbox_id


def test_two_directories_have_nothing_in_common(tmp_path: Path) -> None:
    """Token, secret and sandbox id differ from directory to directory."""
    states = [StateDir(str(tmp_path / name)) for name in "ab"]
    for state in states:
        os.close(state.lock_fd)

    assert len({state.token for state in states}) == 2
    assert len({state.secret for state in states}) == 2
    assert len({state.default_sandbox_id for state in states}) == 2


@pytest.mark.parametrize(("mode", "text"), [(0o644, "x\n"), (0o600, "")])
def test_token_file_must_be_ours_alone(tmp_path: Path, mode: int, text: str) -> None:
    """A token that others can read, or an empty one, is not used."""
    (tmp_path / "token").write_text(text)
    (tmp_path / "token").chmod(mode)
    tmp_path.chmod(0o700)
    with pytest.raises(RootError) as caught:
        StateDir(str(tmp_path))

    assert caught.value.code == "state_dir_unsafe"


def test_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """A state directory that is a file is an invalid argument."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RootError) as caught:
        StateDir(str(tmp_path / "file"))

    assert caught.value.code == "invalid_argument"
    assert caught.value.data["parameter"] == "state_dir"


def test_looser_directory_is_tightened(tmp_path: Path) -> None:
    """A directory that others may only read becomes 0700."""
    tmp_path.chmod(0o755)
    os.close(StateDir(str(tmp_path)).lock_fd)

    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("call", ["ftruncate", "rename", "makedirs"])
def test_full_disk_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Where lock, token or logs cannot be written, it says so and holds nothing."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "s"
    path.mkdir()
    before = open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(RootError) as caught:
            StateDir(str(path))
    assert "No space left" in str(caught.value)
    if call != "makedirs":
        assert caught.value.code == "state_dir_failed"
    assert open_descriptors() == before
    os.close(StateDir(str(path)).lock_fd)


def test_note_that_cannot_be_left_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tell says what the disk says."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    state = StateDir(str(tmp_path / "s"))
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(RootError, match="No space left") as caught:
        state.tell("http://x", 1)
    os.close(state.lock_fd)
    assert caught.value.code == "state_dir_failed"
