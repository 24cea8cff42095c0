"""The agent's process: serves the network, holds no command, may die at any moment.

``python -m hopx_async.agent.server --listen-fd N --root-fd N`` is started by the root, which
tells it the rest: the config is the first line on the root's socket, and the keepers' sockets
come behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from hopx_async.agent.board import Board, Command
from hopx_async.agent.calls import Calls
from hopx_async.agent.config import Config
from hopx_async.agent.dialect.routes import Dialect
from hopx_async.agent.environment import SandboxEnvironment
from hopx_async.agent.follow import Followers
from hopx_async.agent.front import Full, Handler
from hopx_async.agent.guard import Guard
from hopx_async.agent.holds import Holds
from hopx_async.agent.keepers import KeeperFacts, Keepers
from hopx_async.agent.link_route import MAX_CONNECTIONS, Connections
from hopx_async.agent.logs import Logs
from hopx_async.agent.pausing import Pausing
from hopx_async.agent.poll_route import Sessions
from hopx_async.agent.privacy import become_unreadable
from hopx_async.agent.root_link import RootLink
from hopx_async.agent.routes import Routes
from hopx_async.agent.starts import Starts
from hopx_async.agent.tokens import verifier
from hopx_async.agent.usage import Sampler
from hopx_async.protocol import wire
from hopx_async.protocol.leases import Hold

__all__ = ["Agent", "Config", "main"]

_BACKLOG = 4096
# Connections in all; beyond, the newest is told so and closed.
_MAX_SOCKETS = 2 * MAX_CONNECTIONS
# Seconds that a connection may idle between requests; longer than clients keep theirs.
_IDLE_TIME = 75.0
# Requests under way at a stop have this many seconds.
_SHUTDOWN_TIME = 0.5
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _RootLine(msgspec.Struct, frozen=True):
    op: str
    n: int = 0
    number: int = 0
    keepers: list[KeeperFacts] = []


class Agent:
    """Everything between a listening socket and the keepers.

    Args:
        config: What the root told.
        tell_root: Sends the root a message.

    Attributes:
        ready: Whether every keeper's snapshot is in.
        keepers: The keepers; their sockets go here.
    """

    def __init__(self, config: Config, tell_root: Callable[[dict[str, Any]], None]) -> None:
        self._config = config
        state_dir = Path(config.state_dir)
        self.ready = False
        self._begun = time.monotonic()
        self._board = Board()
        self.keepers = Keepers(
            self._board,
            state_dir,
            keeper_commands=config.keeper_commands,
            on_news=self._news,
            tell_root=tell_root,
        )
        self.keepers.know(config.keepers)
        self._logs = Logs(state_dir / "logs", self._board, lambda fetched: self._ring((fetched,)))
        self._environment = SandboxEnvironment(state_dir)
        self._sampler = Sampler(self._tell_usage)
        self._starts = Starts(
            self._board,
            self.keepers,
            self._environment,
            self._sampler,
            state_dir=state_dir,
            secret=bytes.fromhex(config.secret),
            workspace=config.workspace,
            base_env=config.base_env,
            process_limit=config.process_limit,
        )
        calls = Calls(
            self._board,
            self.keepers,
            self._starts,
            self._environment,
            statistics=self._statistics,
            sandbox_id=config.sandbox_id,
            place=config.place,
        )
        self._followers = Followers(self._logs)
        self._dialect = Dialect(
            self._board,
            self._starts,
            calls,
            self._followers,
            environment=self._environment,
            workspace=config.workspace,
            base_env=config.base_env,
            sandbox_id=config.sandbox_id,
        )
        self._holds = Holds(self._board, config.retention_bytes, self._tell_hold)
        doors = (calls, self._logs, config.sandbox_id, self._holds)
        self._connections, self._sessions = Connections(*doors), Sessions(*doors)
        self._pausing = Pausing(self._board, calls, self._starts, state_dir, self._cut)
        self._runner = web.AppRunner(
            self._application(calls), handler_cancellation=True, shutdown_timeout=_SHUTDOWN_TIME
        )
        self._server: asyncio.Server | None = None

    async def serve(self, listen: socket.socket) -> None:
        """Accept connections on *listen*; return when every keeper's snapshot is in.

        Until then requests are answered with 503.
        """
        await self._runner.setup()
        listen.setblocking(False)
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, sock=listen, backlog=_BACKLOG
        )
        await asyncio.shield(self.keepers.ready)
        await asyncio.to_thread(self._environment.load)
        for command in self._board.running():
            self._sampler.watch(command)
        await self._pausing.renew()
        self.ready = True

    async def aclose(self) -> None:
        """Stop accepting, close websockets with 1001, end everything else; bounded."""
        if self._server is not None:
            self._server.close()
        await self._cut()
        await self._dialect.aclose()
        await self._runner.cleanup()
        await self._starts.aclose()
        await self._pausing.aclose()
        await self._sampler.aclose()
        await self._holds.aclose()
        await self._environment.aclose()
        await self.keepers.aclose()
        self._logs.close()

    async def _cut(self) -> None:
        await self._sessions.close()
        await self._connections.close()

    def _application(self, calls: Calls) -> web.Application:
        guard = Guard(
            token=self._config.token,
            host=self._config.url_host,
            port=self._config.port,
            allow_hosts=self._config.allow_hosts,
            ready=lambda: self.ready,
            verify=verifier(self._config.token_secret, self._config.sandbox_id),
            pausing=self._pausing,
        )
        app = web.Application(
            middlewares=[self._dialect.figures.middleware(), guard.middleware()],
            client_max_size=wire.MAX_CALL_BYTES,
        )
        system = self._dialect.system
        Routes(calls, self._connections, self._sessions, lambda: self.ready, system).add_to(app)
        self._dialect.add_to(app)
        self._pausing.add_to(app)
        return app

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        if len(server.connections) >= _MAX_SOCKETS:
            return Full(_MAX_SOCKETS)
        # A compressed body would grow behind the bound on bodies.
        return Handler(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # documented: None turns it off
            auto_decompress=False,
            keepalive_timeout=_IDLE_TIME,
        )

    def _news(self, process_ids: Collection[str]) -> None:
        for process_id in process_ids:
            self._logs.forget_freed(process_id)
        self._ring(process_ids)
        self._dialect.news(process_ids)

    async def _tell_usage(self, command: Command, figures: dict[str, Any]) -> None:
        await self.keepers.ask(command, lambda keeper: keeper.usage(command.process_id, figures))

    async def _tell_hold(self, command: Command, hold: Hold) -> None:
        await self.keepers.ask(command, lambda keeper: keeper.hold(command.process_id, *hold))

    def _ring(self, process_ids: Collection[str]) -> None:
        self._connections.news(process_ids)
        self._sessions.news(process_ids)
        self._followers.news(process_ids)

    def _statistics(self) -> dict[str, Any]:
        resident = int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
        return {
            "pid": os.getpid(),
            "connections": len(self._connections),
            "sessions": len(self._sessions),
            "askings": self._connections.askings + self._sessions.askings,
            "keepers": self.keepers.statistics(),
            "keeper_requests": self.keepers.pending,
            "open_logs": self._logs.open_files,
            "fetches": self._logs.fetches,
            "rss_bytes": resident,
            "uptime": time.monotonic() - self._begun,
        }


class _Process:
    """The agent as a child of the root."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._agent: asyncio.Future[Agent] = loop.create_future()
        self._stop: asyncio.Future[str] = loop.create_future()
        self._root = RootLink(self._take, self._told_to_stop)

    async def run(self, listen: socket.socket, root: socket.socket) -> int:
        """Serve until the root says stop or goes; return the exit status."""
        loop = asyncio.get_running_loop()
        # A terminal's Ctrl-C reaches the whole group; what it means is for the root to say.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, self._told_to_stop, "SIGTERM")
        self._root.open(root)
        await _first_of(self._agent, self._stop)
        if not self._agent.done():
            return 0
        agent = self._agent.result()
        serving = asyncio.create_task(self._serve(agent, listen))
        try:
            await _first_of(serving, self._stop)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await agent.aclose()
            self._root.close()
        if not self._stop.done():
            serving.result()
        return 0

    async def _serve(self, agent: Agent, listen: socket.socket) -> None:
        await agent.serve(listen)
        self._tell({"op": "ready"})
        await asyncio.shield(self._stop)  # this task is cancelled, the wish is not

    def _take(self, line: bytes) -> None:
        said = msgspec.json.decode(line, type=_RootLine)
        if said.op == "config":
            self._agent.set_result(Agent(msgspec.json.decode(line, type=Config), self._tell))
        elif said.op == "ping":
            self._tell({"op": "pong", "n": said.n})
        elif said.op == "keeper":
            self._take_keeper(said.number)
        elif said.op == "keepers":
            self._agent.result().keepers.know(said.keepers)
        elif said.op == "stop":
            self._told_to_stop("the root says so")

    def _take_keeper(self, number: int) -> None:
        fd = self._root.take_fd()
        if fd is None:
            raise ValueError("a keeper comes with its socket")
        self._agent.result().keepers.take(number, socket.socket(fileno=fd))

    def _tell(self, message: dict[str, Any]) -> None:
        self._root.send(msgspec.json.encode(message))

    def _told_to_stop(self, reason: str) -> None:
        if not self._stop.done():
            self._stop.set_result(reason)


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m hopx_async.agent.server")
    for name in ("--listen-fd", "--root-fd"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--state-fd", type=int)
    options = parser.parse_args(argv)
    if options.state_fd is not None:
        # Inside of namespaces the state directory is this descriptor; commands shall not have it.
        os.set_inheritable(options.state_fd, False)
        become_unreadable()
    fds = (options.listen_fd, options.root_fd)
    sockets = [socket.socket(fileno=fd) for fd in fds]

    async def run() -> int:
        return await _Process().run(*sockets)

    return asyncio.run(run())


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # A thread that hangs in a dead mount must not hold up the end.
    os._exit(status)
