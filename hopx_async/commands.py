"""Starting commands, and finding them again."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import TypeVar, get_args

from hopx_async.arguments import new_collector
from hopx_async.client import AgentClient
from hopx_async.errors import HopxError, InvalidArgument
from hopx_async.feeding import fed
from hopx_async.grouping import LIMIT, Group, OnError, Spread
from hopx_async.handle import CommandHandle
from hopx_async.launch import started
from hopx_async.mapping import MakeCommand, MapStream, new_map
from hopx_async.model import (
    CommandInfo,
    CommandRef,
    CommandResult,
    CommandSpec,
    Exit,
    Limits,
    Status,
    refuse,
)
from hopx_async.opening import Opening
from hopx_async.protocol import lifecycle
from hopx_async.reading import MAX_BYTES, Keep
from hopx_async.secret import Secret
from hopx_async.spec import Overflow
from hopx_async.writing import as_bytes

__all__ = ["Commands"]

T = TypeVar("T")


class Commands:
    """The commands of one sandbox: ``sandbox.commands``."""

    def __init__(self, client: AgentClient) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"<Commands of {self._client.sandbox_id}>"

    def start(
        self,
        command: str | Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str | Secret | None] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        merge_stderr: bool = False,
        stdin: bool = False,
        pty: bool | tuple[int, int] = False,
        overflow: Overflow = "drop",
        limits: Limits | None = None,
        usage_interval: float | None = None,
        mask_secrets: bool = False,
        process_id: str | None = None,
    ) -> Opening[CommandHandle]:
        """Start a background command; it has started when this returns its handle.

        ``handle = await start(...)`` leaves the command running until it ends by
        itself, is killed, or its sandbox ends. ``async with start(...) as handle``
        kills it when the block is left.

        If cancelled, what it started is ended again, unless *process_id* was given.
        A start whose answer was lost is repeated safely: the id decides.

        Args:
            command: A text runs in ``bash -c``, a sequence of texts and paths is run as an argv.
            env: Variables added to the sandbox's own; None as a value unsets one, a `Secret` is
                the same to the command and can be masked.
            working_dir: Where it runs; relative to the workspace; None for the workspace.
            timeout: Seconds for the whole command, enforced by the far side: TERM, five
                seconds of grace, KILL; None for no limit.
            idle_timeout: Seconds in which it prints nothing, enforced likewise; None for no limit.
            name: A label for people, None for none.
            tags: Labels to list by.
            merge_stderr: Send stderr where stdout goes, so that their order is exact.
            stdin: Let `CommandHandle.send_stdin` send it input; its stdin is empty otherwise.
            pty: Run it in a terminal of this many rows and columns, True for 24 and 80: stdin,
                stdout and stderr are the terminal, its output comes as stdout.
            overflow: What happens when its log is full: ``"drop"`` loses the oldest output,
                ``"wait"`` lets the command wait for readers that go on reading.
            limits: What it may use, None for no limits.
            usage_interval: Seconds between `Usage` events, 0.1 or more, sampled by the far side;
                None for no such events. Our agent needs psutil for it (``hopx-async[serve]``).
            mask_secrets: Put stars in the place of every `Secret` of *env* and of ``sandbox.env``
                in the output, before it is stored. Needs at least one; each has 6 bytes or more.
            process_id: An id of your own makes this get-or-create; None for a fresh one.

        Raises:
            InvalidArgument: If an argument breaks a rule; raised by the call, nothing was sent.
            Unsupported: If this far side cannot do what *limits* asks for.
            SpawnError: If the program or the directory is not there or cannot be run.
            ConflictError: If *process_id* exists with another spec.
            Unsupported: If the far side cannot sample usage and *usage_interval* asks for it.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        spec = CommandSpec.make(
            command,
            process_id=process_id,
            env=env,
            working_dir=working_dir,
            timeout=timeout,
            idle_timeout=idle_timeout,
            name=name,
            tags=tags,
            merge_stderr=merge_stderr,
            stdin=stdin,
            pty=pty,
            overflow=overflow,
            limits=limits,
            usage_interval=usage_interval,
            mask_secrets=mask_secrets,
        )
        return Opening(self._start(spec, owned=process_id is None))

    async def run(
        self,
        command: str | Sequence[str | os.PathLike[str]],
        *,
        check: bool = False,
        input: bytes | str | None = None,  # noqa: A002  # the word of subprocess
        max_bytes: int = MAX_BYTES,
        keep: Keep | None = None,
        env: Mapping[str, str | Secret | None] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # enforced by the far side
        idle_timeout: float | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        merge_stderr: bool = False,
        stdin: bool = False,
        pty: bool | tuple[int, int] = False,
        overflow: Overflow = "drop",
        limits: Limits | None = None,
        usage_interval: float | None = None,
        mask_secrets: bool = False,
        process_id: str | None = None,
    ) -> CommandResult:
        """Run a command to its end and return its output: `start` and ``result`` in one.

        ``run`` owns its command: if cancelled, or if the output is too large, it
        ends the command (TERM, grace, KILL, bounded) before it raises.

        Args:
            command: As for `start`, like all arguments not named here.
            check: Raise `CommandFailed` unless the command exited with code 0.
            input: Sent to its stdin, a text as UTF-8, and then its end; None for nothing. A
                command that does not read all of it is no error.
            max_bytes: The most bytes of each stream to hold in memory.
            keep: ``"head+tail"`` cuts a longer stream in the middle, None raises.
            env: As for `start`.
            working_dir: As for `start`.
            timeout: As for `start`, in seconds.
            idle_timeout: As for `start`, in seconds.
            name: As for `start`.
            tags: As for `start`.
            merge_stderr: As for `start`.
            stdin: As for `start`; *input* implies it.
            pty: As for `start`.
            overflow: As for `start`.
            limits: As for `start`.
            usage_interval: As for `start`; `run` itself looks at no such event.
            mask_secrets: As for `start`.
            process_id: As for `start`.

        Raises:
            CommandFailed: If *check* is true and the command failed.
            OutputTooLarge: If a stream is longer than *max_bytes*.
            HopxError: As for `start`.
        """
        new_collector(max_bytes, keep)  # what they are, before anything is started
        typed = None if input is None else as_bytes("input", input)
        handle = await self.start(
            command,
            env=env,
            working_dir=working_dir,
            timeout=timeout,
            idle_timeout=idle_timeout,
            name=name,
            tags=tags,
            merge_stderr=merge_stderr,
            stdin=stdin or typed is not None,
            pty=pty,
            overflow=overflow,
            limits=limits,
            usage_interval=usage_interval,
            mask_secrets=mask_secrets,
            process_id=process_id,
        )
        try:
            output = handle.result(max_bytes=max_bytes, keep=keep)
            result = await (output if typed is None else fed(handle, typed, output))
        except BaseException as error:
            try:
                await handle.aclose()
            except HopxError as problem:
                error.add_note(f"its command may still run: {problem}")
            raise
        if check:
            await handle.wait(check=True)
        return result

    async def get(self, ref: CommandRef | str) -> CommandHandle:
        """Return the handle of a command that was started before, by whomever.

        Cancelling ``get`` is safe.

        Args:
            ref: A handle's ``ref``, or a process id of this sandbox.

        Raises:
            InvalidArgument: If it is no id, or a ref into another sandbox.
            CommandNotFound: If the far side does not know the command.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        answer = await self._client.call("info", process_id=self._process_id(ref))
        return CommandHandle(self._client, CommandInfo.from_dict(answer["info"]))

    async def list(
        self,
        *,
        status: Status | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> list[CommandInfo]:
        """Return what the far side knows of its commands, oldest first.

        Cancelling ``list`` is safe.

        Args:
            status: Only those with this status, None for all.
            name: Only those with this name, None for all.
            tags: Only those that carry all these tags, None for all.

        Raises:
            InvalidArgument: If *status* is none of HopX's words.
            AgentUnreachable: If nobody answered until the policy gave up.
        """
        if status is not None and status not in get_args(Status):
            raise InvalidArgument("status", repr(status), f"one of {', '.join(get_args(Status))}")
        infos: list[CommandInfo] = []
        after: str | None = None
        while True:
            page = await self._client.call(
                "list", after=after, status=status, name=name, tags=dict(tags or {})
            )
            infos += [CommandInfo.from_dict(info) for info in page["infos"]]
            after = page.get("next")
            if after is None:
                return infos

    async def kill(self, ref: CommandRef | str, grace: float = lifecycle.GRACE) -> Exit:
        """End a command by its ref or id; see `CommandHandle.kill`."""
        handle = await self.get(ref)
        return await handle.kill(grace)

    def group(
        self,
        *,
        limit: int | None = LIMIT,
        on_error: OnError = "cancel",
        grace: float = lifecycle.GRACE,
    ) -> Group:
        """Return a scope for commands: ``async with sandbox.commands.group() as group``.

        Args:
            limit: How many run at once; None for no limit.
            on_error: ``"cancel"`` ends all when one fails, and raises its error;
                ``"continue"`` leaves it to their handles to tell.
            grace: Seconds between TERM and KILL for those that are ended.

        Raises:
            InvalidArgument: If an argument breaks a rule.
        """
        return Group(Spread([self]), limit=limit, on_error=on_error, grace=grace)

    def map(
        self,
        make_command: MakeCommand[T],
        items: Iterable[T] | AsyncIterable[T],
        *,
        limit: int = LIMIT,
        ordered: bool = False,
        on_error: OnError = "cancel",
        grace: float = lifecycle.GRACE,
        max_bytes: int = MAX_BYTES,
        keep: Keep | None = None,
    ) -> MapStream[T]:
        """Run a command for each item, so many at a time; yields pairs of item and result.

        Items are asked for as there is room, so there may be any number. At most *limit*
        commands run; with the results that wait to be taken they are at most twice as
        many: who takes slowly holds up the starts.

        Args:
            make_command: Returns an item's command: a text, a program with its arguments, or
                a `CommandSpec`, to give each its environment.
            items: An iterable, or an asynchronous one.
            limit: How many run at once.
            ordered: Yield in the order of the items, not of the ends.
            on_error: ``"cancel"`` ends all when one fails, and raises its error;
                ``"continue"`` yields its result; one that could not be started has an exit
                with the reason ``"spawn_failed"``.
            grace: Seconds between TERM and KILL for those that are ended.
            max_bytes: The most bytes of each stream of each command to hold.
            keep: ``"head+tail"`` cuts a longer stream in the middle, None ends all by
                `OutputTooLarge`.

        Raises:
            InvalidArgument: If an argument breaks a rule; what *make_command* returns is
                checked as its turn comes.
        """
        return new_map(
            self,
            make_command,
            items,
            limit=limit,
            ordered=ordered,
            on_error=on_error,
            grace=grace,
            max_bytes=max_bytes,
            keep=keep,
        )

    # Inside.

    def _process_id(self, ref: CommandRef | str) -> str:
        if isinstance(ref, CommandRef):
            if ref.sandbox != self._client.sandbox_id:
                rule = f"a command of sandbox {self._client.sandbox_id}"
                raise InvalidArgument("ref", repr(ref), rule)
            ref = ref.process_id
        refuse(lifecycle.problem_with_id(ref))
        return ref

    async def _start(self, spec: CommandSpec, *, owned: bool) -> CommandHandle:
        return await started(self._client, spec, owned=owned)
