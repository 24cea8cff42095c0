"""Waiting until a command is ready: it printed something, listens, or answers."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import attrs

from hopx_async.arguments import check_stream
from hopx_async.errors import (
    CommandFailed,
    CommandNotFound,
    InvalidArgument,
    NotFoundError,
    NotReady,
    Unsupported,
)
from hopx_async.model import Stream, refuse
from hopx_async.protocol import lifecycle, ports
from hopx_async.protocol.cursor import START, UNKNOWN, Position, parse_cursor, print_cursor
from hopx_async.protocol.search import Found, OutputSearch
from hopx_async.reading import CommandReader
from hopx_async.stream import END

__all__ = ["LAST_LINES", "OutputMatch", "find_output", "wait_for_port"]

#: Lines of a command's last output that `NotReady` tells.
LAST_LINES = 20


@attrs.frozen(kw_only=True)
class OutputMatch:
    """What a pattern found in a command's output.

    Attributes:
        text: What matched.
        before: The output before it, from where the search began; of much, the last 64 KiB or so.
        groups: What the groups of the pattern matched, None for those that took no part.
        cursor: The position exactly behind it: for the next search, or for ``events``.
    """

    text: str
    before: str
    groups: tuple[str | None, ...]
    cursor: str


async def find_output(
    handle: CommandReader,
    pattern: str | re.Pattern[str],
    *,
    after: str | None,
    stream: Stream | None,
) -> OutputMatch:
    """Return the first match of *pattern*; see ``CommandHandle.wait_for_output``."""
    expression = _compiled(pattern)
    check_stream(stream)
    way = handle._client  # noqa: SLF001  # a way of reading a command, in a file of its own
    position = START
    if after == END:
        # Of a command that has not started, everything is yet to come.
        if way.ready:
            position = Position((await handle.info()).log_end, UNKNOWN, UNKNOWN)
    elif after is not None:
        position = parse_cursor(handle.process_id, after)
    search = OutputSearch(expression, position, stream)
    await way.until_ready()
    way = handle._client  # noqa: SLF001  # without a detour, once it has started
    subscription = way.subscribe(handle.process_id, position)
    try:
        while True:
            before = subscription.position
            event = way.take(subscription)
            if event is None or search.worth_a_look:
                found = search.find()
                if found is not None:
                    return _match(handle, found)
            if event is None:
                if subscription.done:
                    break
                before = subscription.position
                event = await way.next_event(subscription)
            if event is not None:
                search.feed(event, before, subscription.position)
                handle._note(event)  # noqa: SLF001
    finally:
        way.unsubscribe(subscription)
    raise await _not_ready(handle, f"its output had {expression.pattern!r}"[:200])


async def wait_for_port(handle: CommandReader, port: int, path: str | None) -> None:
    """Wait until a command listens, and answers; see ``CommandHandle.wait_for_port``."""
    refuse(ports.problem_with_port(port))
    refuse(ports.problem_with_path(path))
    while True:
        try:
            answer: Any = await handle._client.call(  # noqa: SLF001
                "wait_port", process_id=handle.process_id, port=port, path=path
            )
        except CommandNotFound:
            raise
        except (NotFoundError, Unsupported):
            answer = {"ready": await _probed(handle, port, path), "ended": True}
        if answer["ready"]:
            return
        if answer["ended"]:
            what = f"port {port} was open" if path is None else f"port {port} answered {path}"
            raise await _not_ready(handle, what)


async def _probed(handle: Any, port: int, path: str | None) -> bool:
    # An agent that is not ours, or an older one: what it can do is run a command that looks.
    from hopx_async.probing import port_is_ready

    return await port_is_ready(handle, port, path)


def _compiled(pattern: Any) -> re.Pattern[str]:
    if isinstance(pattern, re.Pattern):
        if isinstance(pattern.pattern, str):
            return pattern
    elif isinstance(pattern, str):
        try:
            return re.compile(pattern)
        except re.error as error:
            raise InvalidArgument("pattern", repr(pattern)[:120], f"{error}") from error
    raise InvalidArgument("pattern", repr(pattern)[:120], "a regular expression of str")


def _match(handle: CommandReader, found: Found) -> OutputMatch:
    cursor = print_cursor(handle.process_id, found.position)
    return OutputMatch(text=found.text, before=found.before, groups=found.groups, cursor=cursor)


async def _not_ready(handle: CommandReader, what: str) -> NotReady:
    fate = await handle.wait()
    # Of an end that is ok the far side keeps no tail.
    tail = fate.tail
    if not tail:
        # Of one that it has forgotten, nothing.
        with contextlib.suppress(CommandNotFound):
            async with handle.lines(last=LAST_LINES) as lines:
                last = [line.text async for line in lines]
            tail = "\n".join(last).encode()[-lifecycle.TAIL_BYTES :]
    command, name = handle.command, handle.name
    failure = CommandFailed(
        fate, command=command, name=name, process_id=handle.process_id, tail=tail
    )
    return NotReady(what, failure)
