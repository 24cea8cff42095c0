"""What a keeper keeps: logs within a bound, ended commands within a count and an age."""

from __future__ import annotations

import time

from hopx_async.keeper.index import gone_line
from hopx_async.protocol import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from hopx_async.keeper.command import Command
    from hopx_async.keeper.index import Index
    from hopx_async.keeper.loop import Loop, Timer
    from hopx_async.keeper.store import Store

    class _Host(Protocol):
        """What is needed of the keeper."""

        loop: Loop
        store: Store
        index: Index
        commands: dict[str, Command]

        def changed(self, command: Command) -> None: ...
        def forgotten(self, process_id: str, at: float) -> None: ...


__all__ = ["Ended", "Keeping", "restored"]

# Where nothing could be freed, so much more has to be written before another try.
_STEP = 1024 * 1024
# The root hears of each hundredth part of the share that has come or gone.
_PARTS = 100
# An index is made anew when it has grown so much beyond what it was then.
_INDEX_GROWTH = 16 * 1024 * 1024


class Ended:
    """The log of a command that has ended: when, how large, and where its segments start."""

    __slots__ = ("at", "segments", "size")

    def __init__(self, at: float, size: int, segments: list[int]) -> None:
        self.at = at
        self.size = size
        self.segments = segments


class Keeping:
    """Forgets the oldest ended commands, and frees the oldest output of those that run.

    Args:
        host: The keeper.
        tell_root: Tells the root what is held, so that all keepers keep within the bounds.
        keep_bytes: Log bytes in all. It may be more by what one turn of the loop writes, and by
            the heads and current blocks of commands that run.
        keep_commands: Commands kept after their end.
        keep_seconds: Seconds for which they are kept.
    """

    def __init__(
        self,
        host: _Host,
        tell_root: Callable[[dict[str, Any]], None],
        *,
        keep_bytes: int,
        keep_commands: int,
        keep_seconds: float,
    ) -> None:
        self._tell_root = tell_root
        self._host = host
        self._bytes = keep_bytes
        self._commands = keep_commands
        self._seconds = keep_seconds
        self._ended: dict[str, Ended] = {}
        # Nothing could be freed for this bound: the bytes from which on it is tried again.
        self._vain = self._vain_bound = 0
        self._timer: Timer | None = None
        self._index_bytes = host.index.size
        # Ends and forgettings so far; that and the bytes when the root was told last.
        self._moves = 0
        # Nothing to hold is news, too: one before this may have told of something.
        self._told = (-1, -1)
        #: Commands forgotten by this process.
        self.forgotten = 0

    def share(self, share: dict[str, Any]) -> None:
        """Take another share of what the sandbox may keep: the keepers hold more, or less.

        Args:
            share: From now on ``keep_bytes`` of logs in all and ``keep_commands`` that have
                ended. And the oldest are forgotten until so many are as ``until`` says, where
                it is there: another keeper holds younger ones.
        """
        self._bytes, self._commands = share["keep_bytes"], share["keep_commands"]
        # Nothing to free is still nothing, unless much less may be kept now.
        if self._bytes < self._vain_bound - _STEP:
            self._vain = 0
        before = self.forgotten
        while self._ended and self.forgotten < share.get("until", 0):
            self._forget(next(iter(self._ended)))
        if self.forgotten > before:
            self.tell()

    def tell(self) -> None:
        """Tell the root what is held, unless nothing has changed since it was told."""
        held = self._host.store.kept_bytes
        if self._told != (self._moves, held):
            self._told = (self._moves, held)
            what = {"commands": len(self._ended), "bytes": held, "forgotten": self.forgotten}
            self._tell_root({"op": "kept", **what, "oldest": self._oldest()})

    def ended(self, process_id: str, ended: Ended) -> None:
        """Take note of a command that has ended; its log is complete."""
        self._ended[process_id] = ended
        self._moves += 1
        self._vain = 0
        self._watch_the_clock()

    def restore(self, ended: Iterable[tuple[str, Ended]]) -> None:
        """Take over what an earlier keeper has kept."""
        found = sorted(ended, key=lambda pair: pair[1].at)
        self._ended = dict(found)
        self._moves += len(found)
        self._host.store.kept_bytes = sum(one.size for one in self._ended.values())
        self.tell()
        self._watch_the_clock()

    def tidy(self) -> None:
        """Keep within the bounds; called once a turn."""
        while len(self._ended) > self._commands:
            self._forget(next(iter(self._ended)))
        store = self._host.store
        if store.kept_bytes > self._bytes and store.kept_bytes >= self._vain:
            self._make_room()
        moves, told_bytes = self._told
        few, few_bytes = self._few
        if self._moves - moves >= few or abs(store.kept_bytes - told_bytes) >= few_bytes:
            self.tell()
        if self._host.index.size > self._index_bytes + _INDEX_GROWTH:
            self._host.index.compact({*self._ended, *self._host.commands})
            self._index_bytes = self._host.index.size

    @property
    def _few(self) -> tuple[int, int]:
        return max(1, self._commands // _PARTS), max(records.BLOCK, self._bytes // _PARTS)

    def _oldest(self) -> tuple[int, float] | None:
        """Return how many the oldest few are, and when the last of them ended."""
        few, few_bytes = self._few
        count = size = 0
        at = 0.0
        for one in self._ended.values():
            count, size, at = count + 1, size + one.size, one.at
            if count >= few or size >= few_bytes:
                break
        return (count, at) if count else None

    def _make_room(self) -> None:
        store = self._host.store
        while store.kept_bytes > self._bytes:
            if self._ended:
                self._forget(next(iter(self._ended)))
            elif not self._shrink_one():
                self._vain, self._vain_bound = store.kept_bytes + _STEP, self._bytes
                return

    def _shrink_one(self) -> bool:
        """Free the oldest segment of the largest log; false if none has anything to free."""
        running = sorted(
            self._host.commands.values(), key=lambda one: one.log.kept_bytes, reverse=True
        )
        for command in running:
            if command.log.kept_bytes <= 2 * records.BLOCK:
                break
            if command.log.shrink():
                self._host.changed(command)
                return True
        return False

    def _forget(self, process_id: str) -> None:
        one = self._ended.pop(process_id)
        store = self._host.store
        # The head goes last: as long as it is there, the id is claimed.
        for start in reversed(one.segments):
            store.unlink(records.segment_name(process_id, start))
        store.kept_bytes -= one.size
        now = time.time()
        self._host.index.add(gone_line(process_id, now))
        self.forgotten += 1
        self._moves += 1
        self._host.forgotten(process_id, now)

    def _watch_the_clock(self) -> None:
        if self._timer is None and self._ended:
            oldest = next(iter(self._ended.values()))
            # The clock may be set back meanwhile; then it is looked at again.
            delay = max(0.0, oldest.at + self._seconds - time.time())
            self._timer = self._host.loop.call_later(delay, self._forget_the_old)

    def _forget_the_old(self) -> None:
        self._timer = None
        limit = time.time() - self._seconds
        for process_id, one in list(self._ended.items()):
            if one.at > limit:
                break
            self._forget(process_id)
        self._watch_the_clock()


def restored(store: Store, ends: dict[str, float]) -> list[tuple[str, Ended]]:
    """Return what is there of the commands whose ends an index tells, with their times."""
    segments: dict[str, list[int]] = {}
    for name in store.names():
        parsed = records.parse_segment_name(name)
        if parsed is not None and parsed[0] in ends:
            segments.setdefault(parsed[0], []).append(parsed[1])
    found = []
    for process_id, starts in segments.items():
        starts.sort()
        sizes = [store.size_of(records.segment_name(process_id, start)) for start in starts]
        found.append((process_id, Ended(ends[process_id], sum(sizes), starts)))
    return found
