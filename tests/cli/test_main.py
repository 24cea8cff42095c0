"""``hopx-async`` with and without its extra."""

from __future__ import annotations

import subprocess
import sys

import hopx_async


def main_without(module: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where *module* cannot be imported."""
    program = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['hopx-async', 'version']\n"
        "from hopx_async.cli import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_a_missing_extra_is_told_in_one_line() -> None:
    """Without its extra the command line says in one line what to install."""
    done = main_without("typer")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "hopx-async: the command line needs typer: pip install 'hopx-async[cli]'\n"
    )


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    """A module that every user has installed is missed with a traceback."""
    done = main_without("anyio")

    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "hopx-async[cli]" not in done.stderr


def test_it_runs_as_a_module() -> None:
    """``python -m hopx_async.cli`` is the command line."""
    command = [sys.executable, "-m", "hopx_async.cli", "version"]

    assert subprocess.check_output(command, text=True) == f"{hopx_async.__version__}\n"
