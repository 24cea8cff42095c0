"""The limit on silence of scripts, on virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from hopx_async.testing import ScriptedCommand, VirtualTimeLoop, memory
from hopx_async.testing.memory_idle import MemoryIdle


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def _beats(command: ScriptedCommand) -> int:
    for number in range(5):
        await anyio.sleep(9)
        await command.stdout(b"%d\n" % number)
    await anyio.sleep(100)
    return 0


async def test_a_silent_script_is_ended_to_the_second() -> None:
    """Output puts the end off; ten seconds of silence are it; without a limit there is none."""
    async with memory({"beats": _beats}) as sandbox:
        fate = (await sandbox.commands.run("beats", idle_timeout=10)).exit
        assert fate.reason == "idle_timed_out"
        assert fate.duration == pytest.approx(55)
        fate = (await sandbox.commands.run("beats")).exit
        assert fate.reason == "exited"
        assert fate.duration == pytest.approx(145)


async def test_watching_can_be_cancelled() -> None:
    """A watch that is cancelled from outside is not taken for silence."""
    idle = MemoryIdle(10)

    async def script() -> int:
        await anyio.sleep(100)
        return 0

    with anyio.move_on_after(5) as scope:
        await idle.watch(script())
    assert scope.cancelled_caught
    assert not idle.over
    idle.touched()
