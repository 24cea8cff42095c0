"""What type checkers are to think of the blocking words. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

import hopx_async as hopx
from hopx_async import blocking
from hopx_async.testing import MemoryAgent, memory
from hopx_async.testing.memory import MemoryTransport

__all__ = ["doors", "handles", "many", "places", "streams"]


def doors() -> None:
    """A door returns what is open, and takes what the asynchronous one takes."""
    with blocking.Client(api_key="k") as client:
        assert_type(blocking.Sandbox.create("base", client=client), blocking.Sandbox)
        assert_type(blocking.Sandbox.connect("id", client=client), blocking.Sandbox)
        assert_type(client.list_sandboxes(), blocking.Listing[hopx.SandboxInfo])
        assert_type(next(client.list_sandboxes()), hopx.SandboxInfo)
        assert_type(client.list_templates(), list[hopx.TemplateInfo])
        assert_type(client.get_sandbox("id"), hopx.SandboxInfo)
    with blocking.local(workspace=".", grace=1) as sandbox:
        assert_type(sandbox, blocking.Sandbox)
        assert_type(sandbox.commands, blocking.Commands)
        assert_type(sandbox.capabilities, hopx.Capabilities)
        assert_type(sandbox.statistics(), dict[str, Any])
        assert_type(sandbox.sandbox_id, str)
        assert_type(sandbox.env, blocking.Environment)
        assert_type(sandbox.files, blocking.Files)
        assert_type(sandbox.list_processes(), list[hopx.CommandInfo])
        assert_type(sandbox.kill_process("cmd", 1.0), hopx.Exit)
        assert_type(sandbox.kill(), None)
        assert_type(sandbox.close(grace=0), None)
        with sandbox as same:
            assert_type(same, blocking.Sandbox)
    assert_type(blocking.through(MemoryTransport(MemoryAgent({}))), blocking.Sandbox)
    assert_type(blocking.remote("http://127.0.0.1:1", token="t"), blocking.Sandbox)
    assert_type(blocking.opened(memory()), blocking.Sandbox)
    assert_type(blocking.opened(hopx.pool(hopx.local)), blocking.Pool)
    with blocking.pool(blocking.local, max_size=2, reset=lambda used: used.commands) as pool:
        assert_type(pool, blocking.Pool)
        with pool as the_same:
            assert_type(the_same, blocking.Pool)
        assert_type((pool.size, pool.lendable), tuple[int, int])
        lease = pool.sandbox()
        assert_type(pool.sandbox(), blocking.PoolLease)
        assert_type(lease, blocking.PoolLease)
        with lease as lent:
            assert_type(lent, blocking.Sandbox)
        assert_type(pool.take(), blocking.Sandbox)
        assert_type(pool.warm(), None)
        assert_type(pool.give(lent), None)
        assert_type(pool.close(), None)
        assert_type(blocking.group(pool, limit=1), blocking.Group)
    blocking.pool(hopx.local)
    blocking.local(wait=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.remote("http://127.0.0.1:1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def places(env: blocking.Environment, files: blocking.Files) -> None:
    """Variables and files have the words of their twins."""
    assert_type(env.get_all(), dict[str, str | None])
    assert_type(env.set({"A": "1"}), None)
    assert_type(env.update({"A": None}), None)
    assert_type(env.delete("A"), None)
    assert_type((files.read("a"), files.read_text("a")), tuple[bytes, str])
    assert_type(files.write("a", b""), None)
    assert_type(files.mkdir("d"), None)
    assert_type(files.remove("d"), None)
    assert_type((files.list(), files.exists("a")), tuple[list[hopx.FileInfo], bool])
    assert_type((files.upload("a", "b"), files.download("b", "a")), tuple[int, int])
    watch = files.watch()
    assert_type(files.watch(), blocking.FileWatch)
    assert_type(watch, blocking.FileWatch)
    with watch as same:
        assert_type(same, blocking.FileWatch)
    assert_type(next(watch), hopx.FileEvent)
    assert_type(watch.close(), None)


def handles(commands: blocking.Commands) -> None:
    """Methods have the parameters of their twins, and give what those are awaited for."""
    handle = commands.start("true", timeout=1, env={"A": None})
    assert_type(handle, blocking.CommandHandle)
    assert_type(commands.start("true", timeout=1), blocking.CommandHandle)
    assert_type(commands.kill(handle.ref, 1.0), hopx.Exit)
    with handle as same:
        assert_type(same, blocking.CommandHandle)
    assert_type(commands.run(["true"], check=True), hopx.CommandResult)
    assert_type(commands.get(handle.ref), blocking.CommandHandle)
    assert_type(commands.list(status="running"), list[hopx.CommandInfo])
    assert_type(handle.wait(check=True), hopx.Exit)
    assert_type(handle.pid, int | None)
    assert_type((handle.process_id, handle.name), tuple[str, str | None])
    assert_type(handle.command, str | tuple[str, ...])
    assert_type(handle.ref, hopx.CommandRef)
    assert_type((handle.result(), handle.output()), tuple[hopx.CommandResult, hopx.Output])
    assert_type((handle.info(), handle.kill(0)), tuple[hopx.CommandInfo, hopx.Exit])
    assert_type((handle.terminate(), handle.send_signal("INT")), tuple[bool, bool])
    assert_type(handle.resize(24, 80), bool)
    assert_type(handle.send_stdin("x"), None)
    assert_type(handle.close_stdin(), None)
    assert_type(handle.wait_for_port(80), None)
    assert_type(handle.wait_for_http("/", port=80), None)
    assert_type(handle.close(), None)
    assert_type(handle.wait_for_output("x", after=hopx.END), hopx.OutputMatch)
    for line in handle.lines(last=10, stream="stdout"):
        assert_type(line, hopx.Line)
    for text in handle.text():
        assert_type(text, hopx.Text)
    assert_type((handle.events(), handle.text()), tuple[blocking.EventStream, blocking.TextStream])
    commands.start(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    handle.wait(seconds=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    handle.lines(stream="both")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def streams(
    events: blocking.EventStream, lines: blocking.LineStream, texts: blocking.TextStream
) -> None:
    """Streams are iterated, entered and closed."""
    with events as one, lines as two, texts as three:
        assert_type((one, two), tuple[blocking.EventStream, blocking.LineStream])
        assert_type(three, blocking.TextStream)
    assert_type((next(events), next(lines)), tuple[hopx.Event, hopx.Line])
    assert_type(next(texts), hopx.Text)
    assert_type((events.cursor, lines.cursor, texts.cursor), tuple[str, str, str])
    assert_type(events.close(), None)
    assert_type(lines.close(), None)
    assert_type(texts.close(), None)


def many(commands: blocking.Commands, handles: list[blocking.CommandHandle]) -> None:
    """Scopes and streams over many commands know what they give."""
    scope = commands.group(limit=2, on_error="continue")
    assert_type(scope, blocking.Group)
    assert_type(commands.group(), blocking.Group)
    with scope as group:
        assert_type(group, blocking.Group)
        assert_type(group.completed(), blocking.GroupCompleted)
        assert_type(next(group.completed()), blocking.CommandHandle)
        assert_type(group.start_soon("true", timeout=1), blocking.CommandHandle)
        for handle in group.completed():
            assert_type(handle, blocking.CommandHandle)
    with commands.map(lambda number: ["echo", str(number)], range(3), limit=2) as results:
        assert_type(results, blocking.MapStream[int])
        assert_type(next(results), tuple[int, hopx.CommandResult])
        with results as same:
            assert_type(same, blocking.MapStream[int])
        assert_type(results.close(), None)
    assert_type(commands.map(str, range(3)), blocking.MapStream[int])
    assert_type(blocking.wait_any(handles), blocking.CommandHandle)
    for handle in blocking.as_completed(handles):
        assert_type(handle, blocking.CommandHandle)
    for event in blocking.merge(handles):
        assert_type(event, hopx.Event)
    ended, merged = blocking.as_completed(handles), blocking.merge(handles)
    assert_type(ended, blocking.AsCompleted)
    assert_type(merged, blocking.MergedStream)
    with ended as one, merged as other:
        assert_type((one, other), tuple[blocking.AsCompleted, blocking.MergedStream])
    assert_type((next(ended), next(merged)), tuple[blocking.CommandHandle, hopx.Event])
    assert_type(ended.close(), None)
    assert_type(merged.close(), None)
    group.start_soon("true", wait=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
