"""Tests of hopx_async.control.server, with agents that run."""

from __future__ import annotations

import asyncio
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hopx_async.control.server import ControlServer, read_keys
from hopx_async.errors import InvalidArgument
from tests.control.plane_double import FakeMachine, FakeMachines, controlled
from tests.support.agents import scope_members
from tests.support.namespaces import needs_isolation
from tests.support.serving import Served


async def up(served: Served) -> aiohttp.ClientSession:
    """Wait until it serves; return a client that has the key."""
    url, key = await asyncio.to_thread(served.announced)
    return aiohttp.ClientSession(url, headers={"X-API-Key": key})


async def end(served: Served, number: int = signal.SIGTERM) -> tuple[int, str]:
    """Signal it and wait for its end; return status and what it complained of."""
    return await asyncio.to_thread(served.end, number)


async def ask(http: aiohttp.ClientSession, method: str, path: str, **options: Any) -> Any:
    async with http.request(method, path, **options) as response:
        told = await response.json()
        assert response.status in {200, 201}, told
        return told


async def run(told: dict[str, Any], text: str, path: str = "run") -> Any:
    """Run a command in a sandbox with the token that came with it."""
    headers = {"Authorization": f"Bearer {told['auth_token']}"}
    async with aiohttp.ClientSession(told["public_host"], headers=headers) as http:
        return await ask(http, "POST", f"/commands/{path}", json={"command": text})


async def test_a_sandbox_from_its_creation_to_sigterm(tmp_path: Path) -> None:
    """Its commands see its variables; SIGTERM ends them, and the temporary directory goes."""
    served = Served()
    async with await up(served) as http:
        body = {"template_name": "base", "env_vars": {"GREETING": "hi"}}
        told = await ask(http, "POST", "/v1/sandboxes", json=body)
        assert (await run(told, "echo $GREETING"))["stdout"] == "hi\n"
        place = (await run(told, "pwd; mkfifo up"))["stdout"].strip()
        await run(told, "echo up > up; sleep 600 & sleep 600", "background")
        # It counts as started while its program is still being loaded: then nobody can read
        # its environment yet.
        assert (await run(told, "cat up"))["stdout"] == "up\n"
        assert scope_members(told["id"])

    assert await end(served) == (0, "")
    assert scope_members(told["id"]) == []
    assert not Path(place).exists()


@pytest.mark.leaves_orphans
async def test_sandboxes_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    """Killed and started again, it has its sandboxes, their commands and their tokens."""
    state = ("--state-dir", str(tmp_path / "state"))
    served = Served(*state)
    async with await up(served) as http:
        told = await ask(http, "POST", "/v1/sandboxes", json={"template_name": "base"})
        job = await run(told, "sleep 600; true", "background")
    await end(served, signal.SIGKILL)

    served = Served(*state)
    async with await up(served) as http:
        again = await ask(http, "GET", f"/v1/sandboxes/{told['id']}")
        assert (again["status"], again["public_host"]) == ("running", told["public_host"])
        listed = await run(told, f"kill -0 {job['pid']}")
        assert listed["exit_code"] == 0
        # A second one on the same directory is told so.
        second = Served(*state)
        _, complaint = await asyncio.to_thread(second.process.communicate, timeout=60)
        assert "held by another server" in complaint
    assert (await end(served))[0] == 0
    assert scope_members(told["id"]) == []

    # What SIGTERM ended is started anew, with its files.
    served = Served(*state)
    async with await up(served) as http:
        again = await ask(http, "GET", f"/v1/sandboxes/{told['id']}")
        assert again["status"] == "running"
        told["public_host"] = again["public_host"]
        assert (await run(told, "true"))["exit_code"] == 0
        await ask(http, "DELETE", f"/v1/sandboxes/{told['id']}")
        assert (await ask(http, "GET", "/v1/sandboxes"))["data"] == []
    assert (await end(served))[0] == 0


@pytest.mark.leaves_orphans
async def test_sigterm_while_sandboxes_are_created(tmp_path: Path) -> None:
    """Creations under way end with the server, and leave neither process nor directory."""
    place = tmp_path / "state"
    served = Served("--state-dir", str(place))
    async with await up(served) as http:
        body = {"template_name": "base"}
        creating = [asyncio.create_task(http.post("/v1/sandboxes", json=body)) for _ in range(4)]
        while not any((place / "sandboxes").iterdir()):
            await asyncio.sleep(0.01)
        ended = await end(served)
        answers = await asyncio.gather(*creating, return_exceptions=True)

    assert ended == (0, "")
    created = [one for one in answers if not isinstance(one, BaseException) and one.status == 201]
    assert len([*(place / "sandboxes").iterdir()]) == len(created)


@needs_isolation
@pytest.mark.leaves_orphans
async def test_sandboxes_in_namespaces(tmp_path: Path) -> None:
    """They see their workspace alone, have no network if so asked, and outlive a killed server."""
    arguments = ("--state-dir", str(tmp_path / "state"), "--isolation", "namespace")
    (tmp_path / "secret").touch()
    served = Served(*arguments)
    async with await up(served) as http:
        body = {"template_name": "base", "internet_access": False}
        told = await ask(http, "POST", "/v1/sandboxes", json=body)
        assert (told["isolation"], told["internet_access"]) == ("namespace", False)
        seen = await run(told, f"pwd; ls -d {tmp_path}/*; tail -n +3 /proc/net/dev")
        place, device = seen["stdout"].splitlines()
        assert place == "/workspace"
        assert device.split(":")[0].strip() == "lo"
        job = await run(told, "sleep 600; true", "background")
    await end(served, signal.SIGKILL)

    # It goes on as it was started, whatever a later server is told.
    served = Served(*arguments[:2])
    async with await up(served) as http:
        again = await ask(http, "GET", f"/v1/sandboxes/{told['id']}")
        assert (again["status"], again["isolation"]) == ("running", "namespace")
        assert (await run(told, f"kill -0 {job['pid']}"))["exit_code"] == 0
        refused = await http.post("/v1/sandboxes", json={**body, "region": "x"})
        assert refused.status == 400
    status, complaint = await end(served)
    assert status == 0
    assert complaint.count("goes on as it was started, with isolation namespace") == 1
    assert scope_members(told["id"]) == []

    # One without a network is not started anew where it would have one.
    served = Served(*arguments[:2])
    async with await up(served) as http:
        again = await ask(http, "GET", f"/v1/sandboxes/{told['id']}")
        assert again["status"] == "stopped"
        started = await http.post(f"/v1/sandboxes/{told['id']}/start")
        assert (started.status, (await started.json())["code"]) == (500, "INTERNAL_ERROR")
    assert "does not start" in (await end(served))[1]


async def test_isolation_that_cannot_be_had(tmp_path: Path) -> None:
    """Without bubblewrap ``namespace`` serves nothing and says why; ``auto`` says so and serves."""
    nowhere = {"PATH": str(tmp_path)}
    refused = Served("--isolation", "namespace", env=nowhere)
    out, complaint = await asyncio.to_thread(refused.process.communicate, timeout=60)
    served = Served("--isolation", "auto", env=nowhere)
    async with await up(served) as http:
        told = await ask(http, "POST", "/v1/sandboxes", json={"template_name": "base"})
    status, warned = await end(served)

    assert refused.process.returncode == 2
    assert out == ""
    assert "there is no program bwrap" in complaint
    assert told["isolation"] == "none"
    assert status == 0
    assert warned.startswith("hopx-async: sandboxes run without isolation: there is no program")


async def test_stock_agents(tmp_path: Path) -> None:
    """They are not ours and say so; `auto` finds no isolation for them; SIGTERM ends them."""
    served = Served("--agent", "stock", "--isolation", "auto")
    async with await up(served) as http:
        told = await ask(http, "POST", "/v1/sandboxes", json={"template_name": "base"})
        async with http.get(f"{told['public_host']}/info") as answer:
            facts = await answer.json()
        headers = {"Authorization": f"Bearer {told['auth_token']}"}
        body = {"command": "bash", "args": ["-c", "sleep 600 >/dev/null 2>&1 & echo out"]}
        place = f"{told['public_host']}/commands/run"
        async with http.post(place, headers=headers, json=body) as answer:
            ran = await answer.json()
            assert answer.status == 200, ran
    status, complaint = await end(served)

    assert facts["agent"] != "hopx_async"
    assert ran["stdout"] == "out\n"
    assert told["isolation"] == "none"
    assert status == 0
    assert complaint == "hopx-async: sandboxes run without isolation: the agent is stock\n"
    assert scope_members(told["id"]) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--host", "0.0.0.0"),  # noqa: S104
        ("--max-sandboxes", "0"),
        ("--isolation", "docker"),
        ("--agent", "theirs"),
        ("--agent", "stock", "--isolation", "namespace"),
        ("--port", "99999"),
        ("--host", "192.0.2.1"),
    ],
)
def test_bad_arguments_start_nothing(arguments: tuple[str, ...]) -> None:
    """What cannot be served is told in one line, with status 2 or 125."""
    served = Served(*arguments)
    out, complaint = served.process.communicate(timeout=60)

    assert served.process.returncode in {2, 125}
    assert out == ""
    assert len(complaint.splitlines()) == 1


async def test_a_server_that_cannot_listen_ends_no_sandbox(tmp_path: Path) -> None:
    """Sandboxes that outlived a server go on where the next one finds its port taken."""
    machines = FakeMachines()
    async with controlled(tmp_path / "sandboxes", machines) as control:
        sandbox = await control.create()
    machine = machines.running[sandbox["id"]] = FakeMachine("http://127.0.0.1:1")

    with socket.create_server(("127.0.0.1", 0)) as other:
        server = ControlServer(tmp_path, machines, ["key"])
        with pytest.raises(InvalidArgument, match="port"):
            await server.open("127.0.0.1", other.getsockname()[1])
        await server.aclose()

    assert machine.told == []


def test_keys(tmp_path: Path) -> None:
    """Without a file a key is made once, in HopX's form, for its owner alone."""
    made = read_keys(tmp_path, None)
    file = tmp_path / "keys"
    file.write_text(" one \n\ntwo\n")

    assert made == read_keys(tmp_path, None)
    assert made[0].startswith("hopx_live_")
    assert stat.S_IMODE((tmp_path / "api-key").stat().st_mode) == 0o600
    assert read_keys(tmp_path, file) == ["one", "two"]
    file.write_text("\n")
    with pytest.raises(InvalidArgument):
        read_keys(tmp_path, file)
