"""The calls of a sandbox with markers: what is told of commands, and what only our agent can do."""

from __future__ import annotations

from pathlib import Path

import pytest

import hopx_async as hopx
from hopx_async.errors import CommandNotFound, InvalidArgument, Unsupported
from tests.support.shells import marked_sandbox


async def test_another_spec_is_a_conflict(tmp_path: Path) -> None:
    """The same again is the same command; another one is refused, and nothing of it runs."""
    async with marked_sandbox(tmp_path) as marked:
        start = marked.sandbox.commands.start
        first = await start("echo x >> ran", process_id="one", env={"A": "1"})
        again = await start("echo x >> ran", process_id="one", env={"A": "1"})
        assert again.pid == first.pid
        with pytest.raises(hopx.ConflictError, match="one"):
            await start("echo x >> ran", process_id="one", env={"A": "2"})
        await first.wait()
        assert (tmp_path / "ran").read_text() == "x\n"


async def test_lists_are_paged_and_filtered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All commands are listed, over several pages; name, tags and status choose."""
    monkeypatch.setattr("hopx_async.transport.marker_calls._PAGE", 2)
    async with marked_sandbox(tmp_path) as marked:
        commands = marked.sandbox.commands
        for number in range(5):
            await commands.run(
                f"exit {number % 2}", process_id=f"c{number}", name=f"n{number}", tags={"t": "x"}
            )
        assert [info.process_id for info in await commands.list()] == [f"c{n}" for n in range(5)]
        assert [info.process_id for info in await commands.list(name="n3")] == ["c3"]
        assert [info.process_id for info in await commands.list(status="failed")] == ["c1", "c3"]
        assert await commands.list(tags={"t": "y"}) == []
        info = (await commands.list(name="n3"))[0]
        assert (info.exit and info.exit.exit_code, dict(info.tags)) == (1, {"t": "x"})


async def test_signals_arrive_once(tmp_path: Path) -> None:
    """A signal has an id: asked for twice it is delivered once."""
    async with marked_sandbox(tmp_path) as marked:
        handle = await marked.sandbox.commands.start(
            "trap 'echo got' USR1; exec 9<> <(:); echo ready; while :; do read -t 1 -u 9; done"
        )
        lines = handle.lines()
        await anext(lines)
        params = {"process_id": handle.process_id, "signal_id": "s1", "name": "SIGUSR1"}
        for _ in range(2):
            answer = await marked.client.call("signal", **params, cause=None)
            assert answer == {"delivered": True}
        await anext(lines)
        assert await handle.terminate()
        assert [line.text async for line in lines] == []
        assert (await handle.wait()).reason == "killed"
        assert not await handle.send_signal("SIGUSR1")


async def test_unknown_commands_and_calls_are_told(tmp_path: Path) -> None:
    """An id that is none is refused before it is asked for."""
    async with marked_sandbox(tmp_path) as marked:
        for method in ("info", "kill"):
            with pytest.raises(CommandNotFound):
                await marked.client.call(method, process_id="nobody")
        with pytest.raises(CommandNotFound):
            await marked.client.call("signal", process_id="x", signal_id="1", name="SIGTERM")
        with pytest.raises(InvalidArgument, match="process_id"):
            await marked.client.call("info", process_id="../../etc")
        with pytest.raises(Unsupported, match="env_get"):
            await marked.sandbox.env.get_all()
        statistics = await marked.sandbox.statistics()
        assert statistics["agent"]["requests"] == len(marked.shell.requests)
        assert marked.sandbox.capabilities.agent == "stock"
