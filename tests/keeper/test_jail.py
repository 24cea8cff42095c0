"""What the command line of bubblewrap shows and hides; what it does is in the acceptance tests."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

import pytest

from hopx_async.keeper import jail


def pairs(command: list[str], option: str) -> list[tuple[str, str]]:
    """Return the two words behind each *option*."""
    places = [index for index, word in enumerate(command) if word == option]
    return [(command[index + 1], command[index + 2]) for index in places]


def line(**changes: object) -> list[str]:
    """Return a command line, with some arguments changed."""
    given: dict[str, object] = {"workspace": "/w", "internet_access": True, "visible": []}
    return jail.arguments("bwrap", ["--unshare-user"], **{**given, **changes})  # type: ignore[arg-type]


def test_only_the_system_and_what_is_named_is_shown() -> None:
    """The root is no bind; the workspace alone is writable; no home is among the places."""
    command = line(visible=["/a/python"])

    assert pairs(command, "--bind") == [("/w", jail.WORKSPACE)]
    assert ("/a/python", "/a/python") in pairs(command, "--ro-bind")
    shown = {place for _, place in pairs(command, "--ro-bind")}
    assert not shown & {"/", "/home", "/tmp", "/var", "/run"}
    assert ("/proc/sys", "/proc/sys") in pairs(command, "--ro-bind")
    assert command[-1] == "--as-pid-1"


def test_the_network_goes_only_when_it_is_forbidden() -> None:
    """A namespace for the network is asked for if there shall be no internet."""
    assert "--unshare-net" not in line()
    assert "--unshare-net" in line(internet_access=False)


def test_hidden_places_are_covered_after_they_are_shown(tmp_path: Path) -> None:
    """A directory is covered by an empty one, a file by nothing that can be read."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "dir").mkdir()
    command = line(hidden=[str(tmp_path / "dir"), str(tmp_path / "file")])

    assert command.index(str(tmp_path / "dir")) > command.index("/etc")
    assert ("/dev/null", str(tmp_path / "file")) in pairs(command, "--ro-bind")
    assert command[command.index(str(tmp_path / "dir")) - 1] == "--tmpfs"


def test_what_is_not_for_everybody_is_hidden(tmp_path: Path) -> None:
    """Files and directories that others cannot read are found at any depth, links are not."""
    for name, mode in (("open", 0o755), ("closed", 0o700)):
        (tmp_path / name).mkdir(mode=mode)
    for name, mode in (("open/key", 0o600), ("open/hosts", 0o644), ("closed/x", 0o600)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("open/key")

    assert jail.hidden_files(str(tmp_path)) == [f"{tmp_path}/closed", f"{tmp_path}/open/key"]


def test_python_and_we_are_shown() -> None:
    """The interpreter, its installation and this package are under the places shown."""
    shown = [*jail.own_places({}, []), "/usr"]
    needed = [sys.prefix, os.path.realpath(sys.executable), jail.__file__]

    assert all(any(Path(path).is_relative_to(place) for place in shown) for path in needed)


def test_no_place_shows_what_is_secret(tmp_path: Path) -> None:
    """A place that PYTHONPATH names is shown, unless a secret or a home lies in it."""
    for name in ("library", "mine/state"):
        (tmp_path / name).mkdir(parents=True)
    told = {"PYTHONPATH": f"{tmp_path}/library:{tmp_path}/mine:/:{Path.home()}"}
    shown = jail.own_places(told, [str(tmp_path / "mine/state")])

    assert str(tmp_path / "library") in shown
    assert not {str(tmp_path / "mine"), "/", str(Path.home()), str(Path.home().parent)} & set(shown)


def test_the_place_that_would_show_a_path_is_named(tmp_path: Path) -> None:
    """What lies in a system's directory or a shown one is seen, through links too."""
    (tmp_path / "link").symlink_to("/usr")
    assert jail.shower_of("/usr/x/state", []) == "/usr"
    assert jail.shower_of(f"{tmp_path}/link/state", []) == "/usr"
    assert jail.shower_of(f"{tmp_path}/state", [str(tmp_path)]) == str(tmp_path)
    assert jail.shower_of(f"{tmp_path}/state", [f"{tmp_path}/st"]) is None


def test_the_environment_names_no_place_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME and TMPDIR stay behind; modules come from where they came, not from the workspace."""
    monkeypatch.setattr(site, "getsitepackages", list)
    inside = jail.environment({"HOME": "/h", "TMPDIR": "/t", "PATH": "/bin", "PYTHONPATH": "/lib1"})

    assert inside["PATH"] == "/bin"
    assert not {"HOME", "TMPDIR"} & inside.keys()
    assert inside["PYTHONSAFEPATH"] == "1"
    first, second = inside["PYTHONPATH"].split(":")
    assert first == "/lib1"
    assert jail.__file__.startswith(f"{second}/hopx_async/")


def test_bubblewrap_is_looked_for_on_the_path(tmp_path: Path) -> None:
    """The first program of that name that can be executed is found, or none."""
    (tmp_path / "bwrap").write_text("")
    assert jail.find(str(tmp_path)) is None
    (tmp_path / "bwrap").chmod(0o755)
    assert jail.find(f"/nowhere:{tmp_path}") == f"{tmp_path}/bwrap"


def test_root_may_do_without_a_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strictest way comes first; only root has one without user namespaces."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert jail.views()[0] == ["--unshare-user", "--disable-userns"]
    assert jail.views()[-1] == []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [] not in jail.views()
