"""Commands of the dialect: started, followed to their end, found by any of their names."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from hopx_async.agent.board import Board, Command
from hopx_async.agent.calls import Calls
from hopx_async.agent.dialect.asks import PREFIXES, bare_id
from hopx_async.agent.follow import Followers
from hopx_async.agent.starts import Starts
from hopx_async.errors import CommandNotFound, HopxError, SpawnError
from hopx_async.model import Exit, new_process_id
from hopx_async.protocol.collect import HeadTail
from hopx_async.protocol.events import Exited, Lost, Stderr, Stdout

__all__ = ["MAX_OUTPUT_BYTES", "Ended", "Running", "code_of", "failed"]

#: Bytes of each stream in one answer; of more, head and tail are told.
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
_NOT_FOUND, _NOT_EXECUTABLE, _TIMED_OUT, _UNKNOWN = 127, 126, 124, 255
_ENOENT = 2
_Spec = dict[str, Any]


class Ended(msgspec.Struct, frozen=True):
    """A command that has ended, with its output.

    Attributes:
        exit: How it ended.
        pid: Its leader, None if it could not be started.
        stdout: What it wrote there, cut in the middle if it was much.
        stderr: What it wrote there, cut in the middle if it was much.
        cut: Whether something was cut from stdout, and from stderr.
    """

    exit: Exit
    pid: int | None
    stdout: str
    stderr: str
    cut: tuple[bool, bool] = (False, False)


class Running:
    """What the dialect does with commands.

    Args:
        board: The commands that are known.
        starts: Starts them.
        calls: Kills them.
        followers: Reads their output.
    """

    def __init__(self, board: Board, starts: Starts, calls: Calls, followers: Followers) -> None:
        self.board = board
        self.followers = followers
        self._starts = starts
        self._calls = calls
        self._ending: set[asyncio.Task[Any]] = set()

    async def start(self, spec: _Spec) -> Command:
        """Start a command. Cancelling it is safe: one that was begun is ended.

        Raises:
            SpawnError: If it could not be started.
            HopxError: As for every start.
        """
        try:
            return (await self._starts.start(spec))[0]
        except asyncio.CancelledError:
            self.end(spec)
            raise

    async def finish(self, spec: _Spec) -> Ended:
        """Run a command to its end; cancelled, it ends it.

        A program that cannot be started ends with 127 or 126, as in a shell.

        Raises:
            HopxError: As for every start.
        """
        try:
            command = await self.start(spec)
        except SpawnError as error:
            return failed(error)
        try:
            return await self._collect(command)
        except asyncio.CancelledError:
            self.end(spec)
            raise

    async def kill(self, command: Command) -> None:
        """End a command and everything that it started; on one that has ended, its survivors.

        Raises:
            SurvivorsLeft: If something would not end.
        """
        await self._calls.call("kill", {"process_id": command.process_id})

    def end(self, spec: _Spec) -> None:
        """End a command that nobody waits for any more, without waiting for it here."""

        async def kill() -> None:
            # Its start may be under way: this one waits for the same.
            with suppress(HopxError):
                await self.kill((await self._starts.start(spec))[0])

        self._own(kill())

    def hang_up(self, command: Command) -> None:
        """End a shell whose terminal is gone, without waiting for it here.

        It is told by SIGHUP first: a shell in a terminal does not heed SIGTERM.
        """

        async def kill() -> None:
            ids = {"process_id": command.process_id, "signal_id": new_process_id()}
            with suppress(HopxError):
                await self._calls.call("signal", {**ids, "name": "SIGHUP"})
                await self.kill(command)

        self._own(kill())

    def sweep(self, command: Command) -> None:
        """End what is left of a command that has ended, without waiting for it here."""

        async def kill() -> None:
            with suppress(HopxError):
                await self.kill(command)

        self._own(kill())

    async def aclose(self) -> None:
        """Wait for no kill any more; what was sent to the keeper is carried out."""
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def find(self, name: object) -> Command:
        """Return the command of this id; with another prefix or none, and by its leader's pid.

        Raises:
            CommandNotFound: If there is none.
        """
        text = name if isinstance(name, str) else ""
        known = self.board.get(text)
        bare = bare_id(text)
        for prefix in (*PREFIXES, ""):
            known = known or self.board.get(prefix + bare)
        if known is None and text.isascii() and text.isdigit():
            live = self.board.running()
            known = next((one for one in live if str(one.pid) == text), None)
        if known is None:
            raise CommandNotFound(text[:200], message=f"no such process: {text[:200]!r}")
        return known

    async def _collect(self, command: Command) -> Ended:
        streams = HeadTail(MAX_OUTPUT_BYTES), HeadTail(MAX_OUTPUT_BYTES)
        sizes = [0, 0]
        exit_ = Exit(reason="lost")
        with self.followers.follow(command.process_id) as follower:
            while (event := await follower.next()) is not None:
                if isinstance(event, (Stdout, Stderr)):
                    index = 0 if isinstance(event, Stdout) else 1
                    streams[index].add(event.data)
                    sizes[index] += len(event.data)
                elif isinstance(event, (Exited, Lost)):
                    exit_ = event.exit
        stdout, stderr = (stream.bytes().decode(errors="replace") for stream in streams)
        cut = (sizes[0] > MAX_OUTPUT_BYTES, sizes[1] > MAX_OUTPUT_BYTES)
        return Ended(exit_, command.pid, stdout, stderr, cut)


def failed(error: SpawnError) -> Ended:
    """Return what became of a command that could not be started."""
    code = _NOT_FOUND if error.errno in (None, _ENOENT) else _NOT_EXECUTABLE
    exit_ = Exit(reason="spawn_failed", exit_code=code, duration=0.0)
    return Ended(exit_, None, "", f"{error.message}\n")


def code_of(exit_: Exit) -> int:
    """Return an exit as the one number that HopX has for it, as a shell tells it."""
    if exit_.reason in {"timed_out", "idle_timed_out"}:
        return _TIMED_OUT
    if exit_.exit_code is not None:
        return exit_.exit_code
    if exit_.signal is not None:
        return 128 + _number(exit_.signal)
    return _NOT_FOUND if exit_.reason == "spawn_failed" else _UNKNOWN


def _number(name: str) -> int:
    first, _, more = name.partition("+")
    # Real-time signals are counted from the first: the others have no names.
    return signal.Signals[first].value + int(more or 0)
