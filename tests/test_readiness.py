"""Readiness: output, ports and answers are waited for, and an end that comes first is told."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import BadCursor, InvalidArgument, NotFoundError, NotReady, Unsupported
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop, memory
from tests.support.virtual import SLEEP, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def server(command: ScriptedCommand) -> int:
    """Say something, listen after ten seconds, be healthy after twenty, end after thirty."""
    await command.stderr(b"warning: loading\n")
    await command.stdout(b"listening on http://127.0.0.1:80")
    await anyio.sleep(1)
    await command.stdout(b"80\nready in 1.5 s, name? ")
    await anyio.sleep(9)
    command.listen(8080, {"/health": 503})
    await anyio.sleep(10)
    command.listen(8080, {"/health": 200})
    await anyio.sleep(10)
    await command.stdout(b"last words\n")
    return 7


async def test_output_is_waited_for_across_writes() -> None:
    """A match may lie across writes; it says what came before and what its groups are."""
    async with memory({"server": server}) as sandbox:
        handle = await sandbox.commands.start("server")
        match = await handle.wait_for_output(r"listening on \S+:(\d+)\n")
        assert anyio.current_time() == pytest.approx(1)
        assert match.groups == ("8080",)
        assert match.text == "listening on http://127.0.0.1:8080\n"
        assert match.before == "warning: loading\n"


async def test_history_is_looked_at_and_a_dialogue_goes_on() -> None:
    """What was printed before is found, and the cursor is exactly behind the match."""
    async with memory({"server": server}) as sandbox:
        handle = await sandbox.commands.start("server")
        await anyio.sleep(5)
        first = await handle.wait_for_output(re.compile("READY", re.IGNORECASE))
        second = await handle.wait_for_output(r"\S+", after=first.cursor)
        assert (second.text, second.before) == ("in", " ")
        third = await handle.wait_for_output(r"name\?", after=second.cursor, stream="stdout")
        assert third.before == " 1.5 s, "
        assert anyio.current_time() == pytest.approx(5)
        texts = [text.text async for text in handle.text(after=third.cursor)]
        assert "".join(texts) == " last words\n"


async def test_only_what_comes_from_now_on_can_be_looked_at() -> None:
    """With END, history does not count; the cursor of the match is as good as any."""
    async with memory({"server": server}) as sandbox:
        handle = await sandbox.commands.start("server")
        await anyio.sleep(0.5)
        match = await handle.wait_for_output(r"\w", after=hopx.END)
        assert match.text == "8"
        assert anyio.current_time() == pytest.approx(1)
        match = await handle.wait_for_output(r"\w+", after=match.cursor)
        assert match.text == "0"
        texts = [text.text async for text in handle.text(after=match.cursor)]
        assert "".join(texts) == "\nready in 1.5 s, name? last words\n"
        async with sandbox.commands.group(on_error="continue") as group:
            later = group.start_soon("server")
            match = await later.wait_for_output("listening", after=hopx.END)
            assert match.before == "warning: loading\n"


async def test_one_stream_can_be_looked_at() -> None:
    """With stream, only that one is looked at."""
    async with memory({"server": server}) as sandbox:
        handle = await sandbox.commands.start("server")
        assert (await handle.wait_for_output("l.+", stream="stderr")).text == "loading"
        assert (await handle.wait_for_output("l.+", stream="stdout")).text.startswith("listening")


async def test_a_command_that_ends_first_is_told_with_its_last_lines() -> None:
    """NotReady comes as soon as the command ends, with its exit and its last output."""
    async with memory({"server": server}) as sandbox:
        handle = await sandbox.commands.start("server", name="web")
        waits = (
            handle.wait_for_output("never"),
            handle.wait_for_port(1),
            handle.wait_for_http("/other", port=8080),
        )
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert anyio.current_time() == pytest.approx(30)
        for error in errors:
            assert isinstance(error, NotReady)
            assert error.exit.exit_code == 7
            assert error.tail.endswith(b"last words\n")
            assert "web (server) exited with 7" in str(error)
        assert "'never'" in str(errors[0])
        assert "port 1 " in str(errors[1])
        assert "/other" in str(errors[2])


async def test_the_last_lines_of_an_end_that_is_ok_are_read() -> None:
    """A command that ends well, too early, is told with its last lines as well."""

    async def script(command: ScriptedCommand) -> int:
        await command.stdout(b"".join(b"line %d\n" % number for number in range(100)))
        return 0

    async with memory({"x": script}) as sandbox:
        handle = await sandbox.commands.start("x")
        with pytest.raises(NotReady) as caught:
            await handle.wait_for_port(80)
        assert caught.value.exit.ok
        assert caught.value.tail.splitlines() == [b"line %d" % n for n in range(80, 100)]


async def test_ports_and_answers_are_waited_for() -> None:
    """A port that opens, and a path that is answered, end the wait at that moment."""
    async with memory({"server": server}) as sandbox:
        assert sandbox.capabilities.wait_port
        handle = await sandbox.commands.start("server")
        await handle.wait_for_port(8080)
        assert anyio.current_time() == pytest.approx(10)
        await handle.wait_for_http("/health", port=8080)
        assert anyio.current_time() == pytest.approx(20)
        await handle.wait_for_port(8080)
        await handle.wait()
        await handle.wait_for_port(8080)  # who is known to listen still does


async def test_a_command_that_the_far_side_has_forgotten_is_told_as_lost() -> None:
    """One of which nothing is known any more is not ready, and there are no last lines."""
    agent = agent_of()
    async with opened(agent) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        task = asyncio.ensure_future(handle.wait_for_output("never"))
        await anyio.wait_all_tasks_blocked()
        agent.commands.forget(handle.process_id)
        agent.drop()
        with pytest.raises(NotReady) as caught:
            await task
        assert caught.value.exit.reason == "lost"
        assert caught.value.tail == b""


@pytest.mark.parametrize("what", ["output", "port"])
async def test_every_wait_can_be_cancelled(what: str) -> None:
    """A wait that is cancelled leaves the command, and asks for nothing any more."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        with anyio.move_on_after(1) as scope:
            if what == "output":
                await handle.wait_for_output("never")
            await handle.wait_for_port(80)
        assert scope.cancelled_caught
        assert not sandbox._client._pump._link._live
        assert (await handle.info()).status == "running"


async def test_a_lost_connection_goes_by_unseen() -> None:
    """Waits go on over cuts."""
    agent = MemoryAgent({"server": server})
    async with memory(agent=agent) as sandbox:
        handle = await sandbox.commands.start("server")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handle.wait_for_port, 8080)
            tasks.start_soon(handle.wait_for_output, "name")
            for _ in range(5):
                await anyio.sleep(0.3)
                agent.drop()


async def test_much_output_is_searched_in_bounded_memory() -> None:
    """A needle behind megabytes is found."""

    async def script(command: ScriptedCommand) -> int:
        for _ in range(100):
            await command.stdout(b"hay " * 10_000)
        await command.stdout(b"needle")
        await anyio.sleep(3600)
        return 0

    async with memory({"x": script}) as sandbox:
        handle = await sandbox.commands.start("x")
        match = await handle.wait_for_output("ne+dle")
        assert 64 * 1024 <= len(match.before) < 200 * 1024


async def test_a_far_side_that_cannot_tell_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older agent that has no such call is Unsupported."""
    agent = MemoryAgent({SLEEP: server})
    async with memory(agent=agent) as sandbox:
        handle = await sandbox.commands.start(SLEEP)

        async def refuse(method: str, params: dict[str, Any]) -> Any:
            raise NotFoundError(f"no method {method!r} here")

        monkeypatch.setattr(agent.commands, "call", refuse)
        with pytest.raises(Unsupported):
            await handle.wait_for_port(80)
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("parameter", "call"),
    [
        ("pattern", lambda handle: handle.wait_for_output("(")),
        ("pattern", lambda handle: handle.wait_for_output(re.compile(b"x"))),
        ("pattern", lambda handle: handle.wait_for_output(None)),
        ("stream", lambda handle: handle.wait_for_output("x", stream="both")),
        ("port", lambda handle: handle.wait_for_port(0)),
        ("port", lambda handle: handle.wait_for_port("80")),
        ("path", lambda handle: handle.wait_for_http("health", port=80)),
        ("path", lambda handle: handle.wait_for_http(None, port=80)),
    ],
)
async def test_bad_arguments_are_refused(parameter: str, call: Any) -> None:
    """Each wait names the argument that breaks a rule, before anything is asked."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        with pytest.raises(InvalidArgument) as caught:
            await call(handle)
        assert caught.value.parameter == parameter
        with pytest.raises(BadCursor):
            await handle.wait_for_output("x", after="L1.other")


async def test_a_handle_that_waits_for_its_place_waits_for_readiness() -> None:
    """A group's handle can be waited for before its command has started."""
    async with memory({"server": server}) as sandbox:
        with pytest.raises(hopx.CommandFailed):
            async with sandbox.commands.group() as group:
                handle = group.start_soon("server")
                assert (await handle.wait_for_output("name")).text == "name"
                await handle.wait_for_port(8080)
