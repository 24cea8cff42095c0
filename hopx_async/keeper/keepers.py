"""The root's keepers: started, shown to agents, pinged, swept up after, replaced, stopped."""

from __future__ import annotations

import contextlib
import functools
import os
import time

from hopx_async.keeper import proc
from hopx_async.keeper.channel import Channel
from hopx_async.keeper.kill import GIVE_UP_AFTER
from hopx_async.keeper.options import RootError
from hopx_async.keeper.scan import Scanner
from hopx_async.keeper.shares import Shares
from hopx_async.keeper.store import complain
from hopx_async.keeper.supervise import Child, Place, describe_status, python_module, socket_pair
from hopx_async.keeper.sweep import Sweeper
from hopx_async.protocol import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from hopx_async.keeper.loop import Loop, Timer

    Message = dict[str, Any]

    class _Host(Protocol):
        """What the keepers' keeper asks of the root."""

        def keepers_changed(self) -> None: ...
        def keepers_failed(self, error: RootError) -> None: ...
        def keepers_gone(self) -> None: ...


__all__ = ["LONG_PAUSE", "Keepers"]

#: Seconds before a keeper that died again and again is started once more.
LONG_PAUSE = 30.0

# Whoever asks for more has lost count.
_MOST_KEEPERS = 64
# Commands kept for each keeper, at least, where there are more than one only to be faster:
# a bound that is shared is not kept to the last command.
_LEAST_KEPT = 1000
# Seconds beyond grace, KILL and proof that a stopping keeper has for the rest.
_SLACK = 5.0


class Keepers:
    """All keepers of a sandbox.

    A keeper's death ends its commands: what it leaves behind becomes the root's, which
    kills it with proof and then starts another in its place, to write their last words.
    One that dies again and again is started ever more rarely, and takes nobody along;
    only where the first has never come up, the root gives up.

    Args:
        loop: Where it waits.
        host: The root.
        config: What every keeper is told first.
        env: Their environment.
        fds: Descriptors that they inherit, by name: the state directory's lock, for one.
        own: Processes that are never part of a command; keepers are added.
        stalled_after: Seconds without a heartbeat after which a keeper counts as stalled.
        most_restarts: Deaths of one keeper in a minute that are made good.
    """

    def __init__(
        self,
        loop: Loop,
        host: _Host,
        config: Message,
        *,
        env: Mapping[str, str],
        fds: Mapping[str, int],
        own: set[int],
        stalled_after: float,
        most_restarts: int,
    ) -> None:
        self._loop = loop
        self._config = config
        self._env = env
        self._fds = fds
        self._own = own
        self._host = host
        self._stalled_after = stalled_after
        self._most_restarts = most_restarts
        self._places: dict[int, Place] = {}
        self._shares = Shares(config["keep_commands"], config["keep_bytes"])
        self._sweeper = Sweeper(loop, own, config["sandbox_id"])
        self._agent: Channel | None = None
        self._recovered = False
        self._stopping = False
        self._told_gone = False
        self._deadline: Timer | None = None
        loop.call_later(stalled_after / 2, self._ping)

    # What the root asks.

    @property
    def numbers(self) -> list[int]:
        """The numbers of all keepers, those included that are about to be replaced."""
        return list(self._places)

    @property
    def table(self) -> list[Message]:
        """What an agent is told of them."""
        return [
            {
                "number": place.number,
                "pid": None if place.child is None else place.child.pid,
                "stalled": place.stalled,
            }
            for place in self._places.values()
        ]

    def more(self, *, busy: bool = False) -> None:
        """Start one more, unless one is on its way.

        Args:
            busy: Whether the others have room and are only busy. Then none is started where
                little is kept.
        """
        if busy and self._config["keep_commands"] // (len(self._places) + 1) < _LEAST_KEPT:
            return
        waiting = any(not one.ready and not one.stalled for one in self._places.values())
        if not self._stopping and not waiting and len(self._places) < _MOST_KEEPERS:
            number = len(self._places) + 1
            self._places[number] = Place(number, self._most_restarts)
            self._start(self._places[number])

    def sweep_strangers(self) -> None:
        """End what commands of an earlier root on this state directory have left behind."""
        nonce, outer = self._config["sandbox_id"], self._config["outer_scope"]
        names = os.listdir(f"{self._config['state_dir']}/logs")
        ids = {parsed[0] for parsed in map(records.parse_segment_name, names) if parsed}
        if ids:
            scopes = [proc.scope_value(outer, nonce, process_id) for process_id in ids]
            self._sweeper.sweep_strangers(set(map(proc.mark_of, scopes)), _complain_of)

    def connect(self, agent: Channel | None) -> None:
        """Give a new agent a socket to each; None when there is no agent any more."""
        self._agent = agent
        for place in self._places.values():
            self._introduce(place)

    def reconnect(self, number: object) -> None:
        """Give the agent another socket to a keeper that it has lost, if that one lives."""
        place = self._places.get(number) if isinstance(number, int) else None
        if place is not None:
            self._introduce(place)

    def stop(self, grace: float) -> None:
        """Let all end their commands and go; ``keepers_gone`` is called when they have.

        Those that are stopped go on for it. One that gives no sign of life is killed when the
        grace is over, but not before it would be called stalled; its commands are then ended
        without any.
        """
        self._stopping = True
        for place in self._places.values():
            if place.child is not None and place.channel is not None:
                place.channel.send_json({"op": "stop", "grace": grace})
                place.child.go_on()
        silent = functools.partial(self._kill_silent, time.monotonic())
        self._loop.call_later(max(grace, self._stalled_after), silent)
        if self._deadline is not None:
            self._deadline.cancel()
        patience = grace + GIVE_UP_AFTER + _SLACK
        self._deadline = self._loop.call_later(patience, self._kill_all)
        self._tell_if_gone()

    def reaped(self, pid: int, status: int) -> bool:
        """Take note of the end of a child; false if it was no keeper."""
        for place in self._places.values():
            if place.child is not None and place.child.pid == pid:
                self._ended(place, status)
                return True
        return False

    # Starting.

    def _start(self, place: Place) -> None:
        if self._stopping:
            return
        ours, its = socket_pair()
        with its:
            fds = {"root": its.fileno(), **self._fds}
            try:
                place.child = Child(python_module("hopx_async.keeper.keeper"), fds, self._env)
            except OSError as error:
                ours.close()
                self._again(place, f"could not be started: {error}")
                return
        self._own.add(place.child.pid)
        place.heard = time.monotonic()
        place.pinged = False
        said = functools.partial(self._said, place)
        place.channel = Channel(ours, self._loop, said, _nobody_told)
        # While there is no other keeper, whatever has no end is nobody's.
        recover = "own" if self._recovered else "all"
        self._shares.add(place.number)
        self._share_out()
        place.share = self._shares.of_all(())[place.number]
        facts = {"number": place.number, "recover": recover, **place.share}
        place.channel.send_json({**self._config, **facts})
        self._introduce(place)
        self._host.keepers_changed()

    def _share_out(self) -> None:
        """Tell each keeper what it may keep, if that has changed and it takes what it is told."""
        up = {one.number for one in self._places.values() if one.ready and not one.stalled}
        for number, share in self._shares.of_all(up).items():
            place = self._places[number]
            # Who reads nothing is told at its next sign of life.
            channel = place.channel if number in up and share != place.share else None
            if channel is not None and not channel.backlog:
                channel.send_json({"op": "share", **share})
                place.share = share

    def _introduce(self, place: Place) -> None:
        if self._agent is None or place.channel is None or place.child is None:
            return
        keepers, agents = socket_pair()
        # If either has gone meanwhile, its end is seen to elsewhere.
        with keepers, agents, contextlib.suppress(OSError):
            place.channel.send_with_fd({"op": "agent"}, keepers.fileno())
            facts: Message = {"op": "keeper", "number": place.number, "pid": place.child.pid}
            self._agent.send_with_fd(facts, agents.fileno())

    # What they say.

    def _said(self, place: Place, message: Message) -> None:
        op = message.get("op")
        place.heard = time.monotonic()
        if op == "scan":
            self._scan(place, message)
        elif op == "pong":
            place.pinged = False
            self._call_stalled(place, stalled=False)
            self._share_out()
        elif op == "ready":
            place.ready = self._recovered = True
            self._share_out()
        elif op == "kept":
            self._shares.told(place.number, message)
            self._share_out()

    def _scan(self, place: Place, message: Message) -> None:
        if place.channel is not None and place.child is not None:
            nonce, outer = self._config["sandbox_id"], self._config["outer_scope"]
            scanner = Scanner(nonce, outer, place.child.pid, self._own)
            found = scanner.scan(message["wanted"])
            place.channel.send_json({"op": "scanned", "seq": message["seq"], "found": found})

    def _ping(self) -> None:
        now = time.monotonic()
        for place in self._places.values():
            if place.channel is not None:
                if now - place.heard > self._stalled_after:
                    self._call_stalled(place, stalled=True)
                if not place.pinged:
                    place.pinged = True
                    place.channel.send_json({"op": "ping"})
        self._loop.call_later(self._stalled_after / 2, self._ping)

    def _call_stalled(self, place: Place, *, stalled: bool) -> None:
        if place.stalled != stalled:
            place.stalled = stalled
            complain(f"keeper {place.number} {'is stalled' if stalled else 'goes on'}")
            self._host.keepers_changed()

    # Their ends.

    def _ended(self, place: Place, status: int) -> None:
        if place.child is not None:
            place.child.alive = False
            self._own.discard(place.child.pid)
        if place.channel is not None:
            place.channel.close()
        place.child = place.channel = None
        place.ready = place.stalled = False
        self._host.keepers_changed()
        if self._stopping and status == 0:
            self._tell_if_gone()
            return
        how = describe_status(status)
        complain(f"the keeper {place.number} {how}; its commands are being ended")
        place.sweeping = True
        swept = functools.partial(self._swept, place, how)
        self._sweeper.sweep(place.number, swept)

    def _swept(self, place: Place, how: str, left: list[tuple[int, str]]) -> None:
        place.sweeping = False
        _complain_of(left)
        self._again(place, how)

    def _again(self, place: Place, how: str) -> None:
        if self._stopping:
            self._tell_if_gone()
            return
        delay = place.backoff.delay(time.monotonic())
        if delay is None:
            error = RootError("keeper_failed", f"the keeper {place.number} {how}, again and again")
            if not self._recovered:
                complain(str(error))
                self._host.keepers_failed(error)
                return
            # What the others hold goes on, and so does what the logs tell.
            delay = LONG_PAUSE
            complain(f"{error}; it is started again in {delay:g} s")
        self._loop.call_later(delay, lambda: self._start(place))

    def _kill_silent(self, since: float) -> None:
        for place in self._places.values():
            if place.child is not None and place.heard < since:
                complain(f"keeper {place.number} does not answer and is killed")
                place.child.kill()
        # Again: a sign of life may have been under way when it fell silent.
        again = functools.partial(self._kill_silent, time.monotonic())
        self._loop.call_later(self._stalled_after, again)

    def _kill_all(self) -> None:
        for place in self._places.values():
            if place.child is not None:
                place.child.kill()

    def _tell_if_gone(self) -> None:
        if not self._told_gone and all(place.empty for place in self._places.values()):
            self._told_gone = True
            if self._deadline is not None:
                self._deadline.cancel()
            self._host.keepers_gone()


def _complain_of(left: list[tuple[int, str]]) -> None:
    for pid, name in left:
        complain(f"process {pid} ({name}) would not end")


def _nobody_told() -> None:
    # A keeper's end is told by SIGCHLD.
    return None
