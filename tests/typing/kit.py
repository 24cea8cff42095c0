"""What type checkers are to think of the test-kit. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import assert_type

import hopx_async as hopx
from hopx_async.testing import (
    FaultProxy,
    Faults,
    MemoryAgent,
    ScriptedCommand,
    VirtualTimeLoop,
    memory,
    run,
    without_waiting,
)
from hopx_async.testing.faults import FaultyTransport
from hopx_async.testing.memory import MemoryTransport

__all__ = ["doors", "faults", "proxy", "script"]


async def doors(agent: MemoryAgent) -> int:
    """A sandbox in memory is one like any other."""
    assert_type(memory({"x": script}), hopx.Opening[hopx.Sandbox])
    assert_type(memory(agent=agent, faults=Faults()), hopx.Opening[hopx.Sandbox])
    assert_type(hopx.through(MemoryTransport(agent)), hopx.Opening[hopx.Sandbox])
    assert_type(agent.drop(), None)
    assert_type(agent.heal(), None)
    assert_type(agent.restart(), None)
    assert_type(agent.stall(), None)
    assert_type(agent.refuse(), None)
    assert_type(agent.lose_answers(1), None)
    assert_type((agent.connections, agent.sandbox_id), tuple[int, str])
    assert_type(run(doors(agent)), int)
    assert_type(VirtualTimeLoop().time(), float)
    with without_waiting():
        return 0


async def faults(faults: Faults, agent: MemoryAgent) -> None:
    """Faults are verbs."""
    assert_type(faults.drop(), None)
    assert_type(faults.delay(1), None)
    assert_type(faults.duplicate(), None)
    assert_type(await faults.restart_agent(), None)
    assert_type(faults.heal(), None)
    assert_type(faults.connections, int)
    assert_type(faults.on(MemoryTransport(agent)), FaultyTransport)
    faults.delay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def proxy() -> None:
    """A proxy listens within its block."""
    async with FaultProxy("http://127.0.0.1:1") as proxy:
        assert_type(proxy, FaultProxy)
        assert_type((proxy.url, proxy.host, proxy.target), tuple[str, str, str | None])
        assert_type((proxy.cuts, proxy.connections), tuple[int, int])
        assert_type(proxy.cut(), None)
        assert_type(proxy.refuse(), None)
        assert_type(proxy.heal(), None)
        assert_type(proxy.delay(1), None)
        assert_type(proxy.blackhole(), None)
        assert_type(proxy.corrupt(), None)
        async with proxy as same:
            assert_type(same, FaultProxy)


async def script(command: ScriptedCommand) -> int:
    """Stand for a command."""
    assert_type(await command.stdout(b""), None)
    assert_type(await command.stderr(b""), None)
    assert_type((await command.read_line(), await command.read_stdin()), tuple[bytes, bytes])
    assert_type(command.listen(1), None)
    assert_type(await command.usage(), None)
    assert_type((command.process_id, command.pid), tuple[str, int])
    assert_type((command.env, command.terminal_size), tuple[dict[str, str], tuple[int, int] | None])
    return 0
