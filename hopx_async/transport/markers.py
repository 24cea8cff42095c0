"""The way to a sandbox without an agent of ours: markers laid down and polled through a `Shell`.

To everything above it is a transport like any other: the link's frames, records, cursors
and credit are the same, and so is the agent's half of the link; it just runs here, over
logs that polls bring.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anyio

from hopx_async.errors import ConnectionLost, HopxError, LocalProtocolError, TransportError
from hopx_async.protocol import wire
from hopx_async.protocol.marker_answers import CutAnswer
from hopx_async.protocol.marker_logs import MarkerLogs
from hopx_async.protocol.markers import marker_root, tick_arguments
from hopx_async.protocol.peer import Peer
from hopx_async.protocol.rate import Pace, RateBudget
from hopx_async.transport.base import Channel, Transport
from hopx_async.transport.files import FileStore
from hopx_async.transport.marker_calls import MarkerCalls
from hopx_async.transport.marker_host import MarkerHost
from hopx_async.transport.shell import Shell

__all__ = ["MarkerChannel", "MarkerTransport"]


class MarkerTransport(Transport):
    """Commands of a sandbox, by markers.

    Args:
        shell: Runs programs there; closed with the transport.
        sandbox_id: The sandbox; also the key of what tells two specs apart.
        root: Directory of the markers there, None for `marker_root`.
        workspace: Where a relative working directory begins there.
        files: Its files, None for none; closed with the transport.
        patience: Seconds in which a request that fails is made again, None for `PATIENCE`.
        budget: What polls and calls may take, None where the shell waits for its turn itself.

    Attributes:
        polls_made: How many polls were made so far.
    """

    feed = "markers"

    def __init__(
        self,
        shell: Shell,
        sandbox_id: str,
        *,
        root: str | None = None,
        workspace: str = "/workspace",
        files: FileStore | None = None,
        patience: float | None = None,
        budget: RateBudget | None = None,
    ) -> None:
        self.name = shell.name
        self._files = files
        root = root or marker_root(sandbox_id)
        self._host = MarkerHost(shell, root, budget, patience=patience)
        self._logs = MarkerLogs()
        self._calls = MarkerCalls(self._host, self._logs, sandbox_id, workspace, self._changed)
        self._sandbox_id = sandbox_id
        self._pace = Pace()
        self._channels: set[MarkerChannel] = set()
        self._due = anyio.Event()
        self._ticker: asyncio.Task[None] | None = None
        self.polls_made = 0

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Carry out one call."""
        return await self._calls.call(method, params)

    async def connect(self) -> Channel:
        """Open a channel, once the far side has answered."""
        await self._host.ready()
        channel = MarkerChannel(self._calls, Peer(self._logs, sandbox=self._sandbox_id), self)
        self._channels.add(channel)
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.create_task(self._tick(), name=f"hopx polls of {self.name}")
        return channel

    def files(self) -> FileStore:
        """Return the sandbox's files, which need no markers."""
        return self._files or super().files()

    async def aclose(self) -> None:
        """End the polls and watches, and close the shell."""
        # First what needs no waiting: whoever does not wait for the rest leaves no polls.
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()
        for channel in list(self._channels):
            channel.cut()
        if ticker is not None:
            await asyncio.wait([ticker])
        if self._files is not None:
            await self._files.aclose()
        await self._calls.aclose()
        await self._host.aclose()

    def statistics(self) -> dict[str, Any]:
        """Return what is known here: polls and requests made, commands, log bytes held."""
        return {
            "polls": self.polls_made,
            "requests": self._host.requests,
            "commands": len(self._logs),
            "held_bytes": self._logs.held,
        }

    # What channels tell.

    def wake(self) -> None:
        """Look whether a poll is due: somebody waits for something new."""
        self._due.set()

    def dismiss(self, channel: MarkerChannel) -> None:
        """Note that a channel is gone."""
        self._channels.discard(channel)

    def _changed(self, process_ids: set[str]) -> None:
        """Tell the channels of news, which a call has brought."""
        self._tell(process_ids)
        self._due.set()

    def _tell(self, process_ids: set[str]) -> None:
        self._pace.hurry()
        if self._logs.crowded:
            self._logs.forget(set[str]().union(*(one.asked_for for one in self._channels)))
        for channel in self._channels:
            channel.news(process_ids)

    # Polling.

    async def _tick(self) -> None:
        try:
            while True:
                await self._until_due()
                await self._poll()
        except HopxError as error:
            self._cut_all(error)
        except Exception as error:
            # A bug: whoever waits is told, and not left waiting.
            self._cut_all(LocalProtocolError(f"the polls of {self.name} ended by a bug: {error!r}"))
            raise

    def _cut_all(self, reason: HopxError) -> None:
        for channel in list(self._channels):
            channel.cut(reason)

    def _waited_for(self) -> set[str]:
        return set[str]().union(*(channel.waited_for for channel in self._channels))

    async def _until_due(self) -> None:
        """Return when a poll is due: at once for log bytes, at its pace for news."""
        begun = anyio.current_time()
        delay = self._pace.after(news=False)
        while not self._logs.wanting:
            due, self._due = self._due, anyio.Event()
            if not due.is_set():
                live = self._logs.live(self._waited_for())
                left = begun + delay - anyio.current_time() if live else float("inf")
                if left <= 0:
                    return
                with anyio.move_on_after(left):
                    await self._due.wait()

    async def _poll(self) -> None:
        watched, fetches = self._logs.watched(self._waited_for()), self._logs.fetches()
        if not watched and not fetches:
            return
        self.polls_made += 1
        arguments = tick_arguments(self._logs.room, watched, fetches)
        try:
            lines = await self._host.ask("tick", arguments)
        except CutAnswer:
            self._logs.want(fetches)
            # The far side keeps only so much of what a program prints, and does not say how much.
            if not self._logs.shrink():
                raise
            return
        except BaseException:
            self._logs.want(fetches)
            raise
        news = self._logs.take(lines)
        self._logs.miss(fetches, lines)
        if news:
            self._tell(news)


class MarkerChannel(Channel):
    """The agent's half of the link, on this side of the wire.

    Args:
        calls: Carries out what is called.
        peer: The askings.
        transport: Polls for what they wait for.
    """

    def __init__(self, calls: MarkerCalls, peer: Peer, transport: MarkerTransport) -> None:
        self._calls = calls
        self._peer = peer
        self._transport = transport
        self._news = anyio.Event()
        self._cut: HopxError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waited_for(self) -> set[str]:
        """The commands of which somebody waits for news."""
        return self._peer.waited_for

    @property
    def asked_for(self) -> set[str]:
        """The commands that somebody reads."""
        return self._peer.asked_for

    async def send(self, frame: str) -> None:
        """Hand a frame to the agent's half."""
        self._check()
        for call in self._peer.receive(frame):
            task = asyncio.create_task(self._answer(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._news.set()

    async def receive(self) -> str | bytes:
        """Return the next frame of the agent's half."""
        while True:
            self._check()
            frame = self._peer.next_frame()
            if frame is not None:
                return frame
            # What could not be read is wanted now, or waited for.
            self._transport.wake()
            self._news = anyio.Event()
            await self._news.wait()

    async def aclose(self) -> None:
        """Close; calls that are under way are not answered. Cancelled, they end all the same."""
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def cut(self, reason: HopxError | None = None) -> None:
        """Break it: a new one may be made."""
        name = self._transport.name
        self._cut = reason or ConnectionLost(f"the polls of {name} have ended")
        self._peer.close()
        self._transport.dismiss(self)
        self._news.set()

    def news(self, process_ids: set[str]) -> None:
        """Note that logs have grown."""
        for process_id in process_ids:
            self._peer.news(process_id)
        self._news.set()

    def _check(self) -> None:
        if self._cut is not None:
            raise self._cut

    async def _answer(self, call: wire.Call) -> None:
        try:
            self._peer.reply(call.call, await self._calls.call(call.method, call.params))
        except TransportError as error:
            self.cut(error)  # whoever asked asks again, when the far side answers
        except HopxError as error:
            self._peer.reply(call.call, error=error)
        except Exception as error:
            # A bug: whoever asked is told, and not left waiting.
            self.cut(LocalProtocolError(f"{call.method} ended by a bug: {error!r}"))
            raise
        self._news.set()
