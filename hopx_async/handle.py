"""One background command, as its user holds it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal as signals
from types import TracebackType
from typing import NoReturn, Self
from uuid import uuid4

import anyio

from hopx_async.arguments import signal_name
from hopx_async.client import AgentClient
from hopx_async.errors import AgentUnreachable, HopxError, InvalidArgument
from hopx_async.model import CommandInfo, CommandRef, Exit, Stream, refuse
from hopx_async.protocol import lifecycle
from hopx_async.readiness import OutputMatch, find_output, wait_for_port
from hopx_async.reading import CommandReader
from hopx_async.writing import StdinWriter, as_bytes

__all__ = ["CommandHandle"]

_CLOSE_SECONDS = 30.0  # grace, KILL, proof, and as much again for a connection to come back


class CommandHandle(CommandReader):
    """A command that runs, or ran. Holds no connection, no task and no output.

    Attributes:
        process_id: The command's id.
        command: As it was started.
        name: Its label, None for none.
        pid: The leader's pid on the far side.
    """

    __slots__ = ("_fresh", "_writer")

    def __init__(self, client: AgentClient, info: CommandInfo, *, fresh: bool = False) -> None:
        super().__init__(client, info)
        self._fresh = fresh
        # Made when it is needed: most commands get no input, and there may be ten thousand.
        self._writer: StdinWriter | None = None

    @property
    def ref(self) -> CommandRef:
        """Where the command is found again, from any process: ``commands.get(ref)``."""
        return CommandRef(self._client.sandbox_id, self.process_id)

    def __repr__(self) -> str:
        fate = f" {self._exit.status}" if self._exit is not None else ""
        label = f" {self.name!r}" if self.name else ""
        return f"<CommandHandle {self.process_id}{label} pid {self.pid}{fate}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a handle cannot be pickled; handle.ref can: commands.get(ref) finds it")

    # Input.

    async def send_stdin(self, data: bytes | str) -> None:
        """Send input to a command that was started with ``stdin=True`` or in a terminal.

        It returns when the command's side of the pipe has all of it, so that a command
        that reads slowly slows its sender down. What is sent arrives once and in order,
        whatever connections or agents are lost meanwhile. One task sends at a time.

        If cancelled, a part of *data* may be sent; the rest is not forgotten, but sent before
        the next `send_stdin` or by `close_stdin`. Do not send it again.

        Args:
            data: A text is sent as UTF-8.

        Raises:
            InvalidArgument: If *data* is neither bytes nor a text.
            StdinClosed: If the command takes no input, or no more: it was started without, has
                closed its stdin, has ended, or `close_stdin` was called.
            BusyError: If another task is sending.
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        await self._stdin().send(as_bytes("data", data))

    async def close_stdin(self) -> None:
        r"""Tell the command that no more input comes. On a command that has ended nothing happens.

        A terminal has no such end: it gets ``b"\x04"`` (Ctrl-D), which most programs take for
        one at the beginning of a line.

        If cancelled, it may or may not have happened; call it again.

        Raises:
            BusyError: If another task is sending.
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        await self._stdin().close()

    def _stdin(self) -> StdinWriter:
        if self._writer is None:
            # Nobody else can have sent anything to a command that was just made.
            offset = 0 if self._fresh else None
            self._writer = StdinWriter(self._client, self.process_id, offset)
        return self._writer

    async def resize(self, rows: int, cols: int) -> bool:
        """Give the command's terminal another size; what runs in its foreground gets SIGWINCH.

        If cancelled, it may or may not have happened; call it again.

        Args:
            rows: Lines of text.
            cols: Characters in a line.

        Returns:
            Whether the terminal has that size now; False if the command had ended.

        Raises:
            InvalidArgument: If one of them is no whole number from 1 to 65535.
            Unsupported: If the command was not started with ``pty``.
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        refuse(lifecycle.problem_with_size("size", (rows, cols)))
        process_id = self.process_id
        answer = await self._client.call("resize", process_id=process_id, rows=rows, cols=cols)
        return bool(answer["delivered"])

    # Readiness.

    async def wait_for_output(
        self,
        pattern: str | re.Pattern[str],
        *,
        after: str | None = None,
        stream: Stream | None = None,
    ) -> OutputMatch:
        """Wait until the command has printed something, and return what.

        Looks at what was printed before, too. For a dialogue, go on with ``after=match.cursor``:
        that is exactly behind the match. A pattern finds what is there: ``\\d+`` may find the
        first digits of a number that is still being printed. It is looked for in the last
        64 KiB or so, and never across a gap that retention left. Cancelling it is safe.

        Args:
            pattern: A regular expression; searched for, not matched from the beginning.
            after: As for `events`, `END` included: only look at what comes behind.
            stream: Only look at ``"stdout"`` or ``"stderr"``, None for both in the order observed.

        Raises:
            NotReady: If the command ends first; with its last output.
            InvalidArgument: If *pattern* or *stream* is nothing of the kind.
            BadCursor: If *after* is no cursor of this command.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        return await find_output(self, pattern, after=after, stream=stream)

    async def wait_for_port(self, port: int) -> None:
        """Wait until a process of the command listens on a TCP port, of whichever address.

        The far side watches, and looks without connecting. A server that goes on behind
        its leader's end counts. HopX's own agent cannot watch: there a command of ours looks,
        in bash, which ends with the wait; it cannot see whose port it is. Cancelling it is safe.

        Args:
            port: From 1 to 65535.

        Raises:
            NotReady: If the command ends first; with its last output.
            InvalidArgument: If *port* is no such number.
            Unsupported: If this far side cannot tell.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        await wait_for_port(self, port, None)

    async def wait_for_http(self, path: str = "/", *, port: int) -> None:
        """Wait until the command listens, and answers a GET with a status below 400.

        The far side asks, on its loopback. Cancelling it is safe.

        Args:
            path: What to ask for, from ``/`` on.
            port: As for `wait_for_port`.

        Raises:
            NotReady: If the command ends first; with its last output.
            InvalidArgument: If *path* or *port* is nothing of the kind.
            Unsupported: If this far side cannot tell.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        if path is None:
            raise InvalidArgument("path", "None", "a path from / on")
        await wait_for_port(self, port, path)

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

        A task that is cancelled meanwhile, as by a second Ctrl-C, loses patience: no grace is
        left, and the cancellation gets through at the end. A third one gets through at once.

        Raises:
            AgentUnreachable: If nobody answers for so long; the command may still run.
            HopxError: As for `kill`.
        """
        try:
            await self._end(lifecycle.GRACE)
        except asyncio.CancelledError:
            # asyncio's own cancellations know no shield.
            with contextlib.suppress(HopxError):
                await self._end(0.0)
            raise

    async def _end(self, grace: float) -> None:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True) as scope:
            await self.kill(grace)
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
