"""Which agent: options, environment, and nobody there."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hopx_async.cli import place
from hopx_async.cli.app import app
from hopx_async.cli.place import TOKEN_VARIABLE, URL_VARIABLE, Place, find_place
from hopx_async.errors import AgentUnreachable, InvalidArgument


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No agent is named by the environment."""
    for name in (URL_VARIABLE, TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_the_token_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token file wins over the environment; neither is shown."""
    (tmp_path / "token").write_text("of-the-file\n")
    monkeypatch.setenv(TOKEN_VARIABLE, "of-the-environment")

    assert find_place("http://h", None, needed=True) == Place("http://h", "of-the-environment")
    found = find_place("http://h", tmp_path / "token", needed=True)
    assert found == Place("http://h", "of-the-file")
    assert "of-the-file" not in repr(found)


def test_the_embedded_agent_needs_no_name() -> None:
    """Without a url it is the embedded agent, where that will do."""
    assert find_place(None, None, needed=False) == Place()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ps"], "HOPX_AGENT_URL"),
        (["ps", "--url", "http://127.0.0.1:1"], "HOPX_AGENT_TOKEN"),
        (["ps", "--url", "http://127.0.0.1:1", "--token-file", "/nonexistent"], "/nonexistent"),
        (["run", "--token-file", "/nonexistent", "true"], "needs --url"),
        (["run", "--url", "ftp://x", "--token-file", "TOKEN", "true"], "url="),
        (["run", "--url", "http://x", "--token-file", "EMPTY", "true"], "no token"),
        (["run", "--url", "http://x", "--token-file", "BINARY", "true"], "no token"),
    ],
)
def test_a_place_that_is_none_is_told(arguments: list[str], said: str, tmp_path: Path) -> None:
    """What does not name an agent is bad input, told in one line that says what to do."""
    for name, content in (("TOKEN", b"t"), ("EMPTY", b"\n"), ("BINARY", b"\xff")):
        (tmp_path / name).write_bytes(content)
    made = [str(tmp_path / a) if a.isupper() else a for a in arguments]
    result = CliRunner().invoke(app, made)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_nobody_there_is_told_soon(free_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that does not answer is given up soon, with status 125."""
    monkeypatch.setattr(place, "DOOR_SECONDS", 0.1)
    monkeypatch.setenv(TOKEN_VARIABLE, "secret-token")
    result = CliRunner().invoke(app, ["ps", "--url", f"http://127.0.0.1:{free_tcp_port}"])

    assert (result.exit_code, result.stdout) == (125, "")
    assert result.stderr == (
        f"hopx-async: nobody answered at http://127.0.0.1:{free_tcp_port} within 0.1 s\n"
    )


async def test_a_door_that_stays_shut_is_given_up(
    free_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open raises AgentUnreachable with the seconds it has waited, and leaves nothing."""
    monkeypatch.setattr(place, "DOOR_SECONDS", 0.1)
    with pytest.raises(AgentUnreachable) as caught:
        await Place(f"http://127.0.0.1:{free_tcp_port}", "t").open()

    assert caught.value.seconds == 0.1


def test_a_url_without_a_token_is_refused() -> None:
    """A url alone opens nothing."""
    with pytest.raises(InvalidArgument, match="token"):
        find_place("http://h", None, needed=False)


def test_isolation_is_for_the_embedded_agent() -> None:
    """The wish is kept for the agent of one's own, and refused for one that runs already."""
    found = find_place(None, None, needed=False, isolation="namespace", internet_access=False)
    assert (found.isolation, found.internet_access) == ("namespace", False)
    with pytest.raises(InvalidArgument, match="was started with"):
        find_place("http://h", None, needed=False, isolation="auto")
