"""A sandbox in memory: scripts for commands, the real link, and faults on demand.

Everything above the transport is the real thing, down to records, replay and
credit; only processes, files and sockets are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import attrs

from hopx_async import errors
from hopx_async.client import AgentClient
from hopx_async.errors import ConnectError, ConnectionLost, HopxError
from hopx_async.model import Capabilities
from hopx_async.opening import Opening
from hopx_async.protocol import wire
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.protocol.peer import Peer
from hopx_async.sandbox import Sandbox
from hopx_async.testing.faults import Faults
from hopx_async.testing.memory_commands import MemoryCommands, Script, ScriptedCommand
from hopx_async.testing.memory_files import MemoryFiles, MemoryStore
from hopx_async.transport.base import Channel, Transport
from hopx_async.transport.files import FileStore

__all__ = ["MemoryAgent", "MemoryChannel", "MemoryTransport", "ScriptedCommand", "memory"]

T = TypeVar("T")
_CAPABILITIES = Capabilities(
    agent="memory",
    version="1",
    idle_timeout=True,
    stdin=True,
    pty=True,
    overflow_wait=True,
    env=True,
    mask_secrets=True,
    wait_port=True,
    usage=True,
    files=True,
    watch=True,
)


def memory(
    scripts: Mapping[str, Script] | None = None,
    *,
    agent: MemoryAgent | None = None,
    faults: Faults | None = None,
    give_up_after: float = GIVE_UP_AFTER,
) -> Opening[Sandbox]:
    """Open a sandbox in memory.

    Args:
        scripts: What commands do, by their text (or by their program, for a sequence); a command
            without a script fails to start as a missing program does.
        agent: An agent of your own, to look at and to break; None for a fresh one.
        faults: What stands before it and can be told to go wrong; None for nothing.
        give_up_after: As for ``hopx_async.remote``.
    """
    if agent is None:
        agent = MemoryAgent({} if scripts is None else scripts)
    return Opening(_open(agent, faults, give_up_after))


async def _open(agent: MemoryAgent, faults: Faults | None, give_up_after: float) -> Sandbox:
    transport: Transport = MemoryTransport(agent)
    if faults is not None:
        transport = faults.on(transport, restart=agent.restarted)
    client = AgentClient(transport, agent.sandbox_id, give_up_after=give_up_after)
    await anyio.lowlevel.checkpoint()
    return Sandbox(
        client,
        _MemoryLease(agent),
        _CAPABILITIES,
    )


class MemoryAgent:
    """The far side: commands, their logs, connections, and ways to break them.

    Attributes:
        sandbox_id: Its id.
        commands: Its commands.
        files: Its files.
        connections: How many connections were made so far.
    """

    def __init__(self, scripts: Mapping[str, Script], *, sandbox_id: str = "sbx_memory") -> None:
        self.sandbox_id = sandbox_id
        self.commands = MemoryCommands(scripts, self._news)
        self.files = MemoryFiles()
        self.connections = 0
        self._channels: set[MemoryChannel] = set()
        self._refusal: HopxError | None = None
        self._stalled: anyio.Event | None = None
        self._lost_answers = 0

    # Faults.

    def drop(self) -> None:
        """Cut every connection; what was under way is lost."""
        for channel in list(self._channels):
            channel.cut()
        self.files.cut()

    def refuse(self, error: HopxError | None = None) -> None:
        """Refuse connections and calls with *error* (default: nobody is there) until `heal`."""
        self._refusal = error or ConnectError("refused")
        self.drop()

    def stall(self) -> None:
        """Deliver and answer nothing until `heal`; connections stay up."""
        self._stalled = anyio.Event()

    def lose_answers(self, count: int) -> None:
        """Carry out the next *count* calls, but break the connection instead of answering."""
        self._lost_answers = count

    def heal(self) -> None:
        """End `refuse` and `stall`."""
        self._refusal = None
        if self._stalled is not None:
            self._stalled.set()
            self._stalled = None

    def restart(self) -> None:
        """Die and come back: connections are lost, commands and logs are not."""
        self.drop()

    async def restarted(self) -> None:
        """Restart, and return when that has happened."""
        self.restart()
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """End all commands and connections."""
        await self.commands.stop()
        self.drop()

    # Inside.

    async def answer(self, method: str, params: dict[str, Any]) -> Any:
        """Carry out one call, as an agent does."""
        # As over a wire: nothing is shared with the caller, and there is a bound.
        text = json.dumps(params)
        if len(text) > wire.MAX_CALL_BYTES:
            rule = f"all arguments together take at most {wire.MAX_CALL_BYTES} bytes as JSON"
            raise errors.InvalidArgument(method, f"{len(text)} bytes", rule)
        if method == "hello":
            return await self.carry_out(self._facts)
        params = json.loads(text)
        result = await self.carry_out(lambda: self.commands.call(method, params))
        return json.loads(json.dumps(result))

    async def carry_out(self, act: Callable[[], Awaitable[T]]) -> T:
        """Return what *act* returns, with the faults that were asked for."""
        await self.passable()
        result = await act()
        if self._lost_answers:
            self._lost_answers -= 1
            self.drop()
            raise ConnectionLost("the answer was lost on purpose")
        await self.passable()
        return result

    async def passable(self) -> None:
        """Wait while the agent is stalled; raise while it refuses."""
        await anyio.lowlevel.checkpoint()
        while self._stalled is not None:
            await self._stalled.wait()
        if self._refusal is not None:
            raise self._refusal

    def admit(self, channel: MemoryChannel) -> None:
        """Note a new connection."""
        self.connections += 1
        self._channels.add(channel)

    def dismiss(self, channel: MemoryChannel) -> None:
        """Note that a connection is gone."""
        self._channels.discard(channel)

    async def _facts(self) -> dict[str, Any]:
        known = attrs.asdict(_CAPABILITIES)
        facts = {"sandbox_id": self.sandbox_id, "link_version": wire.LINK_VERSION}
        return {
            **facts,
            "agent": known["agent"],
            "version": known["version"],
            "capabilities": known,
        }

    def _news(self, process_id: str) -> None:
        for channel in self._channels:
            channel.news(process_id)


class MemoryTransport(Transport):
    """The way to a `MemoryAgent`."""

    def __init__(self, agent: MemoryAgent) -> None:
        self.name = agent.sandbox_id
        self._agent = agent
        self._files = MemoryStore(agent.files, agent.carry_out)

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Carry out one call."""
        return await self._agent.answer(method, params)

    async def connect(self) -> Channel:
        """Open a channel."""
        await self._agent.passable()
        return MemoryChannel(self._agent)

    def files(self) -> FileStore:
        """Return the agent's files, behind the same faults as its commands."""
        return self._files

    async def aclose(self) -> None:
        """End watches of files; nothing else is held between calls."""
        self._files.cut()


class MemoryChannel(Channel):
    """One connection to a `MemoryAgent`: the agent's half of the link, without a wire."""

    def __init__(self, agent: MemoryAgent) -> None:
        self._agent = agent
        self._peer = Peer(agent.commands.logs, sandbox=agent.sandbox_id)
        self._news = anyio.Event()
        self._cut = False
        self._calls: set[asyncio.Task[None]] = set()
        agent.admit(self)

    async def send(self, frame: str) -> None:
        """Hand a frame to the agent."""
        await self._passable()
        for call in self._peer.receive(frame):
            task = asyncio.create_task(self._answer(call))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        self._news.set()

    async def receive(self) -> str | bytes:
        """Return the next frame of the agent."""
        while True:
            await self._passable()
            frame = self._peer.next_frame()
            if frame is not None:
                return frame
            self._news = anyio.Event()
            await self._news.wait()

    async def aclose(self) -> None:
        """Close; calls that are under way are not answered."""
        self.cut()
        for task in list(self._calls):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def cut(self) -> None:
        """Break it."""
        self._cut = True
        self._agent.dismiss(self)
        self._news.set()

    def news(self, process_id: str) -> None:
        """Note that a log has grown."""
        self._peer.news(process_id)
        self._news.set()

    async def _passable(self) -> None:
        if not self._cut:
            await self._agent.passable()
        if self._cut:
            raise ConnectionLost(f"{self._agent.sandbox_id} was cut off")

    async def _answer(self, call: wire.Call) -> None:
        try:
            self._peer.reply(call.call, await self._agent.answer(call.method, call.params))
        except HopxError as error:
            if isinstance(error, errors.TransportError):
                return
            self._peer.reply(call.call, error=error)
        self._news.set()


class _MemoryLease:
    def __init__(self, agent: MemoryAgent) -> None:
        self._agent = agent

    async def release(self, grace: float | None) -> None:
        await self._agent.aclose()

    async def kill(self) -> None:
        await self._agent.aclose()
