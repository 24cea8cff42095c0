"""What is built, installed and promised in ``pyproject.toml``."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import hopx_async
from hopx_async import pytest_plugin

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirement_name(requirement: str) -> str:
    """Return the distribution a requirement names."""
    return re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0]


def test_the_version_stands_in_one_place() -> None:
    """The installed version is the one in the package, and pyproject.toml has none."""
    assert metadata.version("hopx-async") == hopx_async.__version__
    assert "version" in PROJECT["dynamic"]


def test_the_wheel_holds_the_package_its_types_and_nothing_else(tmp_path: Path) -> None:
    """The wheel ships every module, py.typed and the license; no tests, no pages."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "hopx_async").rglob("*.py")}

    assert modules | {"hopx_async/py.typed"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"hopx_async"}


def test_pytest_finds_the_plugin() -> None:
    """The entry point for pytest leads to the module with the fixtures."""
    (point,) = metadata.entry_points(group="pytest11", name="pytest-hopx-async")

    assert PROJECT["entry-points"]["pytest11"] == {point.name: point.value}
    assert point.dist is not None
    assert point.dist.name == "hopx-async"
    assert point.load() is pytest_plugin


def test_every_dependency_has_its_reason() -> None:
    """The page of dependencies has one line for each requirement, and for no other."""
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text()
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    required = {requirement_name(line) for group in groups for line in group} - {"hopx-async"}

    assert set(re.findall(r"^- \*\*([\w-]+)\*\*", page, re.MULTILINE)) == required


def test_every_requirement_has_a_lower_bound() -> None:
    """Each core dependency says the oldest version that will do."""
    assert [line for line in PROJECT["dependencies"] if ">=" not in line] == []


def test_supported_pythons_are_written_once() -> None:
    """The classifiers, the oldest Python and the Makefile's others agree."""
    classified = re.findall(r":: (3\.\d+)'", str(PROJECT["classifiers"]))
    others = re.search(r"^OTHER_PYTHONS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert others is not None
    assert PROJECT["requires-python"] == f">={classified[0]}"
    assert others[1].split() == classified[1:]


@pytest.fixture
def fake_python(tmp_path: Path) -> Path:
    """Return a program that pretends to be an old Python."""
    path = tmp_path / "python-old"
    path.write_text('#!/bin/sh\ncase "$2" in *stdout.write*) printf 3.9;; *) exit 1;; esac\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def check_python(python: str | Path) -> str:
    """Return what the Makefile says of a Python, "" for nothing."""
    command = [str(ROOT / "tools" / "check_python.sh"), str(python)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode != 0) == bool(done.stderr)
    return done.stderr


def test_a_python_that_will_do_is_accepted() -> None:
    """The Python of these tests passes the Makefile's check."""
    base = shutil.which("python3", path=os.path.join(sys.base_prefix, "bin"))  # noqa: PTH118
    assert check_python(base or sys.executable) == ""


def test_an_old_python_is_refused_in_one_sentence(fake_python: Path) -> None:
    """An old Python is refused with its version and the way out."""
    said = check_python(fake_python)

    assert said.count("\n") == 1
    assert "is Python 3.9, but 3.11 or newer is needed" in said


@pytest.mark.parametrize(("python", "words"), [("no-such", "was not found"), ("false", "not run")])
def test_no_python_is_told_in_one_sentence(python: str, words: str) -> None:
    """A Python that is not there or does not run is told apart."""
    said = check_python(python)

    assert said.count("\n") == 1
    assert words in said
