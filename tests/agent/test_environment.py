"""Tests of hopx_async.agent.environment, alone and on an agent around a keeper's double."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING

import pytest

from hopx_async.agent import environment as module
from hopx_async.agent.environment import FILE_NAME, SandboxEnvironment
from hopx_async.errors import AgentFault, InvalidArgument
from hopx_async.protocol.variables import MASKED
from tests.agent.harness import serving
from tests.agent.keeper_double import full_spec

if TYPE_CHECKING:
    from pathlib import Path


async def test_it_outlives_its_agent(tmp_path: Path) -> None:
    """What one agent was told the next one knows; the file is ours alone."""
    state = tmp_path / "s"
    async with serving(state) as server, server.link() as client:
        told = await client.call("env_set", variables={"A": "geheim", "LANG": None})
        assert told == {"variables": {"A": MASKED, "LANG": None}, "secrets": []}
    async with serving(state) as server, server.link() as client:
        assert (await client.call("env_get"))["variables"] == {"A": MASKED, "LANG": None}
        await client.call("start", **full_spec("a"))
        await client.call("start", **full_spec("b", env={"A": "own", "LANG": "de"}))
        first, second = server.keeper.requests

        assert first["env"] == {"PATH": "/bin", "HOME": "/home", "A": "geheim"}
        assert second["env"] == {"PATH": "/bin", "HOME": "/home", "A": "own", "LANG": "de"}
        assert "env_names" not in first["public"]
    assert stat.S_IMODE((state / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in state.glob("*.new")] == []


async def test_a_repeated_start_is_the_same_under_another_environment(tmp_path: Path) -> None:
    """The digest is over the spec alone: another environment makes no conflict."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        spec = full_spec("a", env={"X": "secret-x"}, mask_secrets=True, secrets=["X"])
        first = await client.call("start", **spec)
        await client.call("env_set", variables={"A": "1", "S": "secret-s"}, secrets=["S"])
        again = await client.call("start", **spec)

        assert (first["created"], again["created"]) == (True, False)
        assert again["info"]["spec"] == first["info"]["spec"]


async def test_masks_travel_to_the_keeper_alone(tmp_path: Path) -> None:
    """The keeper hears the secrets of both sides; the public spec says only that it masks."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        await client.call("env_set", variables={"S": "secret-s"}, secrets=["S"])
        spec = full_spec("a", env={"X": "secret-x", "Y": "plain-y"})
        answer = await client.call("start", **spec, mask_secrets=True, secrets=["X"])
        await client.call("start", **full_spec("b", env={"X": "secret-x"}, secrets=["X"]))
        masked, plain = server.keeper.requests

        assert masked["mask"] == ["secret-x", "secret-s"]
        assert "mask" not in plain
        assert masked["public"]["mask_secrets"]
        assert "secrets" not in masked["public"]
        assert "secret-" not in json.dumps([masked["public"], answer])


async def test_changes_happen_one_after_the_other(tmp_path: Path) -> None:
    """Many changes at once are all there; one whose asker was cancelled is carried out, too."""
    env = SandboxEnvironment(tmp_path)
    changes = [
        asyncio.create_task(env.update({"variables": {f"N{number}": "x"}})) for number in range(20)
    ]
    await asyncio.sleep(0)
    changes[7].cancel()
    await asyncio.gather(*changes, return_exceptions=True)
    await env.aclose()
    again = SandboxEnvironment(tmp_path)
    again.load()

    assert changes[7].cancelled()
    assert again.variables.values == {f"N{number}": "x" for number in range(20)}
    assert (await again.get({}))["variables"] == dict.fromkeys(again.variables.values, MASKED)


async def test_what_is_not_on_the_disk_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk without room is told as 507, and what was set before stays."""
    env = SandboxEnvironment(tmp_path)
    await env.set({"variables": {"A": "1"}})
    (tmp_path / f"{FILE_NAME}.new").mkdir()
    with pytest.raises(AgentFault) as caught:
        await env.delete({"name": "A"})

    assert caught.value.status == 507
    assert env.variables.values == {"A": "1"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"variables": {"A": 7}}', '{"variables": null}'])
async def test_a_damaged_file_is_said_and_shown_to_nobody(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be read leaves nothing set, and stderr says where it is."""
    (tmp_path / FILE_NAME).write_text(text)
    env = SandboxEnvironment(tmp_path)
    env.load()

    assert env.variables.values == {}
    assert FILE_NAME in capsys.readouterr().err


async def test_strange_arguments_are_refused_unseen(tmp_path: Path) -> None:
    """An argument that no method has is named, what came with it is not shown."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        for method in ("env_get", "env_set", "env_update", "env_delete"):
            with pytest.raises(InvalidArgument, match="vars") as caught:
                await client.call(method, vars={"A": "geheim"})
            assert "geheim" not in str(caught.value)
        assert not (tmp_path / "s" / module.FILE_NAME).exists()


async def test_it_is_there_by_http(tmp_path: Path) -> None:
    """GET, PUT, PATCH and DELETE do what the calls do."""
    async with serving(tmp_path / "s") as server:
        await server.ask("PUT", "/v1/env", json={"variables": {"A/..": "1", "B": "2"}})
        await server.ask("PATCH", "/v1/env", json={"variables": {"C": "3"}})
        status, answer = await server.ask("DELETE", "/v1/env", params={"name": "A/.."})

        assert (status, answer) == (200, {"variables": {"B": MASKED, "C": MASKED}, "secrets": []})
        assert await server.ask("GET", "/v1/env") == (status, answer)
        status, answer = await server.ask("PUT", "/v1/env", json={"variables": {"B": MASKED}})
        assert (status, answer["error"]["parameter"]) == (400, "variables['B']")
