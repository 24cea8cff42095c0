"""HopX's Python client, asynchronous and unmodified, against our server."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.official.clients import AsyncSandbox, Sandbox, errors
from tests.official.tokens import expire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.official.conftest import Place

pytestmark = pytest.mark.official


@pytest.fixture(scope="module")
def known(place: Place) -> Iterator[str]:
    """A sandbox for all of these tests, each of which opens it anew in its own loop."""
    one = Sandbox.create("code-interpreter", **place.door)
    yield one.sandbox_id
    one.kill()


@pytest.fixture
async def sandbox(place: Place, known: str) -> Any:
    return await AsyncSandbox.connect(known, **place.door)


async def background(sandbox: Any, command: str, **options: Any) -> str:
    result = await sandbox.commands.run(command, background=True, **options)
    return str(result.stdout.partition(": ")[2])


async def ended(sandbox: Any, process_id: str) -> dict[str, Any]:
    """Poll the listing that this client calls, ``/processes``, until the command has ended."""
    while True:
        rows = await sandbox.list_processes()
        [found] = [one for one in rows if one.get("process_id") == process_id]
        if found["status"] not in {"queued", "running"}:
            return dict(found)
        await asyncio.sleep(0.05)


async def test_a_life(place: Place) -> None:
    """Created with variables, paused, resumed, given a time, listed and killed."""
    async with AsyncSandbox.create("base", env_vars={"X": "1"}, **place.door) as one:
        told = await one.commands.run("echo $X")
        await one.pause()
        paused = (await one.get_info()).status
        await one.resume()
        await one.set_timeout(600)
        left = await one.get_time_to_expiry()
        listed = [each.sandbox_id async for each in AsyncSandbox.iter(**place.door)]
        health = await AsyncSandbox.health_check(base_url=place.url)
        assert await one.is_healthy()

    assert told.stdout == "1\n"
    assert paused == "paused"
    assert left is not None
    assert 0 < left <= 600
    assert one.sandbox_id in listed
    assert health["status"] == "healthy"
    with pytest.raises(errors.NotFoundError):
        await one.get_info()


async def test_connect_to_paused_and_stopped(place: Place) -> None:
    """This client looks at no status: what is paused answers 503, and runs once it is resumed."""
    one = await AsyncSandbox.create("base", **place.door)
    await one.pause()
    again = await AsyncSandbox.connect(one.sandbox_id, **place.door)
    host = (await again.get_info()).public_host
    async with httpx.AsyncClient() as http:
        asleep = await http.get(f"{host}/health")
    await again.resume()
    told = await again.commands.run("echo awake")
    await one.kill()

    assert asleep.status_code == 503
    assert told.stdout == "awake\n"


async def test_run(sandbox: Any) -> None:
    """Output, codes, variables, directories and the time limit arrive."""
    done = await sandbox.commands.run("echo out; echo err >&2; exit 3")
    options = {"env": {"X": "1"}, "working_dir": "/tmp"}
    there = await sandbox.commands.run("echo $X; pwd", **options)
    late = await sandbox.commands.run("echo begun; sleep 600", timeout_seconds=1)

    assert (done.stdout, done.stderr, done.exit_code) == ("out\n", "err\n", 3)
    assert done.success is False
    assert there.stdout == "1\n/tmp\n"
    assert (late.stdout, late.exit_code) == ("begun\n", 124)
    with pytest.raises(errors.AgentError, match="400"):
        await sandbox.commands.run("true", working_dir="/workspace/nowhere")


async def test_background_to_its_end(sandbox: Any) -> None:
    """It is found in the list of system processes, since that is the one this client asks."""
    begun = time.monotonic()
    good = await background(sandbox, "echo $X", env={"X": "1"})
    bad = await background(sandbox, "echo no >&2; exit 3")
    took = time.monotonic() - begun

    assert took < 60, "this client gives up after 60 s, and starts it again"
    done = await ended(sandbox, good)
    assert (done["status"], done["stdout"]) == ("completed", "1\n")
    failed = await ended(sandbox, bad)
    assert (failed["status"], failed["exit_code"], failed["stderr"]) == ("failed", 3, "no\n")
    others = await sandbox.list_system_processes()
    assert any("process_id" not in one and one["pid"] for one in others)


async def test_kill(sandbox: Any) -> None:
    """Kill by this client's route ends the command."""
    process_id = await background(sandbox, "sleep 600")
    told = await sandbox.kill_process(process_id)

    assert told["status"] == "killed"
    assert (await ended(sandbox, process_id))["status"] == "killed"
    with pytest.raises(errors.AgentError):
        await sandbox.kill_process("cmd_nobody")


async def test_a_hundred_commands_at_once(sandbox: Any) -> None:
    """Each of them has its own output, although the first call makes ten clients of itself."""
    told = await asyncio.gather(*(sandbox.commands.run(f"echo {n}") for n in range(100)))

    assert [one.stdout for one in told] == [f"{n}\n" for n in range(100)]


@pytest.mark.parametrize(
    ("language", "code"),
    [("python", "print(6 * 7)"), ("javascript", "console.log(6 * 7)"), ("bash", "echo $((6 * 7))")],
)
async def test_code(sandbox: Any, language: str, code: str) -> None:
    """Code runs in each language, in the foreground and in the background."""
    done = await sandbox.run_code(code, language=language)
    begun = await sandbox.run_code_background(code, language=language)

    assert (done.stdout, done.exit_code) == ("42\n", 0)
    assert (await ended(sandbox, begun["process_id"]))["stdout"] == "42\n"


async def test_env(sandbox: Any) -> None:
    """Set, update, read masked, and the client's delete, which sends the masks back."""
    await sandbox.env.set_all({"A": "1", "B": "2", "MY_TOKEN": "s"})
    await sandbox.env.set("C", "3")
    await sandbox.env.delete("A")

    assert await sandbox.env.get_all() == {"B": "2", "C": "3", "MY_TOKEN": "***MASKED***"}
    told = await sandbox.commands.run("echo $A-$B-$C-$MY_TOKEN")
    assert told.stdout == "-2-3-s\n"


async def test_files(sandbox: Any) -> None:
    """Texts and bytes arrive, under the names that this client can put into a URL."""
    data = bytes(range(256)) * 100
    await sandbox.files.mkdir("/workspace/files")
    await sandbox.files.write("/workspace/files/ä b.txt", "text é\n")
    await sandbox.files.write_bytes("/workspace/files/bytes", data)

    assert await sandbox.files.read("/workspace/files/ä b.txt") == "text é\n"
    assert await sandbox.files.read_bytes("/workspace/files/bytes") == data
    listed = await sandbox.files.list("/workspace/files")
    assert {entry.name for entry in listed} == {"ä b.txt", "bytes"}
    await sandbox.files.remove("/workspace/files/bytes")
    assert not await sandbox.files.exists("/workspace/files/bytes")
    with pytest.raises(errors.FileNotFoundError):
        await sandbox.files.read("/workspace/none")


async def test_a_token_that_expired_is_refreshed(place: Place, sandbox: Any) -> None:
    """A 401 of the agent makes the client ask for a token, once, and try again."""
    await sandbox.commands.run("true")
    sandbox._agent_client.update_jwt_token(expire(place.state, sandbox.sandbox_id))
    told = await sandbox.commands.run("echo again")

    assert told.stdout == "again\n"


async def test_figures(sandbox: Any) -> None:
    """Metrics by both of its paths, facts and caches answer."""
    await sandbox.commands.run("true")

    assert (await sandbox.get_metrics_snapshot())["total_requests"] > 0
    assert (await sandbox.get_agent_metrics())["uptime_seconds"] > 0
    assert (await sandbox.get_agent_info())["agent"] == "hopx_async"
    assert await sandbox.get_jupyter_sessions() == []
    assert (await sandbox.cache.stats())["cache"]["size"] == 0
