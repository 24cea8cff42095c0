"""All of the dialect, put together."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aiohttp import web

from hopx_async.agent.board import Board
from hopx_async.agent.calls import Calls
from hopx_async.agent.dialect.asks import Asks
from hopx_async.agent.dialect.commands import CommandRoutes
from hopx_async.agent.dialect.env import EnvRoutes
from hopx_async.agent.dialect.files import FileRoutes
from hopx_async.agent.dialect.paths import Places
from hopx_async.agent.dialect.rows import Rows
from hopx_async.agent.dialect.running import Running
from hopx_async.agent.dialect.sockets import Sockets
from hopx_async.agent.dialect.streams import StreamRoutes
from hopx_async.agent.dialect.sweep import Sweeper
from hopx_async.agent.dialect.system import Figures, SystemRoutes
from hopx_async.agent.dialect.terminal import TerminalRoute
from hopx_async.agent.dialect.watch import WatchRoute
from hopx_async.agent.environment import SandboxEnvironment
from hopx_async.agent.follow import Followers
from hopx_async.agent.starts import Starts

__all__ = ["Dialect"]


class Dialect:
    """HopX's routes beside ours.

    Args:
        board: The commands that are known.
        starts: Starts them.
        calls: Kills them.
        followers: Reads their output.
        environment: The sandbox's own variables.
        workspace: What ``/workspace`` is.
        base_env: Where programs are found.
        sandbox_id: The sandbox.

    Attributes:
        figures: Counts requests.
        system: What it says of itself.
    """

    def __init__(
        self,
        board: Board,
        starts: Starts,
        calls: Calls,
        followers: Followers,
        *,
        environment: SandboxEnvironment,
        workspace: str,
        base_env: Mapping[str, str],
        sandbox_id: str,
    ) -> None:
        self.figures = Figures()
        self._sockets = Sockets()
        self._running = Running(board, starts, calls, followers)
        places = Places(workspace)
        asks = Asks(places, base_env.get("PATH", ""))
        sockets = self._sockets
        self.system = SystemRoutes(
            board,
            self.figures,
            asks=asks,
            places=places,
            sandbox_id=sandbox_id,
            streams=lambda: len(sockets),
        )
        self._sweeper = Sweeper(board, self._running)
        self._parts = (
            CommandRoutes(asks, self._running, Rows(board, followers)),
            StreamRoutes(asks, self._running, sockets),
            TerminalRoute(asks, self._running, calls, sockets),
            FileRoutes(places),
            EnvRoutes(environment, calls),
            WatchRoute(places, sockets),
            self.system,
        )

    def add_to(self, app: web.Application) -> None:
        """Add every route to *app*."""
        for part in self._parts:
            part.add_to(app)
        app.on_response_prepare.append(self.figures.mark)

    def news(self, process_ids: Collection[str]) -> None:
        """Note that there is something new about these commands."""
        self._sweeper.news(process_ids)

    async def aclose(self) -> None:
        """Close every websocket; what was begun at the keeper goes on."""
        await self._sockets.aclose()
        await self._running.aclose()
