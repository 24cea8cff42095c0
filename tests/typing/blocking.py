"""What type checkers are to think of the blocking words. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

import hopx_async as hopx
from hopx_async import blocking
from hopx_async.testing import memory

__all__ = ["doors", "handles", "many"]


def doors() -> None:
    """A door returns what is open, and takes what the asynchronous one takes."""
    with blocking.local(workspace=".", grace=1) as sandbox:
        assert_type(sandbox, blocking.Sandbox)
        assert_type(sandbox.commands, blocking.Commands)
        assert_type(sandbox.capabilities, hopx.Capabilities)
        assert_type(sandbox.statistics(), dict[str, Any])
        assert_type(sandbox.env.get_all(), dict[str, str | None])
        sandbox.env.set({"A": "1"})
        assert_type(sandbox.files.read("a"), bytes)
        with sandbox.files.watch() as watch:
            assert_type(next(watch), hopx.FileEvent)
        sandbox.close(grace=0)
    assert_type(blocking.remote("http://127.0.0.1:1", token="t"), blocking.Sandbox)
    assert_type(blocking.opened(memory()), blocking.Sandbox)
    assert_type(blocking.opened(hopx.pool(hopx.local)), blocking.Pool)
    with blocking.pool(blocking.local, max_size=2, reset=lambda used: used.commands) as pool:
        assert_type(pool, blocking.Pool)
        with pool.sandbox() as lent:
            assert_type(lent, blocking.Sandbox)
    blocking.pool(hopx.local)
    blocking.local(wait=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.remote("http://127.0.0.1:1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def handles(commands: blocking.Commands) -> None:
    """Methods have the parameters of their twins, and give what those are awaited for."""
    handle = commands.start("true", timeout=1, env={"A": None})
    assert_type(handle, blocking.CommandHandle)
    assert_type(commands.run(["true"], check=True), hopx.CommandResult)
    assert_type(commands.get(handle.ref), blocking.CommandHandle)
    assert_type(commands.list(status="running"), list[hopx.CommandInfo])
    assert_type(handle.wait(check=True), hopx.Exit)
    assert_type(handle.pid, int | None)
    assert_type(handle.wait_for_output("x", after=hopx.END), hopx.OutputMatch)
    for line in handle.lines(last=10, stream="stdout"):
        assert_type(line, hopx.Line)
    for text in handle.text():
        assert_type(text, hopx.Text)
    with handle.events(after="L1") as events:
        assert_type(next(events), hopx.Event)
        assert_type(events.cursor, str)
    commands.start(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    handle.wait(seconds=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    handle.lines(stream="both")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def many(commands: blocking.Commands, handles: list[blocking.CommandHandle]) -> None:
    """Scopes and streams over many commands know what they give."""
    with commands.group(limit=2, on_error="continue") as group:
        assert_type(group, blocking.Group)
        assert_type(group.start_soon("true", timeout=1), blocking.CommandHandle)
        for handle in group.completed():
            assert_type(handle, blocking.CommandHandle)
    with commands.map(lambda number: ["echo", str(number)], range(3), limit=2) as results:
        assert_type(next(results), tuple[int, hopx.CommandResult])
    assert_type(blocking.wait_any(handles), blocking.CommandHandle)
    for handle in blocking.as_completed(handles):
        assert_type(handle, blocking.CommandHandle)
    for event in blocking.merge(handles):
        assert_type(event, hopx.Event)
    group.start_soon("true", wait=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
