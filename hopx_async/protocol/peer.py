"""The agent's half of the link: askings over logs, fair turns, credit; without any I/O.

One `Peer` serves one connection.  It holds no output: an asking is a place in a
log, and the shell lends it the logs.  Whoever gives no credit takes no turn, so
ten thousand stuck readers cost a live one nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from hopx_async.errors import (
    AgentFault,
    BadCursor,
    CommandNotFound,
    HopxError,
    InvalidArgument,
    RateLimited,
    RemoteProtocolError,
)
from hopx_async.protocol import lifecycle, records, wire

__all__ = ["MAX_ASKINGS", "LogSource", "Peer", "Readers"]

#: Askings that one connection may hold at a time.
MAX_ASKINGS = 65_536
# Log bytes of one turn when others wait for theirs.
_LEAST_TURN = 16 * 1024
_STALE_TURNS = 64


class LogSource(Protocol):
    """The logs, as a peer reads them. Nothing here waits."""

    def end(self, process_id: str) -> int | None:
        """Return the log offset behind the last record, None for an unknown command."""
        ...

    def over(self, process_id: str) -> bool:
        """Return whether the last record of a known command is a terminal one."""
        ...

    def read(self, process_id: str, offset: int, limit: int) -> tuple[int, bytes] | None:
        """Return log bytes from *offset* on, or from the next that is kept, at most *limit*.

        None means that they have to be fetched first; `Peer.news` is called afterwards.

        Raises:
            HopxError: If they cannot be read; the reader is told.
        """
        ...

    def last(self, process_id: str) -> tuple[int, bytes] | None:
        """Return offset and bytes of the terminal record; None and errors as in `read`."""
        ...


class Readers(Protocol):
    """Those who want to know how far readers have got. A reader is a pair of numbers."""

    def joined(self, reader: tuple[int, int], process_id: str, offset: int) -> bool:
        """Take note of a reader of output; return whether its moves are to be told."""
        ...

    def moved(self, reader: tuple[int, int], process_id: str, offset: int) -> None:
        """Take note of how far a reader has got."""
        ...

    def left(self, reader: tuple[int, int], process_id: str) -> None:
        """Take note that a reader has gone."""
        ...


class _Asked:
    """One asking: where it stands in its log, and how much it may still be sent."""

    __slots__ = ("ask", "offset", "output", "process_id", "queued", "sent", "total", "watched")

    def __init__(self, control: wire.Ask) -> None:
        self.ask = control.ask
        self.process_id = control.id
        self.offset = control.after
        self.output = control.output
        self.total = control.total
        self.sent = 0
        self.queued = False
        self.watched = False


class Peer:
    """The askings of one connection.

    Feed what arrived to `receive`, which returns the calls to carry out; ring
    `news` when a log has grown; send what `next_frame` returns. Read no more from
    the connection while `congested`.
    """

    def __init__(
        self, logs: LogSource, *, sandbox: str = "", readers: Readers | None = None
    ) -> None:
        self._logs = logs
        self._readers = readers
        self._askings: dict[int, _Asked] = {}
        # Those that wait for news of a command, by its id and whether for output.
        self._waiting: dict[tuple[str, bool], dict[int, _Asked]] = {}
        self._turns: deque[_Asked] = deque()
        self._outbox = wire.Outbox()
        self._outbox.add(wire.Hello(wire.LINK_VERSION, sandbox))
        self._greeted = False

    @property
    def askings(self) -> int:
        """How many askings it holds."""
        return len(self._askings)

    @property
    def congested(self) -> bool:
        """Whether so many answers wait to be sent that nothing more should be received."""
        return self._outbox.size >= wire.MAX_CONTROL_BYTES

    @property
    def waited_for(self) -> set[str]:
        """The commands of which somebody waits for news."""
        return {process_id for process_id, _ in self._waiting}

    @property
    def asked_for(self) -> set[str]:
        """The commands that somebody reads."""
        return {asked.process_id for asked in self._askings.values()}

    def close(self) -> None:
        """Let the readers go: the connection is no more."""
        for asked in self._askings.values():
            self._let_go(asked)
        self._askings.clear()

    # What arrives.

    def receive(self, frame: str | bytes) -> list[wire.Call]:
        """Take in one frame and return the calls in it.

        Raises:
            RemoteProtocolError: If it breaks the protocol; the connection is of no more use.
        """
        if not isinstance(frame, str):
            raise RemoteProtocolError("a client sends no binary frames")
        calls = []
        for control in wire.decode_client(frame):
            if isinstance(control, wire.Hello):
                self._hello(control)
            elif not self._greeted:
                raise RemoteProtocolError("the first word of a client is hello")
            elif isinstance(control, wire.Call):
                calls.append(control)
            elif isinstance(control, wire.Ask):
                self._ask(control)
            elif isinstance(control, wire.Credit):
                self._credit(control)
            else:
                self._forget(control.ask)
        return calls

    def _hello(self, control: wire.Hello) -> None:
        if control.version != wire.LINK_VERSION:
            raise RemoteProtocolError(
                f"the client speaks link version {control.version}, not {wire.LINK_VERSION}"
            )
        self._greeted = True

    def _ask(self, control: wire.Ask) -> None:
        if control.ask in self._askings:
            raise RemoteProtocolError(f"ask {control.ask} is used twice")
        problem = lifecycle.problem_with_id(control.id)
        if problem is not None:
            error: HopxError = InvalidArgument(problem.parameter, problem.value, problem.rule)
            self._refuse(control.ask, error)
        elif len(self._askings) >= MAX_ASKINGS:
            error = RateLimited(f"at most {MAX_ASKINGS} readers on one connection")
            self._refuse(control.ask, error)
        else:
            self._admit(control)

    def _admit(self, control: wire.Ask) -> None:
        end = self._logs.end(control.id)
        if end is not None and control.after > end:
            rule = f"a position in the log of {control.id}, which has {end} bytes"
            self._refuse(control.ask, BadCursor("after", str(control.after), rule))
        elif control.output and control.after == end and self._logs.over(control.id):
            self._outbox.add(wire.Over(control.ask))
        else:
            asked = self._askings[control.ask] = _Asked(control)
            if self._readers is not None and asked.output:
                reader = (id(self), asked.ask)
                asked.watched = self._readers.joined(reader, asked.process_id, asked.offset)
            self._queue(asked)

    def _credit(self, control: wire.Credit) -> None:
        asked = self._askings.get(control.ask)
        if asked is not None and control.total > asked.total:
            asked.total = control.total
            self._queue(asked)

    # What the shell tells.

    def news(self, process_id: str) -> None:
        """Note that the log of a command has grown, ended, been fetched or been forgotten."""
        output = self._waiting.pop((process_id, True), {})
        for asked in output.values():
            self._queue(asked)
        if self._logs.end(process_id) is None or self._logs.over(process_id):
            for asked in self._waiting.pop((process_id, False), {}).values():
                self._queue(asked)

    def reply(self, call: int, result: Any = None, error: HopxError | None = None) -> None:
        """Queue the answer to a call. One too large for a frame becomes an `AgentFault`."""
        problem = None if error is None else wire.error_to_dict(error)
        if not self._outbox.add(wire.Reply(call, result, problem)):
            fault = AgentFault(f"the answer exceeds {wire.MAX_CONTROL_BYTES} bytes")
            self._outbox.add(wire.Reply(call, error=wire.error_to_dict(fault)))

    # What is to be sent.

    def next_frame(self) -> str | bytes | None:
        """Return the next frame to send, or None until there are news, credit or answers."""
        if self._outbox:
            return self._outbox.next_frame()
        taken: list[bytes] = []
        room = wire.MAX_DATA_BYTES
        for _ in range(len(self._turns)):
            if room <= 2 * wire.PIECE.size + _LEAST_TURN:
                break
            asked = self._turns.popleft()
            asked.queued = False
            if self._askings.get(asked.ask) is not asked:
                continue  # left while it waited for its turn
            share = max(_LEAST_TURN, wire.MAX_DATA_BYTES // (len(self._turns) + 1))
            try:
                piece = self._piece(asked, min(share, room - 2 * wire.PIECE.size))
            except HopxError as error:
                self._forget(asked.ask)
                self._refuse(asked.ask, error)
                continue
            if piece is None:
                self._defer(asked)
                continue
            offset, data = piece
            taken += (wire.PIECE.pack(asked.ask, offset, len(data)), data)
            room -= wire.PIECE.size + len(data)
            if self._settle(asked, offset + len(data), len(data)) and asked.output:
                # Whoever finds no end in what came knows by this that it is damaged.
                taken.append(wire.PIECE.pack(asked.ask, asked.offset, 0))
                room -= wire.PIECE.size
        return b"".join(taken) if taken else self._outbox.next_frame()

    def _piece(self, asked: _Asked, limit: int) -> tuple[int, bytes] | None:
        if asked.output:
            limit = _up_to_block(asked.offset, min(limit, asked.total - asked.sent))
            piece = self._logs.read(asked.process_id, asked.offset, limit)
        else:
            # A terminal record is smaller than `_LEAST_TURN` (its tail is bounded).
            piece = self._logs.last(asked.process_id)
        return piece if piece is not None and piece[1] else None

    def _settle(self, asked: _Asked, offset: int, size: int) -> bool:
        """Note what was sent; return whether that was the last."""
        asked.offset = offset
        asked.sent += size
        if asked.watched and self._readers is not None:
            self._readers.moved((id(self), asked.ask), asked.process_id, offset)
        if offset == self._logs.end(asked.process_id) and self._logs.over(asked.process_id):
            self._forget(asked.ask)
            return True
        self._queue(asked)
        return False

    def _queue(self, asked: _Asked) -> None:
        """Give *asked* a turn if there is something for it, else let it wait."""
        end = self._logs.end(asked.process_id)
        if end is None:
            self._defer(asked)
        elif asked.queued or (asked.output and asked.sent >= asked.total):
            return  # it has its turn, or credit will bring it back
        elif end > asked.offset if asked.output else self._logs.over(asked.process_id):
            asked.queued = True
            self._turns.append(asked)
            self._tidy()
        else:
            self._defer(asked)

    def _defer(self, asked: _Asked) -> None:
        """Let *asked* wait for news, unless its command is not known any more."""
        if self._logs.end(asked.process_id) is None:
            self._forget(asked.ask)
            self._refuse(asked.ask, CommandNotFound(asked.process_id))
        else:
            self._waiting.setdefault((asked.process_id, asked.output), {})[asked.ask] = asked

    # Bookkeeping.

    def _let_go(self, asked: _Asked) -> None:
        if asked.watched and self._readers is not None:
            self._readers.left((id(self), asked.ask), asked.process_id)

    def _tidy(self) -> None:
        """Keep those that left while they had a turn from piling up while nothing can be sent."""
        if len(self._turns) > 2 * len(self._askings) + _STALE_TURNS:
            live = self._askings
            self._turns = deque(one for one in self._turns if live.get(one.ask) is one)

    def _refuse(self, ask: int, error: HopxError) -> None:
        self._outbox.add(wire.Refused(ask, wire.error_to_dict(error)))

    def _forget(self, ask: int) -> None:
        asked = self._askings.pop(ask, None)
        if asked is not None:
            self._let_go(asked)
            key = (asked.process_id, asked.output)
            waiting = self._waiting.get(key, {})
            if ask in waiting and len(waiting) == 1:
                del self._waiting[key]
            else:
                waiting.pop(ask, None)


def _up_to_block(offset: int, limit: int) -> int:
    """Return *limit*, or less so that no record is cut: halves would have to be joined again."""
    beyond = (offset + limit) % records.BLOCK
    return limit - beyond if beyond <= limit // 2 else limit
