"""What type checkers are to think of the public API. Checked by mypy and pyright, never run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, assert_type

import hopx_async as hopx
from hopx_async.pooling import PoolLease

__all__ = [
    "doors",
    "events",
    "files",
    "handles",
    "many",
    "pools",
    "readiness",
    "scopes",
    "service",
    "starting",
    "texts",
]


async def doors() -> None:
    """A door is awaited, entered, gathered or made a task; what comes out is the same."""
    assert_type(hopx.local(), hopx.Opening[hopx.Sandbox])
    assert_type(await hopx.local(workspace=Path(), inherit_env=["CUDA_*"]), hopx.Sandbox)
    assert_type(await hopx.local(state_dir="state", detached=True, grace=1), hopx.Sandbox)
    assert_type(await hopx.local(isolation="auto", internet_access=False), hopx.Sandbox)
    assert_type(await hopx.remote("http://127.0.0.1:1", token="t"), hopx.Sandbox)
    assert_type(hopx.__version__, str)
    door = hopx.local()
    assert_type(door, hopx.Opening[hopx.Sandbox])
    assert_type(await door, hopx.Sandbox)
    assert_type(door.send(None), Any)
    assert_type(door.throw(OSError), Any)
    assert_type(door.close(), None)
    async with hopx.local() as sandbox:
        assert_type(sandbox, hopx.Sandbox)
        assert_type(sandbox.commands, hopx.Commands)
        assert_type(sandbox.sandbox_id, str)
        assert_type(sandbox.env, hopx.Environment)
        assert_type(await sandbox.env.get_all(), dict[str, str | None])
        assert_type(await sandbox.env.set({"A": "1", "B": None, "C": hopx.Secret("c")}), None)
        assert_type(await sandbox.env.update({"A": "1"}), None)
        assert_type(await sandbox.env.delete("A"), None)
        assert_type(sandbox.capabilities, hopx.Capabilities)
        assert_type(await sandbox.statistics(), dict[str, Any])
        assert_type(await sandbox.list_processes(), list[hopx.CommandInfo])
        assert_type(await sandbox.kill_process("cmd", grace=1), hopx.Exit)
        assert_type(sandbox.files, hopx.Files)
        assert_type(await sandbox.kill(), None)
        assert_type(await sandbox.aclose(grace=0), None)
        async with sandbox as same:
            assert_type(same, hopx.Sandbox)
    # As the class is covariant, a task's result is known as well.
    assert_type(await asyncio.gather(hopx.local(), hopx.local()), tuple[hopx.Sandbox, hopx.Sandbox])
    assert_type(await asyncio.create_task(hopx.local()), hopx.Sandbox)


async def service(secret: hopx.Secret) -> None:
    """The service's doors give sandboxes, its listings values."""
    async with hopx.Client(api_key="k", base_url="http://h", give_up_after=1) as client:
        assert_type(client, hopx.Client)
        assert_type(hopx.Sandbox.create(client=client), hopx.Opening[hopx.Sandbox])
        env: Mapping[str, str | hopx.Secret] = {"A": "1", "B": secret}
        sandbox = await hopx.Sandbox.create(
            template_id=7, region="eu", timeout_seconds=60, internet_access=False, env_vars=env
        )
        assert_type(sandbox, hopx.Sandbox)
        assert_type(await hopx.Sandbox.create("base", env_vars={"A": "1"}), hopx.Sandbox)
        assert_type(await hopx.Sandbox.connect("id", api_key="k"), hopx.Sandbox)
        assert_type(client.list_sandboxes(status="running"), hopx.Listing[hopx.SandboxInfo])
        async for info in client.list_sandboxes():
            assert_type((info.sandbox_id, info.expires_at), tuple[str, float | None])
        assert_type(await client.list_templates(), list[hopx.TemplateInfo])
        assert_type(await client.get_template("base"), hopx.TemplateInfo)
        assert_type(await client.get_sandbox("id"), hopx.SandboxInfo)
        assert_type(await client.kill_sandbox("id"), None)
        assert_type(await sandbox.get_info(), hopx.SandboxInfo)
        assert_type(await sandbox.set_timeout(60), None)
        assert_type(sandbox.get_preview_url(80), str)
    hopx.Sandbox.create(env_vars={"A": None})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    hopx.Client("key")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def files(sandbox: hopx.Sandbox) -> None:
    """Paths are texts or pure paths, what is read is bytes, what is watched is events."""
    files = sandbox.files
    assert_type(files, hopx.Files)
    assert_type(files.watch(), hopx.FileWatch)
    assert_type(await files.read("a", max_bytes=1), bytes)
    assert_type(await files.read_text(PurePosixPath("a"), "latin-1", errors="replace"), str)
    assert_type(await files.write("a", "text"), None)
    assert_type(await files.write("a", bytearray(), mode=0o600, overwrite=False), None)
    assert_type(await files.list(), list[hopx.FileInfo])
    assert_type(await files.exists("a"), bool)
    assert_type(await files.mkdir("d"), None)
    assert_type(await files.remove("d"), None)
    assert_type(await files.upload(Path("here"), "there"), int)
    assert_type(await files.download("there", "here"), int)
    for info in await files.list("d"):
        assert_type((info.name, info.size, info.modified_at), tuple[str, int, float | None])
    async with files.watch("d") as watch:
        assert_type(watch, hopx.FileWatch)
        async with watch as same:
            assert_type(same, hopx.FileWatch)
        assert_type(await anext(watch), hopx.FileEvent)
        assert_type(await watch.aclose(), None)
        async for event in watch:
            assert_type(event, hopx.FileEvent)
            assert_type((event.path, event.at), tuple[str, float])
            assert_type(event.kind, Literal["created", "modified", "deleted", "renamed", "missed"])
    await files.write("a", 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await files.read(b"a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def starting(commands: hopx.Commands) -> None:
    """start and run take a text or a sequence, and give a handle and a result."""
    argv: Sequence[str] = ["echo", "a"]
    paths: list[Path | str] = [Path("/bin/cat"), "-n", Path("file")]
    assert_type(await commands.start(paths), hopx.CommandHandle)
    assert_type(await commands.run([Path("a"), PurePosixPath("b"), "c"]), hopx.CommandResult)
    env: Mapping[str, str | None] = {"KEEP": "1", "DROP": None}
    secret: Mapping[str, hopx.Secret] = {"KEY": hopx.Secret("geheim")}
    assert_type(secret["KEY"].reveal(), str)
    assert_type(await commands.start(argv, env=secret, mask_secrets=True), hopx.CommandHandle)
    assert_type(await commands.run(argv, usage_interval=1), hopx.CommandResult)
    assert_type(commands.start("true"), hopx.Opening[hopx.CommandHandle])
    assert_type(await commands.start(argv, env=env, timeout=1), hopx.CommandHandle)
    assert_type(await commands.start(("a",), working_dir=Path()), hopx.CommandHandle)
    assert_type(await commands.run("true", check=True, max_bytes=1), hopx.CommandResult)
    limits = hopx.Limits(cpu_seconds=1, nice=5)
    assert_type(
        await commands.start("a", pty=(1, 2), overflow="wait", limits=limits), hopx.CommandHandle
    )
    assert_type(await commands.start("a", pty=True, idle_timeout=1), hopx.CommandHandle)
    assert_type(await commands.run("cat", input=b"x", stdin=True), hopx.CommandResult)
    assert_type(await commands.run("cat", input="x"), hopx.CommandResult)
    assert_type(await commands.get("cmd"), hopx.CommandHandle)
    assert_type(await commands.get(hopx.CommandRef("sbx", "cmd")), hopx.CommandHandle)
    assert_type(await commands.list(status="running", tags={"a": "b"}), list[hopx.CommandInfo])
    assert_type(await commands.kill("cmd", 1.0), hopx.Exit)
    async with commands.start("true", name="n", tags={}, merge_stderr=True) as handle:
        assert_type(handle, hopx.CommandHandle)
    commands.start(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await commands.list(status="ended")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hopx.lines  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue,reportUnusedExpression]  # noqa: B018


async def handles(handle: hopx.CommandHandle) -> None:
    """Everything that a handle gives has its type."""
    assert_type((handle.process_id, handle.name), tuple[str, str | None])
    assert_type(handle.pid, int | None)
    assert_type(handle.command, str | tuple[str, ...])
    assert_type(handle.ref, hopx.CommandRef)
    assert_type(handle.events(after="L1"), hopx.EventStream)
    assert_type(handle.events(after=hopx.END), hopx.EventStream)
    assert_type(handle.lines(after=hopx.END, stream="stdout", strip_ansi=True), hopx.LineStream)
    assert_type(handle.lines(last=10).cursor, str)
    assert_type(handle.text(after="L1", stream="stderr"), hopx.TextStream)
    handle.lines(stream="both")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await handle.result(keep="head+tail", max_bytes=1), hopx.CommandResult)
    await handle.result(keep="head")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await handle.wait(check=True), hopx.Exit)
    assert_type(await handle.result(), hopx.CommandResult)
    assert_type(await handle.output(), hopx.Output)
    assert_type(await handle.info(), hopx.CommandInfo)
    assert_type(await handle.kill(grace=0), hopx.Exit)
    assert_type(await handle.terminate(), bool)
    assert_type(await handle.send_signal("INT"), bool)
    assert_type(await handle.send_stdin("text"), None)
    assert_type(await handle.send_stdin(b"bytes"), None)
    assert_type(await handle.close_stdin(), None)
    assert_type(await handle.aclose(), None)
    async with handle as same:
        assert_type(same, hopx.CommandHandle)
    assert_type(await handle.resize(24, 80), bool)


async def events(handle: hopx.CommandHandle) -> None:
    """Events are a union that isinstance and match narrow, with ``case _`` for later kinds."""
    async for event in handle.events():
        assert_type(event, hopx.Event)
        assert_type((event.process_id, event.cursor), tuple[str, str])
        assert_type((event.at, event.type), tuple[float, str])
        assert_type(event.to_dict(), dict[str, Any])
        if isinstance(event, (hopx.Stdout, hopx.Stderr)):
            assert_type(event.data, bytes)
        match event:
            case hopx.Started(pid=pid):
                assert_type(pid, int)
            case hopx.Exited(exit=fate) | hopx.Lost(exit=fate):
                assert_type(fate, hopx.Exit)
            case hopx.Truncated(stdout_bytes=lost, stderr_bytes=more):
                assert_type((lost, more), tuple[int, int])
            case hopx.Usage(cpu_seconds=seconds, rss_bytes=resident):
                assert_type((seconds, resident), tuple[float, int])
                assert_type((event.read_bytes, event.write_bytes), tuple[int | None, int | None])
            case _:
                pass
    async with handle.events() as stream:
        assert_type(stream, hopx.EventStream)
        assert_type(await anext(stream), hopx.Event)
        async with stream as same:
            assert_type(same, hopx.EventStream)
        assert_type(stream.cursor, str)
        assert_type(await stream.aclose(), None)


async def texts(handle: hopx.CommandHandle) -> None:
    """Lines and texts are values with typed parts."""
    async for line in handle.lines():
        assert_type(line, hopx.Line)
        assert_type((line.text, line.cursor, line.at), tuple[str, str, float])
        assert_type(line.stream, Literal["stdout", "stderr"])
        assert_type((line.lost_before, line.partial), tuple[int, bool])
        line.text = ""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    async with handle.lines() as lines:
        assert_type(lines, hopx.LineStream)
        async with lines as same:
            assert_type(same, hopx.LineStream)
        assert_type(await anext(lines), hopx.Line)
        assert_type(lines.cursor, str)
        assert_type(await lines.aclose(), None)
    async with handle.text() as pieces:
        assert_type(pieces, hopx.TextStream)
        async with pieces as as_well:
            assert_type(as_well, hopx.TextStream)
        piece = await anext(pieces)
        assert_type(await anext(pieces), hopx.Text)
        assert_type(piece, hopx.Text)
        assert_type((piece.text, piece.cursor, piece.at), tuple[str, str, float])
        assert_type(piece.stream, Literal["stdout", "stderr"])
        assert_type(pieces.cursor, str)
        assert_type(await pieces.aclose(), None)


async def many(handles: list[hopx.CommandHandle]) -> None:
    """Many handles as one give handles and events."""
    assert_type(await hopx.wait_any(handles), hopx.CommandHandle)
    assert_type(hopx.as_completed(iter(handles)), hopx.AsCompleted)
    async for handle in hopx.as_completed(handles):
        assert_type(handle, hopx.CommandHandle)
    ended = hopx.as_completed(handles)
    assert_type(ended, hopx.AsCompleted)
    async with ended as same:
        assert_type(same, hopx.AsCompleted)
    assert_type(await anext(ended), hopx.CommandHandle)
    assert_type(await ended.aclose(), None)
    async with hopx.merge(handles) as merged:
        assert_type(merged, hopx.MergedStream)
        assert_type(await anext(merged), hopx.Event)
        async with merged as again:
            assert_type(again, hopx.MergedStream)
        assert_type(await merged.aclose(), None)


async def scopes(commands: hopx.Commands) -> None:
    """Groups give handles, and maps know the type of their items."""
    scope = commands.group(limit=None, on_error="continue", grace=0)
    assert_type(scope, hopx.Group)
    assert_type(commands.group(), hopx.Group)
    assert_type(commands.map(str, range(3)), hopx.MapStream[int])
    async with scope as group:
        assert_type(group, hopx.Group)
        assert_type(group.completed(), hopx.GroupCompleted)
        assert_type(await anext(group.completed()), hopx.CommandHandle)
        assert_type(group.start_soon("true", env={"A": None}, timeout=1), hopx.CommandHandle)
        assert_type(group.start_soon(hopx.CommandSpec.make("true")), hopx.CommandHandle)
        assert_type(group.start_soon(["cat", Path("file")]), hopx.CommandHandle)
        group.start_soon("true", wait=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        async for handle in group.completed():
            assert_type(handle, hopx.CommandHandle)
    commands.group(on_error="stop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(commands.map(lambda path: ["cat", path], [Path()]), hopx.MapStream[Path])
    async with commands.map(lambda number: ["echo", str(number)], range(3)) as results:
        assert_type(results, hopx.MapStream[int])
        assert_type(await anext(results), tuple[int, hopx.CommandResult])
        async with results as same:
            assert_type(same, hopx.MapStream[int])
        assert_type(await results.aclose(), None)
    async for item, result in commands.map(str.upper, ["a"], ordered=True, keep="head+tail"):
        assert_type((item, result), tuple[str, hopx.CommandResult])


async def readiness(handle: hopx.CommandHandle) -> None:
    """Readiness gives a match, or nothing."""
    match = await handle.wait_for_output("x", after=hopx.END, stream="stdout")
    assert_type(match, hopx.OutputMatch)
    assert_type(await handle.wait_for_output(re.compile("x")), hopx.OutputMatch)
    assert_type((match.text, match.before, match.cursor), tuple[str, str, str])
    assert_type(match.groups, tuple[str | None, ...])
    assert_type(await handle.wait_for_port(80), None)
    assert_type(await handle.wait_for_http("/health", port=80), None)
    await handle.wait_for_http("/health")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def pools() -> None:
    """A pool is a door, and lends sandboxes; a group takes either."""
    assert_type(hopx.pool(hopx.local, min_size=1), hopx.Opening[hopx.Pool])
    async with hopx.pool(lambda: hopx.local(isolation="none"), max_size=2) as pool:
        assert_type(pool, hopx.Pool)
        async with pool as same:
            assert_type(same, hopx.Pool)
        assert_type((pool.size, pool.lendable), tuple[int, int])
        assert_type(await pool.warm(), None)
        assert_type(await pool.aclose(), None)
        taken = await pool.take()
        assert_type(await pool.take(), hopx.Sandbox)
        assert_type(pool.give(taken), None)
        assert_type(pool.sandbox(), PoolLease)
        async with pool.sandbox() as sandbox:
            assert_type(sandbox, hopx.Sandbox)
            assert_type(hopx.group([sandbox], limit=1), hopx.Group)
        assert_type(hopx.group(pool), hopx.Group)
    hopx.pool(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
