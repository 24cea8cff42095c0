"""All keepers as the agent sees them: who takes a new command, who holds an old one."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from hopx_async.agent.board import Board, Command
from hopx_async.agent.keeper_link import Answer, KeeperGone, KeeperLink, Snapshot
from hopx_async.agent.loading import load, read_logs

__all__ = ["AT_ONCE", "BUSY", "MAX_LIVE", "KeeperFacts", "Keepers"]

#: Commands that may run at a time.
MAX_LIVE = 12_000
#: Starts under way at each keeper from which on another is asked for.
BUSY = 16
#: Keepers that are there only to spawn at the same time: one for each processor, four at most.
AT_ONCE = min(4, len(os.sched_getaffinity(0)))


class KeeperFacts(msgspec.Struct, gc=False, frozen=True):
    """What the root tells of a keeper.

    Attributes:
        number: Its number, which a keeper that replaces it has as well.
        pid: Its process, None while there is none.
        stalled: Whether it has shown no sign of life for too long.
    """

    number: int
    pid: int | None = None
    stalled: bool = False


class Keepers:
    """The keepers of the sandbox.

    Args:
        board: Where their news go.
        state_dir: Where indexes and logs are.
        keeper_commands: Live commands that one keeper takes.
        on_news: Called with the ids that news were about.
        tell_root: Sends the root a message.
    """

    def __init__(
        self,
        board: Board,
        state_dir: Path,
        *,
        keeper_commands: int,
        on_news: Callable[[Collection[str]], None],
        tell_root: Callable[[dict[str, Any]], None],
    ) -> None:
        self._board = board
        self._state_dir = state_dir
        self._keeper_commands = keeper_commands
        self._on_news = on_news
        self._tell_root = tell_root
        self._facts: dict[int, KeeperFacts] = {}
        self._links: dict[int, KeeperLink] = {}
        self._snapshots: dict[int, Snapshot] = {}
        self._up: set[int] = set()
        self._starting: Counter[int] = Counter()
        self._given: Counter[int] = Counter()
        # How many there were when help was asked for: the root may have none.
        self._helped_by = 0
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading = False
        self._asked = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def pending(self) -> int:
        """Requests that wait for their answers."""
        return sum(link.pending for link in self._links.values())

    def statistics(self) -> list[dict[str, Any]]:
        """Return number, pid, live commands and whether it is stalled, of each keeper."""
        live = self._board.live_on
        return [
            {**msgspec.structs.asdict(facts), "live": live[number]}
            for number, facts in sorted(self._facts.items())
        ]

    # What the root tells.

    def know(self, facts: Iterable[KeeperFacts]) -> None:
        """Take note of which keepers there are; commands wait until all have told theirs."""
        self._facts = {one.number: one for one in facts}
        self._asked = False
        self._wake()

    def take(self, number: int, sock: socket.socket) -> None:
        """Take over the socket of a keeper, a new one or one in the place of another."""
        old = self._links.get(number)
        if old is not None:
            self._forget(number)
            old.close()
        link = KeeperLink(self._board, self._told, partial(self._gone, number), number)
        self._links[number] = link
        task = asyncio.create_task(self._introduce(link, sock))
        self._tasks.add(task)
        task.add_done_callback(self._introduced)

    async def aclose(self) -> None:
        """Close every link; requests that wait for answers fail."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for number, link in self._links.items():
            # Whoever asks again waits for another, and does not try this one for ever.
            self._forget(number)
            link.close()
        if self.ready.done() and not self.ready.cancelled():
            self.ready.exception()

    # Requests.

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[KeeperLink]:
        """Wait for a keeper that has room for another command; it is kept for the block."""
        while (link := self.take_place()) is None:
            self._want_more()
            await self._change()
        try:
            yield link
        finally:
            self.give_back(link)

    def take_place(self) -> KeeperLink | None:
        """Return a keeper that has room for another command, which is kept until `give_back`."""
        link = self._emptiest()
        if link is not None:
            self._starting[link.number] += 1
            self._given[link.number] += 1
            self._want_more()
            self._want_help()
        return link

    def give_back(self, link: KeeperLink) -> None:
        """Give a place back: the command counts for itself by now, or did not start."""
        self._starting[link.number] -= 1
        self._wake()

    async def ask(
        self, command: Command, request: Callable[[KeeperLink], Awaitable[Answer]]
    ) -> Answer:
        """Make a request of the keeper that holds a command, or of any once that has gone.

        Waits for a keeper that is being replaced, and asks again if it dies meanwhile: by
        then the command has ended. Cancelling it is safe.
        """
        while True:
            link = await self._keeper_of(command)
            try:
                return await request(link)
            except KeeperGone:
                continue

    async def returned(self, number: int) -> None:
        """Wait until a keeper is up (again); what the one before left unended has its end."""
        while number not in self._up:
            await self._change()

    async def _keeper_of(self, command: Command) -> KeeperLink:
        while True:
            if command.keeper in self._up:
                return self._links[command.keeper]
            if command.exit is not None and self._up:
                # What runs on of it is found by its marks, whoever looks.
                return self._links[min(self._up, key=self._is_stalled)]
            await self._change()

    def _is_stalled(self, number: int) -> bool:
        return number in self._facts and self._facts[number].stalled

    def _load(self, number: int) -> int:
        return self._board.live_on[number] + self._starting[number]

    def _emptiest(self) -> KeeperLink | None:
        # A keeper stands still while a command is being spawned: first who is least busy.
        # What has ended counts as well where all else is equal, or one would keep it all.
        places = [
            (self._starting[number], self._load(number), self._given[number], number)
            for number in self._up
            if not self._is_stalled(number) and self._load(number) < self._keeper_commands
        ]
        return self._links[min(places)[-1]] if places else None

    def _want_more(self) -> None:
        """Ask for another keeper before the last place is taken."""
        if self._asked:
            return
        healthy = [number for number in self._up if not self._is_stalled(number)]
        least = min(map(self._load, healthy), default=self._keeper_commands)
        enough = len(healthy) * self._keeper_commands >= MAX_LIVE
        if not enough and 5 * least >= 4 * self._keeper_commands:
            self._asked = True
            self._tell_root({"op": "more"})

    def _want_help(self) -> None:
        """Ask for another keeper, once, if all are busy with starts and a processor may be free."""
        keepers = len(self._facts)
        if keepers == self._helped_by or keepers >= AT_ONCE:
            return
        if min(self._starting[number] for number in self._up) >= BUSY:
            self._helped_by = keepers
            self._tell_root({"op": "more", "busy": True})

    # Waiting.

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            await waiter
        finally:
            del self._waiting[waiter]

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    # Their coming and going.

    async def _introduce(self, link: KeeperLink, sock: socket.socket) -> None:
        try:
            snapshot = await link.open(sock)
        except KeeperGone:
            return
        self._snapshots[link.number] = snapshot
        if self._loading or self.ready.done():
            await self.ready
            await self._settle(link, snapshot)
        elif self._facts.keys() <= self._snapshots.keys():
            await self._begin()

    async def _begin(self) -> None:
        """Learn of all commands, now that every keeper has told of its own."""
        self._loading = True
        links = {number: self._links[number] for number in self._snapshots}
        commands, gone = await asyncio.to_thread(load, self._state_dir, dict(self._snapshots))
        self._board.fill(commands)
        self._board.gone.fill(gone)
        for link in links.values():
            self._open(link)
        self.ready.set_result(None)

    async def _settle(self, link: KeeperLink, snapshot: Snapshot) -> None:
        """Learn how those have ended that the keeper does not hold any more."""
        for news in snapshot.commands:
            self._board.apply(news, link.number)
        held = {news.id for news in snapshot.commands}
        running = [command.process_id for command in self._board.running_on(link.number)]
        lost = dict.fromkeys(name for name in running if name not in held)
        if lost:
            logs = self._state_dir / "logs"
            for command in await asyncio.to_thread(read_logs, logs, lost):
                self._board.settle(command)
        self._on_news([*held, *lost])
        self._open(link)

    def _open(self, link: KeeperLink) -> None:
        # It may have died, or been replaced, while the disk was read.
        if self._links.get(link.number) is link and link.number in self._snapshots:
            del self._snapshots[link.number]
            self._up.add(link.number)
            self._asked = False
            link.go_on()
            self._wake()

    def _told(self, process_ids: Collection[str]) -> None:
        self._on_news(process_ids)
        self._wake()

    def _gone(self, number: int, _reason: str) -> None:
        self._forget(number)
        self._tell_root({"op": "gone", "number": number})

    def _forget(self, number: int) -> None:
        self._up.discard(number)
        self._snapshots.pop(number, None)

    def _introduced(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not self.ready.done():
                self.ready.set_exception(error)
            else:
                sys.excepthook(type(error), error, error.__traceback__)
