"""What can be read of one command, any number of times, during its life and after it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from hopx_async.arguments import check_last, check_stream, new_collector
from hopx_async.client import Way
from hopx_async.errors import CommandFailed, CommandLost, CommandTimedOut, OutputTooLarge
from hopx_async.model import CommandInfo, CommandResult, Exit, Output, Stream
from hopx_async.protocol.collect import Collector, TooMuch
from hopx_async.protocol.cursor import print_cursor
from hopx_async.protocol.events import Event, Exited, Lost
from hopx_async.stream import EventStream, LineStream, TextStream

__all__ = ["MAX_BYTES", "CommandReader", "Keep"]

Keep: TypeAlias = Literal["head+tail"]

_FAILURES: dict[str, type[CommandFailed]] = {
    "timed_out": CommandTimedOut,
    "idle_timed_out": CommandTimedOut,
    "lost": CommandLost,
}
#: Bytes of each stream that `CommandReader.result` holds unless told otherwise.
MAX_BYTES = 16 * 1024 * 1024


class CommandReader:
    """A command as it is read: events, text, lines, its end, its output.

    Attributes:
        process_id: The command's id.
        command: As it was started.
        name: Its label, None for none.
        pid: The leader's pid on the far side.
    """

    __slots__ = ("_client", "_exit", "command", "name", "pid", "process_id")

    def __init__(self, client: Way, info: CommandInfo) -> None:
        self._client = client
        self._exit: Exit | None = None
        self.process_id = info.process_id
        self.command = info.command
        self.name = info.name
        self.pid = info.pid

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
            await self._client.until_ready()
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
                event = await self._client.next_event(subscription, end)
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

    # Inside.

    def _add(self, collector: Collector, event: Event, max_bytes: int) -> None:
        try:
            collector.add(event)
        except TooMuch as error:
            raise OutputTooLarge(error.args[0], max_bytes, self) from None

    def _note(self, event: Event | None) -> None:
        """Keep the end that an event tells, so that nobody has to ask for it again."""
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
