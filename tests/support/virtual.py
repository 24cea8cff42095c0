"""Fixtures for tests above the transport: virtual time, and a memory sandbox to break."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from hopx_async.sandbox import Sandbox
from hopx_async.testing import MemoryAgent, ScriptedCommand, memory
from hopx_async.testing.contract import SCRIPTS

__all__ = ["CHATTER", "CHATTER_TEXT", "SLEEP", "STEPS", "agent_of", "opened"]

STEPS = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 3"
SLEEP = "exec sleep 3600"
CHATTER = "chatter"
CHATTER_TEXT = b"".join(b"line %d\n" % number for number in range(100))


async def chatter(command: ScriptedCommand) -> int:
    """Print a hundred lines, one a second."""
    for number in range(100):
        await command.stdout(b"line %d\n" % number)
        await anyio.sleep(1)
    return 0


def agent_of() -> MemoryAgent:
    """Return a memory agent that knows the scripts of the contract, and one that chatters."""
    return MemoryAgent({**SCRIPTS, CHATTER: chatter})


@asynccontextmanager
async def opened(agent: MemoryAgent, *, give_up_after: float = 300.0) -> AsyncGenerator[Sandbox]:
    """Open a sandbox on *agent*."""
    async with memory(agent=agent, give_up_after=give_up_after) as sandbox:
        yield sandbox
