"""Logs that lie behind polls: what is known of them, and what is to be asked for next. Pure.

A `LogSource` for the agent's half of the link, as if the logs were here: what is not is
wanted, and the next poll brings it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

import attrs

from hopx_async.protocol import marker_answers as answers
from hopx_async.protocol.markers import MAX_WATCHED
from hopx_async.protocol.records import KEEP_COMMANDS

__all__ = ["MAX_ENDED", "MAX_ENDED_BYTES", "MAX_HELD", "ROOM", "MarkerLogs"]

#: Log bytes of one poll's answer.
ROOM = 512 * 1024
#: Log bytes held that nobody has taken yet.
MAX_HELD = 4 * 1024 * 1024
#: Commands that have ended and are remembered: as many as the far side keeps.
MAX_ENDED = KEEP_COMMANDS
#: Bytes that are known of them, about.
MAX_ENDED_BYTES = 32 * 1024 * 1024
# Log bytes of one command in a poll that serves many.
_LEAST_SHARE = 16 * 1024
# Log bytes of a poll where the far side keeps only little of what a program prints.
_LEAST_ROOM = 4096
# What a report takes beside that.
_REPORT_BYTES = 1024
_Place = tuple[str, int]


class MarkerLogs:
    """The commands of one far side, as far as polls have told of them.

    Attributes:
        held: Log bytes that came and were not taken.
        room: Log bytes that the next poll's answer may carry.
    """

    def __init__(self) -> None:
        self._reports: dict[str, answers.Report] = {}
        # Those that have ended, the first first, and how much each takes.
        self._ended: dict[str, int] = {}
        self._ended_bytes = 0
        self._wanted: OrderedDict[_Place, int] = OrderedDict()
        self._fetched: OrderedDict[_Place, tuple[int, bytes]] = OrderedDict()
        self._turn = 0
        self._most = MAX_WATCHED
        self.held = 0
        self.room = ROOM

    def __len__(self) -> int:
        return len(self._reports)

    # What a peer asks.

    def end(self, process_id: str) -> int | None:
        """Return the log offset behind the last record, None for an unknown command."""
        known = self._reports.get(process_id)
        return None if known is None else known.end

    def over(self, process_id: str) -> bool:
        """Return whether the last record is a terminal one."""
        known = self._reports.get(process_id)
        return known is not None and known.over_at is not None

    def read(self, process_id: str, offset: int, limit: int) -> tuple[int, bytes] | None:
        """Return log bytes from *offset* on, or from the next that is kept, at most *limit*.

        None means that they are wanted now, or that there are none.
        """
        known = self._reports.get(process_id)
        if known is None or offset >= known.end or limit <= 0:
            return None
        piece = self._fetched.pop((process_id, offset), None)
        if piece is None:
            # A poll is dear: it brings more than the next frame takes.
            self._wanted[process_id, offset] = min(known.end - offset, ROOM)
            return None
        at, data = piece
        self.held -= len(data)
        if len(data) > limit:
            self._hold((process_id, at + limit), at + limit, data[limit:])
        return at, data[:limit]

    def last(self, process_id: str) -> tuple[int, bytes] | None:
        """Return offset and bytes of the terminal record."""
        known = self._reports.get(process_id)
        if known is None or known.over_at is None or known.record is None:
            return None
        return known.over_at, known.record

    # What calls ask.

    def report(self, process_id: str) -> answers.Report | None:
        """Return what is known of a command."""
        return self._reports.get(process_id)

    @property
    def crowded(self) -> bool:
        """Whether more is known of what has ended than should be; see `forget`."""
        return len(self._ended) > MAX_ENDED or self._ended_bytes > MAX_ENDED_BYTES

    def forget(self, in_use: Collection[str]) -> None:
        """Forget what ended first and nobody reads; whoever asks for it is told by the far side."""
        for process_id in list(self._ended):
            if not self.crowded:
                break
            if process_id not in in_use:
                self._drop(process_id)

    @property
    def wanting(self) -> bool:
        """Whether log bytes are wanted."""
        return bool(self._wanted)

    # Polls.

    def live(self, waited_for: Iterable[str]) -> list[str]:
        """Return those that run, as far as is known."""
        return [one for one in waited_for if one in self._reports and not self.over(one)]

    def watched(self, waited_for: Iterable[str]) -> dict[str, int | None]:
        """Return what the next poll asks about: commands that run, and how far they are known.

        Where there are too many for one poll they take turns; hence it is called once for each.
        """
        live = self.live(waited_for)
        if len(live) > self._most:
            begin = self._turn % len(live)
            self._turn = begin + self._most
            live = (live[begin:] + live[:begin])[: self._most]
        return {one: self._reports[one].end for one in live}

    def fetches(self) -> list[tuple[str, int, int]]:
        """Return the log bytes that the next poll brings: command, offset, at most how many.

        Each has its share of the room, the first to ask the first; the others' turn is next.
        """
        most = max(1, min(len(self._wanted), self.room // _LEAST_SHARE))
        share = self.room // most
        taken = [
            (process_id, offset, min(size, share))
            for (process_id, offset), size in list(self._wanted.items())[:most]
        ]
        for process_id, offset, _ in taken:
            del self._wanted[process_id, offset]
        return taken

    def shrink(self) -> bool:
        """Ask for less in a poll, for its answer came without its end; return whether it can be."""
        if self.room <= _LEAST_ROOM:
            return False
        self.room //= 2
        self._most = max(1, self._most // 2)
        return True

    def want(self, fetches: Iterable[tuple[str, int, int]]) -> None:
        """Want again what a poll that failed was to bring."""
        for process_id, offset, size in fetches:
            self._wanted.setdefault((process_id, offset), size)

    def miss(self, fetches: Iterable[tuple[str, int, int]], lines: Iterable[answers.Line]) -> None:
        """Want again what an answer has left out."""
        brought = {
            (line.process_id, line.asked) for line in lines if isinstance(line, answers.Data)
        }
        self.want(one for one in fetches if one[:2] not in brought and self.end(one[0]) is not None)

    def take(self, lines: Iterable[answers.Line]) -> set[str]:
        """Take in what an answer says, and return the commands of which there are news."""
        news: set[str] = set()
        for line in lines:
            if isinstance(line, answers.Report):
                if self._update(line):
                    news.add(line.process_id)
            elif isinstance(line, answers.Data):
                self._hold((line.process_id, line.asked), line.offset, line.data)
                news.add(line.process_id)
            elif isinstance(line, answers.Unknown):
                self._drop(line.process_id)
                news.add(line.process_id)
        return news

    def _update(self, new: answers.Report) -> bool:
        """Take over a report, unless a later one came first; return whether it tells more."""
        old = self._reports.get(new.process_id)
        if old is not None:
            if new.end < old.end or (old.over_at is not None and new.over_at is None):
                return False
            new = attrs.evolve(new, spec=new.spec or old.spec)
        self._reports[new.process_id] = new
        if new.over_at is not None:
            self._ended_bytes -= self._ended.get(new.process_id, 0)
            self._ended[new.process_id] = size = _size(new)
            self._ended_bytes += size
        return old is None or new.end > old.end or (new.over_at is not None and old.over_at is None)

    def _drop(self, process_id: str) -> None:
        self._reports.pop(process_id, None)
        self._ended_bytes -= self._ended.pop(process_id, 0)

    def _hold(self, place: _Place, offset: int, data: bytes) -> None:
        # What lies behind the last whole record may still be taken back.
        known = self._reports.get(place[0])
        data = b"" if known is None else data[: max(0, known.end - offset)]
        if not data:
            return
        if place in self._fetched:
            self.held -= len(self._fetched.pop(place)[1])
        self._fetched[place] = offset, data
        self.held += len(data)
        while self.held > MAX_HELD:
            _, (_, dropped) = self._fetched.popitem(last=False)
            self.held -= len(dropped)


def _size(report: answers.Report) -> int:
    # An end is there twice, read and as its record.
    return len(str(report.spec or "")) + 2 * len(report.record or b"") + _REPORT_BYTES
