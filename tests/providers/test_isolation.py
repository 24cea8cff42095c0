"""What is asked of isolation, refused, fallen back from, and found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import InvalidArgument, Unsupported
from hopx_async.model import Capabilities
from hopx_async.providers.isolation import check_asked, check_found
from tests.support.namespaces import needs_isolation


@pytest.mark.parametrize(
    ("parameter", "arguments"),
    [
        ("isolation", {"isolation": "docker"}),
        ("internet_access", {"internet_access": False}),
        ("internet_access", {"internet_access": None, "isolation": "auto"}),
    ],
)
def test_bad_wishes_are_refused_at_the_call(parameter: str, arguments: dict[str, Any]) -> None:
    """local names what is wrong before anything is started."""
    with pytest.raises(InvalidArgument) as caught:
        hopx.local(**arguments)
    assert caught.value.parameter == parameter


def test_no_internet_goes_with_any_isolation() -> None:
    """To forbid the network is lawful wherever isolation is asked for."""
    check_asked("auto", internet_access=False)
    check_asked("namespace", internet_access=False)


async def test_namespaces_that_cannot_be_had_are_unsupported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without bubblewrap the error says what to install, and nothing is there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="apt install bubblewrap"):
        await hopx.local(isolation="namespace", state_dir=tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


async def test_auto_warns_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without bubblewrap auto runs without isolation, warns, and its capabilities say so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="without isolation: there is no program bwrap"):
        sandbox = await hopx.local(isolation="auto")
    async with sandbox:
        assert sandbox.capabilities.isolation == "none"
        assert sandbox.capabilities.internet_access


@needs_isolation
async def test_auto_takes_what_there_is() -> None:
    """With bubblewrap auto is isolation, without a word."""
    async with hopx.local(isolation="auto") as sandbox:
        assert sandbox.capabilities.isolation == "namespace"


@needs_isolation
async def test_a_state_directory_in_the_workspace_is_refused(tmp_path: Path) -> None:
    """Commands would see the token: the argument is named."""
    with pytest.raises(InvalidArgument, match="which commands see") as caught:
        await hopx.local(isolation="namespace", workspace=tmp_path, state_dir=tmp_path / "state")
    assert caught.value.parameter == "state_dir"


def test_an_agent_that_was_found_must_hold_what_is_asked() -> None:
    """A detached agent without isolation, or with the network, is refused to whoever wants less."""
    plain = Capabilities(agent="hopx_async", version="1")
    walled = Capabilities(agent="hopx_async", version="1", isolation="namespace")
    check_found(plain, "auto", internet_access=True)
    check_found(walled, "namespace", internet_access=True)
    with pytest.raises(Unsupported, match="without isolation"):
        check_found(plain, "namespace", internet_access=True)
    with pytest.raises(Unsupported, match="internet"):
        check_found(walled, "namespace", internet_access=False)


@needs_isolation
@pytest.mark.parametrize("moment", [0, 1, 4, 10, 20, 40])
async def test_opening_can_be_cancelled_at_any_moment(moment: int) -> None:
    """A door into namespaces that is cancelled while it opens leaves no process and no file."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                for _ in range(moment):
                    await anyio.sleep(0.02)
                scope.cancel()

            group.start_soon(cancel)
            async with hopx.local(isolation="namespace"):
                pass
