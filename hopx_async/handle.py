"""One background command, as its user holds it."""

from __future__ import annotations

import signal as signals
from types import TracebackType
from typing import Literal, Self, TypeAlias
from uuid import uuid4

import anyio

from hopx_async.arguments import check_last, check_stream, new_collector, signal_name
from hopx_async.client import AgentClient
from hopx_async.errors import (
    AgentUnreachable,
    CommandFailed,
    CommandLost,
    CommandTimedOut,
    OutputTooLarge,
)
from hopx_async.model import CommandInfo, CommandRef, CommandResult, Exit, Output, Stream, refuse
from hopx_async.protocol import lifecycle
from hopx_async.protocol.collect import Collector, TooMuch
from hopx_async.protocol.cursor import print_cursor
from hopx_async.protocol.events import Event, Exited, Lost
from hopx_async.stream import EventStream, LineStream, TextStream

__all__ = ["MAX_BYTES", "CommandHandle", "Keep"]

Keep: TypeAlias = Literal["head+tail"]

_FAILURES: dict[str, type[CommandFailed]] = {
    "timed_out": CommandTimedOut,
    "idle_timed_out": CommandTimedOut,
    "lost": CommandLost,
}
_CLOSE_SECONDS = 30.0  # grace, KILL, proof, and as much again for a connection to come back
#: Bytes of each stream that `CommandHandle.result` holds unless told otherwise.
MAX_BYTES = 16 * 1024 * 1024


class CommandHandle:
    """A command that runs, or ran. Holds no connection, no task and no output.

    Attributes:
        process_id: The command's id.
        command: As it was started.
        name: Its label, None for none.
        pid: The leader's pid on the far side.
    """

    __slots__ = ("_client", "_exit", "command", "name", "pid", "process_id")

    def __init__(self, client: AgentClient, info: CommandInfo) -> None:
        self._client = client
        self._exit: Exit | None = None
        self.process_id = info.process_id
        self.command = info.command
        self.name = info.name
        self.pid = info.pid

    @property
    def ref(self) -> CommandRef:
        """Where the command is found again, from any process: ``commands.get(ref)``."""
        return CommandRef(self._client.sandbox_id, self.process_id)

    def __repr__(self) -> str:
        fate = f" {self._exit.status}" if self._exit is not None else ""
        label = f" {self.name!r}" if self.name else ""
        return f"<CommandHandle {self.process_id}{label} pid {self.pid}{fate}>"

    # Reading.

    def events(self, *, after: str | None = None) -> EventStream:
        """Return the command's events, from its start or from behind *after*.

        Any number of times, before or after the end. Output comes in the order it
        was observed; the last event is `Exited` or `Lost`.

        Args:
            after: The cursor of an event, line or text of this command, `END` for only what comes
                from now on, None for everything.

        Raises:
            BadCursor: If *after* is no cursor of this command.
            ClosedError: If the sandbox has been closed.
        """
        return EventStream(self._client, self.process_id, after)

    def text(
        self,
        *,
        after: str | None = None,
        stream: Stream | None = None,
        strip_ansi: bool = False,
    ) -> TextStream:
        """Return the output decoded as UTF-8, piece by piece as it comes.

        A character that was cut between two writes comes as one.

        Args:
            after: As for `events`; the cursor of a text or a line is as good.
            stream: Only ``"stdout"`` or ``"stderr"``, None for both.
            strip_ansi: Take terminal escape sequences out.

        Raises:
            BadCursor: If *after* is no cursor of this command.
            InvalidArgument: If *stream* is no stream.
            ClosedError: If the sandbox has been closed.
        """
        check_stream(stream)
        return TextStream(self._client, self.process_id, after, stream=stream, strip=strip_ansi)

    def lines(
        self,
        *,
        after: str | None = None,
        last: int | None = None,
        stream: Stream | None = None,
        strip_ansi: bool = False,
    ) -> LineStream:
        """Return the output line by line, as lines are completed, and the rest at the end.

        A line's cursor covers the unfinished line of the other stream too, so that
        going on behind it, from whichever process, loses and repeats nothing.

        Args:
            after: As for `events`; the cursor of a line or a text is as good.
            last: Begin with the last so many lines, and go on with what comes; None for all.
            stream: Only ``"stdout"`` or ``"stderr"``, None for both.
            strip_ansi: Take terminal escape sequences out.

        Raises:
            BadCursor: If *after* is no cursor of this command.
            InvalidArgument: If *stream* is no stream, *last* is no number above 0, or both *after*
                and *last* are given.
            ClosedError: If the sandbox has been closed.
        """
        check_stream(stream)
        check_last(last, after)
        return LineStream(
            self._client, self.process_id, after, last=last, stream=stream, strip=strip_ansi
        )

    async def wait(self, *, check: bool = False) -> Exit:
        """Wait until the command has ended and return how.

        Output is not transferred. May be called any number of times, before or
        after the end, and alongside `events`.

        Cancelling ``wait`` is safe: the command goes on and can be waited for again.

        Args:
            check: Raise `CommandFailed` unless the command exited with code 0.

        Raises:
            CommandFailed: If *check* is true and the command failed.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        if self._exit is None:
            subscription = self._client.subscribe(self.process_id, output=False)
            try:
                event = await self._client.next_event(subscription)
            finally:
                self._client.unsubscribe(subscription)
            self._note(event)
        fate = self._known_exit()
        if check:
            self._check(fate)
        return fate

    async def result(
        self, *, check: bool = False, max_bytes: int = MAX_BYTES, keep: Keep | None = None
    ) -> CommandResult:
        """Wait until the command has ended and return its end and its output.

        Cancelling ``result`` is safe: the command goes on, its log keeps the output.

        Args:
            check: Raise `CommandFailed` unless the command exited with code 0.
            max_bytes: The most bytes of each stream to hold in memory.
            keep: ``"head+tail"`` cuts the middle out of a longer stream, with a marker that says
                how much; None raises.

        Raises:
            InvalidArgument: If *max_bytes* or *keep* is nothing of the kind.
            OutputTooLarge: If a stream is longer and is not to be cut; the command goes on.
            CommandFailed: If *check* is true and the command failed.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        collector = new_collector(max_bytes, keep)
        async with self.events() as events:
            async for event in events:
                self._add(collector, event, max_bytes)
                self._note(event)
        fate = self._known_exit()
        if check:
            self._check(fate)
        return CommandResult(
            exit=fate,
            stdout_bytes=collector.stdout,
            stderr_bytes=collector.stderr,
            lost_bytes=collector.lost_bytes,
        )

    async def output(self, *, max_bytes: int = MAX_BYTES) -> Output:
        """Return what the command has printed up to now; never waits. Cancelling it is safe.

        Args:
            max_bytes: The most bytes of each stream to hold in memory.

        Raises:
            OutputTooLarge: If a stream is longer.
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        end = (await self.info()).log_end
        collector = new_collector(max_bytes, None)
        subscription = self._client.subscribe(self.process_id)
        try:
            while subscription.position.offset < end:
                event = await self._client.next_event(subscription)
                if event is None:
                    break
                self._add(collector, event, max_bytes)
        finally:
            self._client.unsubscribe(subscription)
        return Output(
            stdout_bytes=collector.stdout,
            stderr_bytes=collector.stderr,
            lost_bytes=collector.lost_bytes,
            cursor=print_cursor(self.process_id, subscription.position),
        )

    async def info(self) -> CommandInfo:
        """Ask the far side what it knows of the command now. Cancelling it is safe.

        Raises:
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        answer = await self._client.call("info", process_id=self.process_id)
        return CommandInfo.from_dict(answer["info"])

    # Ending.

    async def send_signal(self, signal: str | int | signals.Signals) -> bool:
        """Send a signal to the command's process group; its *name* travels.

        If cancelled, it may or may not be delivered.

        Args:
            signal: ``"SIGINT"``, ``"INT"`` or ``signal.SIGINT``.

        Returns:
            Whether it was delivered; False if the command had ended.

        Raises:
            InvalidArgument: If it is no signal that can be sent.
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        return await self._signal(signal_name(signal), cause=None)

    async def terminate(self) -> bool:
        """Send SIGTERM to the command's process group; it then ends as killed.

        Returns:
            Whether it was delivered; False if the command had ended.

        Raises:
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        return await self._signal("SIGTERM", cause="killed")

    async def kill(self, grace: float = lifecycle.GRACE) -> Exit:
        """End the command with everything it started, and return how it ended.

        TERM to all of it, KILL after *grace* seconds to what is left, and proof:
        it returns when nothing is left. A command that has ended is no error; its
        survivors are reached. Cancelling it is safe: the far side goes on with it.

        Args:
            grace: Seconds between TERM and KILL; 0 for KILL at once.

        Raises:
            InvalidArgument: If *grace* is negative or not finite.
            SurvivorsLeft: If processes outlived SIGKILL.
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        refuse(lifecycle.problem_with_grace(grace))
        await self._client.call("kill", process_id=self.process_id, grace=grace)
        return await self.wait()

    async def aclose(self) -> None:
        """Kill the command, shielded from cancellation and bounded.

        Raises:
            AgentUnreachable: If nobody answers for so long; the command may still run.
            HopxError: As for `kill`.
        """
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True) as scope:
            await self.kill()
        if scope.cancelled_caught:
            problem = f"nobody answered for {_CLOSE_SECONDS:g} s: {self.process_id} may still run"
            raise AgentUnreachable(problem, seconds=_CLOSE_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _signal(self, name: str, *, cause: str | None) -> bool:
        answer = await self._client.call(
            "signal", process_id=self.process_id, signal_id=uuid4().hex, name=name, cause=cause
        )
        return bool(answer["delivered"])

    def _add(self, collector: Collector, event: Event, max_bytes: int) -> None:
        try:
            collector.add(event)
        except TooMuch as error:
            raise OutputTooLarge(error.args[0], max_bytes, self) from None

    def _note(self, event: Event | None) -> None:
        if isinstance(event, (Exited, Lost)):
            self._exit = event.exit

    def _known_exit(self) -> Exit:
        if self._exit is None:
            raise AssertionError("a stream without an error ends with a terminal event")
        return self._exit

    def _check(self, fate: Exit) -> None:
        if not fate.ok:
            kind = _FAILURES.get(fate.reason, CommandFailed)
            command, name = self.command, self.name
            raise kind(fate, command=command, name=name, process_id=self.process_id, tail=fate.tail)
