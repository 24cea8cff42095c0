"""One background command, as its user holds it."""

from __future__ import annotations

import signal as signals
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import anyio

from hopx_async.client import AgentClient
from hopx_async.errors import (
    CommandFailed,
    CommandLost,
    CommandTimedOut,
    InvalidArgument,
    OutputTooLarge,
)
from hopx_async.model import (
    CommandInfo,
    CommandRef,
    CommandResult,
    Exit,
    Output,
    Stream,
    refuse,
)
from hopx_async.protocol import lifecycle
from hopx_async.protocol.cursor import print_cursor
from hopx_async.protocol.events import Event, Exited, Lost, Stderr, Stdout, Truncated
from hopx_async.stream import EventStream, LineStream, TextStream

__all__ = ["MAX_BYTES", "CommandHandle"]

#: Bytes of each stream that `CommandHandle.result` holds unless told otherwise.
MAX_BYTES = 16 * 1024 * 1024


class CommandHandle:
    """A command that runs, or ran, on a far side.

    A handle is cheap: it holds no connection, no task and no output. It may be
    dropped and made again by ``commands.get``.

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

        May be called any number of times, before or after the end. Output comes
        in the order it was observed; the last event is `Exited` or `Lost`.

        Args:
            after: The cursor of an event of this command, `END` for only what comes from now on,
                None for everything.

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
        _check_stream(stream)
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
        _check_stream(stream)
        if last is not None:
            if not isinstance(last, int) or isinstance(last, bool) or last <= 0:
                raise InvalidArgument("last", repr(last), "a number of lines above 0")
            if after is not None:
                raise InvalidArgument("last", repr(last), "either last or after, not both")
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

    async def result(self, *, check: bool = False, max_bytes: int = MAX_BYTES) -> CommandResult:
        """Wait until the command has ended and return its end and its output.

        Cancelling ``result`` is safe: the command goes on, its log keeps the output.

        Args:
            check: Raise `CommandFailed` unless the command exited with code 0.
            max_bytes: The most bytes of each stream to hold in memory.

        Raises:
            OutputTooLarge: If a stream is longer; the command goes on.
            CommandFailed: If *check* is true and the command failed.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        collected = _Collected(self, max_bytes)
        async with self.events() as events:
            async for event in events:
                collected.add(event)
                self._note(event)
        fate = self._known_exit()
        if check:
            self._check(fate)
        return CommandResult(
            exit=fate,
            stdout_bytes=bytes(collected.stdout),
            stderr_bytes=bytes(collected.stderr),
            lost_bytes=collected.lost_bytes,
        )

    async def output(self, *, max_bytes: int = MAX_BYTES) -> Output:
        """Return what the command has printed up to now, without waiting for more.

        Cancelling ``output`` is safe.

        Args:
            max_bytes: The most bytes of each stream to hold in memory.

        Raises:
            OutputTooLarge: If a stream is longer.
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        end = (await self.info()).log_end
        collected = _Collected(self, max_bytes)
        subscription = self._client.subscribe(self.process_id)
        try:
            while subscription.position.offset < end:
                event = await self._client.next_event(subscription)
                if event is None:
                    break
                collected.add(event)
        finally:
            self._client.unsubscribe(subscription)
        return Output(
            stdout_bytes=bytes(collected.stdout),
            stderr_bytes=bytes(collected.stderr),
            lost_bytes=collected.lost_bytes,
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

        Safe to repeat: a repeated request delivers once. If cancelled, the
        signal may or may not be delivered.

        Args:
            signal: ``"SIGINT"``, ``"INT"`` or ``signal.SIGINT``.

        Returns:
            Whether it was delivered; False if the command had ended.

        Raises:
            InvalidArgument: If it is no signal that can be sent.
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        return await self._signal(_signal_name(signal), cause=None)

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
        it returns when nothing is left. On a command that has ended it reaches
        survivors, and is no error.

        Cancelling ``kill`` is safe: the far side goes on with it.

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
        """Kill the command, shielded from cancellation and bounded."""
        with anyio.move_on_after(2 * lifecycle.GRACE + 20, shield=True):
            await self.kill()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # Inside.

    async def _signal(self, name: str, *, cause: str | None) -> bool:
        answer = await self._client.call(
            "signal", process_id=self.process_id, signal_id=uuid4().hex, name=name, cause=cause
        )
        return bool(answer["delivered"])

    def _note(self, event: Event | None) -> None:
        if isinstance(event, (Exited, Lost)):
            self._exit = event.exit

    def _known_exit(self) -> Exit:
        if self._exit is None:
            raise AssertionError("a stream without an error ends with a terminal event")
        return self._exit

    def _check(self, fate: Exit) -> None:
        if fate.ok:
            return
        kinds = {"timed_out": CommandTimedOut, "idle_timed_out": CommandTimedOut}
        kind: type[CommandFailed] = kinds.get(fate.reason, CommandFailed)
        raise (CommandLost if fate.reason == "lost" else kind)(
            fate,
            command=self.command,
            name=self.name,
            process_id=self.process_id,
            tail=fate.tail,
        )


class _Collected:
    """Output held in memory, up to a bound."""

    def __init__(self, handle: CommandHandle, max_bytes: int) -> None:
        if not isinstance(max_bytes, int) or max_bytes <= 0:
            raise InvalidArgument("max_bytes", repr(max_bytes), "a number of bytes above 0")
        self._handle = handle
        self._max_bytes = max_bytes
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.lost_bytes = 0

    def add(self, event: Event) -> None:
        if isinstance(event, Stdout):
            self._append(self.stdout, event)
        elif isinstance(event, Stderr):
            self._append(self.stderr, event)
        elif isinstance(event, Truncated):
            self.lost_bytes += event.stdout_bytes + event.stderr_bytes

    def _append(self, buffer: bytearray, event: Stdout | Stderr) -> None:
        if len(buffer) + len(event.data) > self._max_bytes:
            raise OutputTooLarge(event.type, self._max_bytes, self._handle)
        buffer += event.data


def _check_stream(stream: Any) -> None:
    if stream not in {None, "stdout", "stderr"}:
        raise InvalidArgument("stream", repr(stream), "'stdout', 'stderr' or None for both")


def _signal_name(signal: Any) -> str:
    name = signal
    if isinstance(signal, int) and not isinstance(signal, bool):
        try:
            name = signals.Signals(signal).name
        except ValueError:
            name = repr(signal)
    elif isinstance(signal, str) and not signal.startswith("SIG"):
        name = f"SIG{signal}"
    if name not in lifecycle.SIGNAL_NAMES:
        rule = f"one of {', '.join(sorted(lifecycle.SIGNAL_NAMES))}"
        raise InvalidArgument("signal", repr(signal), rule)
    return str(name)
