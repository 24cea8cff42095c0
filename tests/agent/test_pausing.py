"""Tests of hopx_async.agent.pausing, through an agent that serves."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

import hopx_async as hopx
from hopx_async.agent import pausing
from hopx_async.errors import AgentFault
from hopx_async.providers.machines import AgentMachine
from tests.agent.harness import serving
from tests.agent.keeper_double import FakeKeeper, full_spec
from tests.support.agents import running_agent, scope_members

if TYPE_CHECKING:
    from tests.agent.harness import Serving


async def test_a_paused_agent_answers_nobody(tmp_path: Path) -> None:
    """Paused, its commands are stopped and everything is 503 but its facts; then it goes on."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        for name in ("one", "two"):
            server.keeper.running(name)
        server.keeper.finish("two")
        await client.exit("two")
        assert (await server.ask("POST", "/v1/pause"))[0] == 200
        status, told = await server.ask("POST", "/commands/run", json={"command": "true"})
        assert (status, told["code"]) == (503, "SANDBOX_PAUSED")
        for path in ("/health", "/v1/commands", "/execute/processes"):
            assert (await server.ask("GET", path))[0] == 503
        assert (await server.ask("GET", "/info"))[0] == 200
        assert (await server.ask("POST", "/v1/resume"))[0] == 200
        assert (await server.ask("GET", "/health"))[0] == 200

        said = [(one["id"], one["name"]) for one in server.keeper.requests]
        assert said == [("one", "SIGSTOP"), ("one", "SIGCONT")]


async def test_a_pause_ends_the_links_that_are_open(tmp_path: Path) -> None:
    """Nothing is started behind the back of a pause: sockets close, new ones are refused."""
    async with serving(tmp_path / "s") as server:
        async with server.connect() as socket:
            await socket.recv()
            assert (await server.ask("POST", "/v1/pause"))[0] == 200
            with pytest.raises(ConnectionClosed) as caught:
                while True:
                    await socket.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
        with pytest.raises(InvalidStatus, match="503"):
            await server.connect()
        await server.ask("POST", "/v1/resume")
        async with server.connect() as socket:
            assert await socket.recv()


async def test_what_is_started_while_a_pause_begins_is_paused_too(tmp_path: Path) -> None:
    """A start over a link that is still open comes before the signals, and not behind them."""
    async with serving(tmp_path / "s") as server:
        pausing = server.agent._pausing
        cut = pausing._cut

        async def starting() -> None:
            server.keeper.running("late")
            while server.agent._board.get("late") is None:
                await anyio.sleep(0.01)
            await cut()

        pausing._cut = starting
        assert (await server.ask("POST", "/v1/pause"))[0] == 200
        said = [(one["id"], one["name"]) for one in server.keeper.requests]
        assert said == [("late", "SIGSTOP")]
        await server.ask("POST", "/v1/resume")


def _state(pid: int) -> str:
    """Return a process's state, as /proc tells it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def _until_held(server: Serving) -> None:
    """Wait until a pause has come to where it waits for starts."""
    while not server.agent._starts._held:
        await anyio.sleep(0.01)


async def _under_way(server: Serving, process_id: str) -> asyncio.Task[Any]:
    """Ask for a start, and wait until it is with the keeper, which does not answer."""
    server.keeper.silent = True
    task = asyncio.create_task(server.agent._starts.start(full_spec(process_id)))
    await server.keeper.asked(len(server.keeper.requests) + 1)
    server.keeper.silent = False
    return task


async def test_a_pause_waits_for_what_is_being_started(tmp_path: Path) -> None:
    """A start that the keeper has not answered yet is stopped as well, before pause is answered."""
    async with serving(tmp_path / "s") as server:
        start = await _under_way(server, "late")
        pause = asyncio.create_task(server.ask("POST", "/v1/pause"))
        await _until_held(server)
        server.keeper.answer(server.keeper.requests[0])
        assert (await pause)[0] == 200
        assert (await start)[0].process_id == "late"
        said = [(one["id"], one["name"]) for one in server.keeper.requests[1:]]
        assert said == [("late", "SIGSTOP")]


async def test_a_start_that_takes_too_long_is_stopped_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause does not wait for a stalled keeper without end; its start is stopped later."""
    monkeypatch.setattr(pausing, "SETTLE_SECONDS", 0.0)
    async with serving(tmp_path / "s") as server:
        start = await _under_way(server, "late")
        assert (await server.ask("POST", "/v1/pause"))[0] == 200
        assert len(server.keeper.requests) == 1
        server.keeper.answer(server.keeper.requests[0])
        await start
        said = await server.keeper.asked(2)
        assert (said["id"], said["name"]) == ("late", "SIGSTOP")


async def test_a_start_that_is_late_for_a_resume_too_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a resume nobody stops what the pause before it has missed."""
    monkeypatch.setattr(pausing, "SETTLE_SECONDS", 0.0)
    async with serving(tmp_path / "s") as server:
        start = await _under_way(server, "late")
        for path in ("/v1/pause", "/v1/pause", "/v1/resume"):
            assert (await server.ask("POST", path))[0] == 200
        server.keeper.answer(server.keeper.requests[0])
        await start
        await server.agent._starts.start(full_spec("next"))
        assert [one["op"] for one in server.keeper.requests] == ["start", "start"]


async def test_nothing_is_started_while_paused(tmp_path: Path) -> None:
    """A request that had come before the pause starts nothing behind it."""
    async with serving(tmp_path / "s") as server:
        await server.ask("POST", "/v1/pause")
        with pytest.raises(AgentFault, match="paused") as caught:
            await server.agent._starts.start(full_spec("one"))
        assert caught.value.status == 503
        assert server.keeper.requests == []
        await server.ask("POST", "/v1/resume")
        assert (await server.agent._starts.start(full_spec("one")))[1]


async def _leave(server: Serving, request: asyncio.Task[Any]) -> None:
    """Cancel a request, and wait until the agent has seen its client go."""
    request.cancel()
    await asyncio.wait([request])
    web_server = server.agent._runner.server
    assert web_server is not None
    while web_server.connections:
        await anyio.sleep(0.01)


async def test_a_pause_whose_client_goes_is_carried_out(tmp_path: Path) -> None:
    """Whoever goes while the pause waits for starts leaves no command running unseen."""
    async with serving(tmp_path / "s") as server:
        server.keeper.running("one")
        start = await _under_way(server, "late")
        pause = asyncio.create_task(server.ask("POST", "/v1/pause"))
        await _until_held(server)
        await _leave(server, pause)
        server.keeper.answer(server.keeper.requests[0])
        await start
        await server.keeper.asked(3)
        said = {(one["id"], one["name"]) for one in server.keeper.requests[1:]}
        assert said == {("one", "SIGSTOP"), ("late", "SIGSTOP")}
        assert (await server.ask("POST", "/v1/resume"))[0] == 200


async def test_a_resume_whose_client_goes_is_carried_out(tmp_path: Path) -> None:
    """Commands that go on are not left with an agent that answers nobody."""
    async with serving(tmp_path / "s") as server:
        server.keeper.running("one")
        assert (await server.ask("POST", "/v1/pause"))[0] == 200
        server.keeper.silent = True
        resume = asyncio.create_task(server.ask("POST", "/v1/resume"))
        asked = await server.keeper.asked(2)
        assert asked["name"] == "SIGCONT"
        await _leave(server, resume)
        server.keeper.answer(asked)
        while (await server.ask("GET", "/health"))[0] != 200:
            await anyio.sleep(0.01)
        assert not (tmp_path / "s" / "paused").exists()


async def test_an_agent_that_ends_has_carried_out_its_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark is on the disk for the next agent: so what it stands for is done, starts or not."""
    monkeypatch.setattr(pausing, "_CLOSE_SECONDS", 60.0)
    async with serving(tmp_path / "s") as server:
        server.keeper.running("one")
        start = await _under_way(server, "late")
        pause = asyncio.create_task(server.ask("POST", "/v1/pause"))
        await _until_held(server)
    await asyncio.gather(pause, start, return_exceptions=True)
    # Once more for the start that nobody waits for any more does no harm.
    said = {(one["id"], one["name"]) for one in server.keeper.requests[1:]}
    assert said == {("one", "SIGSTOP")}


async def test_an_agent_that_ends_gives_up_a_pause_that_a_keeper_holds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keeper that answers no signal does not keep an agent from its end."""
    monkeypatch.setattr(pausing, "_CLOSE_SECONDS", 0.0)
    async with serving(tmp_path / "s") as server:
        server.keeper.running("one")
        server.keeper.silent = True
        pause = asyncio.create_task(server.ask("POST", "/v1/pause"))
        await server.keeper.asked(1)
    await asyncio.gather(pause, return_exceptions=True)
    assert server.agent._pausing._changing is not None
    assert server.agent._pausing._changing.cancelled()


async def test_an_agent_that_ends_waits_for_no_late_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing an agent ends what waits for a start that never is answered."""
    monkeypatch.setattr(pausing, "SETTLE_SECONDS", 0.0)
    async with serving(tmp_path / "s") as server:
        start = await _under_way(server, "late")
        assert (await server.ask("POST", "/v1/pause"))[0] == 200
    with pytest.raises(asyncio.CancelledError):
        await start


async def test_a_real_start_under_way_is_paused(tmp_path: Path) -> None:
    """What a keeper that was busy starts during a pause stands still until the resume."""
    async with (
        running_agent(tmp_path / "s") as agent,
        hopx.remote(agent.url, token=agent.token) as sandbox,
    ):
        machine = AgentMachine(agent.url, agent.token, agent.pid)
        keeper = (await sandbox.statistics())["agent"]["keepers"][0]["pid"]
        os.kill(keeper, signal.SIGSTOP)
        try:
            start = asyncio.create_task(sandbox.commands.start("exec sleep 60"))
            while not (await sandbox.statistics())["agent"]["keeper_requests"]:
                await anyio.sleep(0.01)
            pause = asyncio.create_task(machine.pause())
            while not (agent.state / "paused").exists():
                await anyio.sleep(0.01)
        finally:
            os.kill(keeper, signal.SIGCONT)
        await pause
        (leader,) = scope_members(sandbox.sandbox_id)
        while _state(leader) != "T":
            await anyio.sleep(0.01)
        await machine.resume()
        handle = await start
        assert handle.pid == leader
        assert _state(leader) != "T"
        await handle.kill(0)


async def test_a_pause_that_cannot_be_marked_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk a pause says why it is none, and the sandbox answers as before."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with serving(tmp_path / "s") as server:
        server.keeper.running("one")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "touch", full)
            status, told = await server.ask("POST", "/v1/pause")
        assert status == 500
        assert "No space left" in str(told)
        assert server.keeper.requests == []
        assert (await server.ask("GET", "/health"))[0] == 200


async def test_an_agent_that_comes_back_stays_paused(tmp_path: Path) -> None:
    """The mark is on the disk: an agent that was restarted knows it."""
    async with serving(tmp_path / "s") as server:
        await server.ask("POST", "/v1/pause")
    async with serving(tmp_path / "s") as server:
        assert (await server.ask("GET", "/health"))[0] == 503
        await server.ask("POST", "/v1/resume")
    async with serving(tmp_path / "s") as server:
        assert (await server.ask("GET", "/health"))[0] == 200


async def test_an_agent_that_comes_back_carries_out_the_pause(tmp_path: Path) -> None:
    """One that was killed in the middle of a pause, or a resume, has left commands that run."""
    async with serving(tmp_path / "s") as before:
        before.keeper.running("one")
    (tmp_path / "s" / "paused").touch()
    async with serving(tmp_path / "s", logs=before.keeper) as server:
        said = [(one["id"], one["name"]) for one in server.keeper.requests]
        assert said == [("one", "SIGSTOP")]
        assert (await server.ask("GET", "/health"))[0] == 503
        assert (await server.ask("POST", "/v1/resume"))[0] == 200
        assert server.keeper.requests[-1]["name"] == "SIGCONT"


async def test_an_agent_that_comes_back_waits_for_no_stalled_keeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that tells what runs, and then answers nothing, does not hold up the agent."""
    async with serving(tmp_path / "s") as before:
        before.keeper.running("one")
    (tmp_path / "s" / "paused").touch()
    monkeypatch.setattr(pausing, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(pausing, "_CLOSE_SECONDS", 0.0)
    monkeypatch.setattr(FakeKeeper, "answer", lambda *_, **__: None)
    async with serving(tmp_path / "s", logs=before.keeper) as server:
        assert (await server.ask("GET", "/info"))[0] == 200
        assert server.keeper.requests[0]["name"] == "SIGSTOP"


async def test_pausing_needs_the_token(tmp_path: Path) -> None:
    """Without the token nobody pauses."""
    async with serving(tmp_path / "s") as server:
        headers = {"Authorization": "Bearer wrong"}

        assert (await server.ask("POST", "/v1/pause", headers=headers))[0] == 401
        assert (await server.ask("GET", "/health"))[0] == 200
