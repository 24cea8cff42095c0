"""A sandbox that is paused: its commands are stopped, and its agent answers nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from hopx_async.agent.board import Board
from hopx_async.agent.calls import Calls
from hopx_async.agent.dialect.answers import Refused
from hopx_async.agent.starts import Starts
from hopx_async.errors import AgentFault, HopxError
from hopx_async.model import new_process_id

__all__ = ["SETTLE_SECONDS", "Pausing"]

#: Seconds for which a pause waits for starts under way: a keeper that takes longer is stalled.
SETTLE_SECONDS = 5.0
# For so long an agent that ends waits for keepers to have heard of a pause or resume under way.
_CLOSE_SECONDS = 1.0
_OPEN = frozenset({"/v1/pause", "/v1/resume", "/info"})


class Pausing:
    """Pauses and resumes. A mark in the state directory tells an agent that comes after this.

    What has begun is carried out although whoever asked for it has gone: a sandbox that is marked
    and answers nobody must not have commands that run on.

    Commands' own time limits go on: they are counted by a clock.

    Args:
        board: The commands that are known.
        calls: Signals them.
        starts: Is not to start any meanwhile.
        state_dir: Where the mark is.
        cut: Ends the connections that are open: what is paused answers nobody there, either.
    """

    def __init__(
        self,
        board: Board,
        calls: Calls,
        starts: Starts,
        state_dir: Path,
        cut: Callable[[], Awaitable[None]],
    ) -> None:
        self._board = board
        self._calls = calls
        self._starts = starts
        self._cut = cut
        self._mark = state_dir / "paused"
        self._paused = self._mark.exists()
        self._starts.hold(self._paused)
        # A resume waits for the pause before it.
        self._turn = asyncio.Lock()
        # The pause or resume that has the turn, or had it last.
        self._changing: asyncio.Task[None] | None = None
        # Stops what was still being started when everything else was stopped.
        self._late: asyncio.Task[None] | None = None

    def add_to(self, app: web.Application) -> None:
        """Add both routes to *app*."""
        app.add_routes([web.post("/v1/pause", self._pause), web.post("/v1/resume", self._resume)])

    def check(self, path: str) -> None:
        """Refuse a request to an agent that is paused.

        Raises:
            Refused: With 503.
        """
        if self._paused and path not in _OPEN:
            raise Refused("SANDBOX_PAUSED", "the sandbox is paused: resume it", status=503)

    async def renew(self) -> None:
        """Stop what runs although there is a mark: an agent before may have died half-way.

        To be called when all commands are known. It waits for that, but not long: a keeper may be
        stalled. Cancelling it is safe: it goes on until `aclose`.
        """
        if self._paused:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._carry_out(self._stop_what_runs)

    async def aclose(self) -> None:
        """End a pause or resume under way: within a second it is carried out, or given up.

        To be called when no request comes any more, and starts are closed: none is waited for.
        """
        if self._changing is not None:
            await asyncio.wait([self._changing], timeout=_CLOSE_SECONDS)
            self._changing.cancel()
            await asyncio.gather(self._changing, return_exceptions=True)
        await self._drop_late()

    async def _pause(self, _request: web.Request) -> web.Response:
        await self._carry_out(self._stop_all)
        return web.json_response({"paused": True})

    async def _resume(self, _request: web.Request) -> web.Response:
        await self._carry_out(self._continue_all)
        return web.json_response({"paused": False})

    async def _carry_out(self, change: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the turn, then for *change*, which goes on although this is cancelled."""
        await self._turn.acquire()
        self._changing = asyncio.create_task(change())
        self._changing.add_done_callback(lambda _: self._turn.release())
        await asyncio.shield(self._changing)

    async def _stop_all(self) -> None:
        before, self._paused = self._paused, True
        try:
            await asyncio.to_thread(self._mark.touch, 0o600)
        except OSError as error:
            # On a full disk, say: nothing has been stopped, and nobody is kept out.
            self._paused = before
            raise AgentFault(f"the sandbox cannot be paused: {error}") from error
        await self._stop_what_runs()

    async def _stop_what_runs(self) -> None:
        # First: over what is open, commands could be started behind the signals.
        await self._cut()
        self._starts.hold(True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._starts.quiet()
        await self._drop_late()
        if self._starts.under_way:
            self._late = asyncio.create_task(self._stop_late())
        await self._signal("SIGSTOP")

    async def _continue_all(self) -> None:
        await self._drop_late()
        await self._signal("SIGCONT")
        await asyncio.to_thread(self._mark.unlink, missing_ok=True)
        self._starts.hold(False)
        self._paused = False

    async def _drop_late(self) -> None:
        """Wait for no start any more."""
        late, self._late = self._late, None
        if late is not None:
            late.cancel()
            await asyncio.gather(late, return_exceptions=True)

    async def _stop_late(self) -> None:
        await self._starts.quiet()
        await self._signal("SIGSTOP")

    async def _signal(self, name: str) -> None:
        """Send a signal to every command that runs, page by page."""
        after: str | None = ""
        while after is not None:
            page, after = self._board.page(after=after, status="running")
            asked = [
                self._calls.call(
                    "signal",
                    {"process_id": one.process_id, "signal_id": new_process_id(), "name": name},
                )
                for one in page
            ]
            for told in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(told, BaseException) and not isinstance(told, HopxError):
                    raise told
