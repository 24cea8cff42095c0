"""The arguments of the command line; nothing is started here."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import hopx_async
from hopx_async.cli.app import app


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf"])
def test_a_bad_timeout_is_told_in_one_line(timeout: str) -> None:
    """A timeout that is none ends with one line and status 2, before anything is started."""
    result = CliRunner().invoke(app, ["run", f"--timeout={timeout}", "true"])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("hopx-async: timeout=")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["", "  ", "a\0b", "x" * 131072])
def test_a_bad_command_is_told_in_one_line(command: str) -> None:
    """A command that breaks a rule ends with one line and status 2, also beside good ones."""
    result = CliRunner().invoke(app, ["run", "true", command])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("hopx-async: command=")
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 300


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "missing argument"),
        (["run", "--timeout", "soon", "true"], "--timeout"),
        (["run", "--nonsense", "true"], "--nonsense"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_wrong_use_is_explained(arguments: list[str], said: str) -> None:
    """A use that cannot be understood says what and where help is, with status 2."""
    result = CliRunner().invoke(app, arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "--help" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["run", "pytest", "-q"], "hopx-async run -- pytest -q"),
        (["run", "--timeout", "3", "ls", "-l"], "hopx-async run --timeout 3 -- ls -l"),
        (["run", "-x"], "hopx-async run -- CMD -x"),
        (["start", "make", "-j4"], "hopx-async start -- make -j4"),
    ],
)
def test_an_option_of_the_command_asks_for_dashes(arguments: list[str], advice: str) -> None:
    """An option that is not ours is answered, in one line, by the line that was meant."""
    result = CliRunner().invoke(app, arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert f"put -- before that: {advice} (see" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--name", "a", "--name", "b", "true"], "--name='b'"),
        (["run", "--name", "", "true"], "name="),
        (["run", "--env", "=x", "true"], "env"),
        (["run", "--env", "HOPX_TEST_NOT_SET", "true"], "it is not set here"),
        (["run", "--"], "missing argument"),
        (["start", "one", "two", "--url", "http://x"], "one command only"),
        (["logs", "--url", "http://x"], "COMMAND"),
        (["kill", "--grace", "soon", "x"], "--grace"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments: list[str], said: str) -> None:
    """Whatever is wrong with the arguments is one line, status 2, and nothing was started."""
    result = CliRunner().invoke(app, arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.startswith("hopx-async: ")
    assert result.stderr.count("\n") == 1


def test_no_arguments_are_a_call_for_help() -> None:
    """Without arguments the help is printed, with every command in it."""
    result = CliRunner().invoke(app, [])

    assert result.exit_code == 0
    for name in ("run", "start", "ps", "logs", "wait", "kill", "version"):
        assert f"\n  {name} " in result.stdout


def test_a_directory_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current directory that was removed is one line, not a traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = CliRunner().invoke(app, ["run", "true"])
    monkeypatch.chdir(tmp_path)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("hopx-async: ")
    assert result.stderr.count("\n") == 1


def test_help_tells_every_exit_status() -> None:
    """--help names the statuses that a script may see."""
    text = CliRunner().invoke(app, ["run", "--help"]).stdout

    assert all(status in text for status in ("124", "125", "127", "128 + n"))


def test_the_version_is_printed() -> None:
    """Version prints the version and nothing else."""
    for word in ("version", "--version"):
        assert CliRunner().invoke(app, [word]).stdout == f"{hopx_async.__version__}\n"
